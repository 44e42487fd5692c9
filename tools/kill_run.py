"""Kills a training run again and again and compares it with one that was left alone.

python tools/kill_run.py --kills 20 --in-save 6 --terminate 2 --interrupt 2

A small run of configs/laip.py on synthpedes is trained once without a break. Then it is trained
in new folders with kill -9 at random moments, some of them while a checkpoint is being written,
and with SIGTERM and SIGINT; the same command goes on after each, as often as it takes. Every
array of every checkpoint kept, metrics.jsonl without its timing, the scores and the rankings must
be equal to the last bit. Exit code 1 if something differs.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import signal
import sys
import tempfile
import time

import numpy as np
import orbax.checkpoint as ocp
from absl import logging

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# Imported once here, so that a forked run starts at once; no device is touched before the fork.
import jaxreid.main  # noqa: E402
import jaxreid.run  # noqa: E402
from jaxreid.runlog import TIMING  # noqa: E402

# 26 steps, 10 of them saved; the stages end at steps 15, which is saved, and 26.
OVERRIDES = (
    "start=", "text.tokenizer=", "data.variant=tiny", "image.size=(32, 16)", "text.max_tokens=16",
    "text.vocabulary=200",
    "text.max_phrase_tokens=8", "model.embedding=16", "model.vit.width=32", "model.vit.depth=1",
    "model.vit.heads=2", "model.vit.mlp=32", "model.bert.width=32", "model.bert.text_depth=1",
    "model.bert.cross_depth=2", "model.bert.heads=2", "model.bert.mlp=32",
    "model.bert.max_positions=16", "train.batch_size=8", "train.steps_per_epoch=10",
    "train.epochs=(1.5, 1.1)", "train.log_every=2", "train.save_every=0.3",
    "train.evaluate_every=0.5", "laip.queue_length=32", "laip.phrases=2", "eval.batch_size=32",
    "eval.chunk=32", "eval.pair_batch=32", "eval.top_k=4", "eval.sheet_queries=1",
)  # fmt: skip

_START = 300.0  # seconds a run may take to its first step


class Run:
    """One process that trains in a folder."""

    def __init__(self, folder: pathlib.Path, data: pathlib.Path):
        """Starts it; what it says goes to FOLDER.log."""
        self.folder = folder
        self._log = folder.with_suffix(".log")
        self._log.touch()
        self._said = self._log.stat().st_size
        self.pid = os.fork()
        if self.pid == 0:
            _train(folder, data, self._log)
        self._code = None

    def code(self) -> int | None:
        """The exit code, negative after a signal; None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def join(self) -> int:
        """Waits for the end and returns the exit code."""
        while self.code() is None:
            time.sleep(0.01)
        return self.code()

    def wait_for(self, condition, seconds: float) -> bool:
        """Waits until a condition holds; False if the run ends or the time is over before."""
        end = time.monotonic() + seconds
        while self.code() is None and time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.001)
        return False

    def steps_begun(self) -> bool:
        """Whether this process has reached its first step."""
        return "compiled in" in self._says()

    def trained(self) -> bool:
        """Whether the last step is done and the evaluation begun."""
        return "trained in" in self._says()

    def saving(self) -> bool:
        """Whether a checkpoint is being written."""
        with contextlib.suppress(FileNotFoundError):
            return any(
                ".orbax-checkpoint-tmp" in n for n in os.listdir(self.folder / "checkpoints")
            )
        return False

    def signal(self, number: int) -> int:
        """Sends a signal and returns the exit code."""
        if self.code() is None:
            os.kill(self.pid, number)
        return self.join()

    def _says(self) -> str:
        """What this process has said so far."""
        with open(self._log) as file:
            file.seek(self._said)
            return file.read()

    def last_words(self) -> str:
        """The end of what the run has said."""
        return self._log.read_text()[-3000:]


def _train(folder: pathlib.Path, data: pathlib.Path, log: pathlib.Path) -> None:
    """In the forked process: the command line of a run, until it ends."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(ROOT)
    sys.argv = ["jaxreid", "--config", "configs/laip.py", "--workdir", str(folder)]
    sys.argv += [f"--config.{override}" for override in (*OVERRIDES, f"data.data_dir={data}")]
    code = 1
    try:
        jaxreid.main.entry()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def stop_at_random(run: Run, number: int, rng: random.Random, span: float) -> bool:
    """Sends a signal at a random moment within `span` seconds of training; False if it was over."""
    run.wait_for(run.steps_begun, _START)
    run.wait_for(lambda: False, rng.uniform(0, span))
    return _stopped(run, number)


def kill_in_save(run: Run, rng: random.Random, span: float) -> bool:
    """Kills while a checkpoint is half written; False if the run was over or the save was."""
    run.wait_for(run.steps_begun, _START)
    for _ in range(rng.randint(1, 3)):
        run.wait_for(lambda: not run.saving(), span)
        if not run.wait_for(run.saving, _START):
            return False
    time.sleep(rng.uniform(0, 0.03))
    return _stopped(run, signal.SIGKILL) and run.saving()


def _stopped(run: Run, number: int) -> bool:
    """Whether a signal ended the training as it should."""
    code = run.signal(number)
    if code == 0 or (code == -signal.SIGTERM and run.trained()):
        return False
    if code != (-number if number == signal.SIGKILL else 128 + number):
        raise SystemExit(f"exit code {code} after signal {number}:\n{run.last_words()}")
    return True


def finish(run: Run) -> None:
    """Waits for a run to end well."""
    code = run.join()
    if code:
        raise SystemExit(f"exit code {code}:\n{run.last_words()}")


def differences(one: pathlib.Path, two: pathlib.Path) -> list[str]:
    """What differs between the files of two runs, a line each; timing and folders do not count."""
    found = []
    metrics = [_metrics(folder / "metrics.jsonl") for folder in (one, two)]
    if metrics[0] != metrics[1]:
        found.append("metrics.jsonl")
    results = [json.loads((folder / "results.json").read_text()) for folder in (one, two)]
    for result in results:
        del result["seconds"], result["command"]
    if results[0] != results[1]:
        found.append("results.json")
    if (one / "rankings.npz").read_bytes() != (two / "rankings.npz").read_bytes():
        found.append("rankings.npz")
    steps = [sorted(os.listdir(folder / "checkpoints")) for folder in (one, two)]
    if steps[0] != steps[1]:
        return [*found, f"checkpoints {steps[0]} and {steps[1]}"]
    for step in steps[0]:
        states = [_arrays(folder / "checkpoints" / step) for folder in (one, two)]
        if states[0].keys() != states[1].keys():
            found.append(f"names of step {step}")
        for name in states[0].keys() & states[1].keys():
            if states[0][name] != states[1][name]:
                found.append(f"{name} of step {step}")
    return found


def _metrics(path: pathlib.Path) -> list[dict]:
    """Lines of metrics.jsonl without timing."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMING} for line in lines]


def _arrays(checkpoint: pathlib.Path) -> dict[str, tuple]:
    """Everything a checkpoint holds, to the bit."""
    found = {}
    with ocp.PyTreeCheckpointer() as reader:
        saved = reader.metadata(checkpoint / "state").item_metadata.tree
        arguments = ocp.args.PyTreeRestore(restore_args=_as_numpy(saved))
        state = reader.restore(checkpoint / "state", args=arguments)
    _flatten("", state, found)
    for name in ("data", "metrics"):
        found[name] = (checkpoint / name / ("metadata" if name == "data" else name)).read_bytes()
    return found


def _as_numpy(saved):
    """Arguments that restore every array of a tree of dicts and lists into host memory."""
    if isinstance(saved, dict):
        return {key: _as_numpy(value) for key, value in saved.items()}
    if isinstance(saved, list | tuple):
        return [_as_numpy(value) for value in saved]
    return ocp.RestoreArgs(restore_type=np.ndarray)


def _flatten(name: str, node, found: dict[str, tuple]) -> None:
    """Adds the arrays of a tree of dicts and lists by name."""
    if isinstance(node, dict):
        for key, value in node.items():
            _flatten(f"{name}/{key}", value, found)
    elif isinstance(node, list | tuple):
        for key, value in enumerate(node):
            _flatten(f"{name}/{key}", value, found)
    else:
        array = np.asarray(node)
        found[name] = (array.dtype.str, array.shape, array.tobytes())


def main() -> int:
    """Runs the comparison; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="kill -9, those in a save included")
    parser.add_argument("--in-save", type=int, default=6, help="kill -9 while a save is under way")
    parser.add_argument("--terminate", type=int, default=2, help="SIGTERM")
    parser.add_argument("--interrupt", type=int, default=2, help="SIGINT")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", help="for the runs, kept; a temporary one by default")
    options = parser.parse_args()
    if options.in_save > options.kills:
        parser.error(f"--in-save must be at most --kills {options.kills}, got {options.in_save}")
    with contextlib.ExitStack() as stack:
        folder = options.folder or stack.enter_context(tempfile.TemporaryDirectory())
        return _compare(options, pathlib.Path(folder).resolve())


def _compare(options: argparse.Namespace, folder: pathlib.Path) -> int:
    """Trains, kills, compares; prints a summary."""
    logging.set_verbosity(logging.ERROR)  # reading a part of a checkpoint is warned of
    rng = random.Random(options.seed)
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "data"
    reference = Run(folder / "reference", data)
    reference.wait_for(reference.steps_begun, _START)
    finish(reference)
    span = _training_seconds(folder / "reference")
    todo = ["kill"] * (options.kills - options.in_save) + ["save"] * options.in_save
    todo += ["terminate"] * options.terminate + ["interrupt"] * options.interrupt
    rng.shuffle(todo)
    done, runs, wrong = {"kill": 0, "save": 0, "terminate": 0, "interrupt": 0}, 0, []
    while todo or runs == 0:
        runs += 1
        workdir = folder / f"run{runs}"
        over = False
        while todo and not over:
            run = Run(workdir, data)
            if todo[0] == "save":
                hit = kill_in_save(run, rng, span)
            else:
                number = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM}
                hit = stop_at_random(run, number.get(todo[0], signal.SIGINT), rng, span / 2)
            if hit:
                done[todo.pop(0)] += 1
            over = run.code() == 0
        if not over:
            finish(Run(workdir, data))
        print(f"run {runs} is through, {len(todo)} signals to come", flush=True)
    # Only now: reading checkpoints starts threads, and a process with threads must not fork.
    for number in range(1, runs + 1):
        found = differences(folder / "reference", folder / f"run{number}")
        wrong += found
        print(f"run {number}: {', '.join(found) if found else 'equal'}", flush=True)
    print(
        f"{done['kill'] + done['save']} kills ({done['save']} in a save), "
        f"{done['terminate']} SIGTERM, {done['interrupt']} SIGINT in {runs} runs: "
        f"{f'{len(wrong)} differences' if wrong else 'all equal to the run without a break'}"
    )
    return 1 if wrong else 0


def _training_seconds(folder: pathlib.Path) -> float:
    """Seconds between the first step of a whole run and its end."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return max(sum(line.get("seconds", 0) for line in lines), 1.0)


if __name__ == "__main__":
    sys.exit(main())
