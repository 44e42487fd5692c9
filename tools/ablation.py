"""Trains LAIP or CADA with parts left out, and tabulates the scores (Tables IV and V of each).

    python tools/ablation.py --rows albef,bidiratt,mpm,laip --seeds 0,1,2 --out runs/ablation
    python tools/ablation.py --config configs/cada.py --seeds 0,1,2 --out runs/ablation-cada

Takes the config flags of `python -m jaxreid.main` too, for all runs:
--config configs/laip.py:cuhk_pedes --config.train.epochs="(4,2)". Each row and seed is a run in
OUT/ROW-seedK with its log in OUT/ROW-seedK.log. The same command goes on where it was stopped:
finished runs are not run again. OUT/table.md and OUT/table.json are written after each run.

Rows of LAIP differ in the last stage only, so the stages before it are trained once a seed, in
OUT/first-seedK, and each row goes on from there; --no-share-first-stage trains every row from
its start, to the same numbers. Rows of CADA that differ in how they are ranked alone (global or
local matching, K) share the training: OUT/TRAINING-seedK. Rows are in tools/ablation_rows.py.
"""

import argparse
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags as absl_flags
from ml_collections import config_flags

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # configs are found from any folder

from jaxreid.arguments import check_arguments  # noqa: E402
from jaxreid.config import check  # noqa: E402
from jaxreid.files import write_atomic, write_json  # noqa: E402
from tools.ablation_rows import (  # noqa: E402
    CADA_ROWS,
    CADA_SETS,
    CADA_TABLE,
    LAIP_ROWS,
    LAIP_SETS,
    CadaRow,
    Row,
    cada_overrides,
)

_POLL_SECONDS = 0.5
_SAY_SECONDS = 30
# Ranking again takes about as long as this part of an epoch, for the time left.
_RANKING_EPOCHS = 0.5


ROWS = LAIP_ROWS
SCORES = ("R1", "mAP")


class Study(NamedTuple):
    """The ablation of a method."""

    method: str
    rows: dict[str, Row | CadaRow]
    default: tuple[str, ...]  # rows that are made if none are named
    baseline: str  # row that gains are counted from
    set_here: dict[str, str]  # what this tool sets in each run, and by which flag
    note: str  # last sentences over the table


STUDIES = {
    "laip": Study(
        "laip",
        LAIP_ROWS,
        tuple(LAIP_ROWS),
        "albef",
        {
            "config.seed": "--seeds",
            "config.train.stop_after": "--share-first-stage",
            **{f"config.laip.{name}": "--rows" for name in LAIP_SETS},
        },
        "Published: R@1 on CUHK-PEDES, LAIP Tables IV and V, from weights fine-tuned\n"
        "on COCO (albef without: 63.87).",
    ),
    "cada": Study(
        "cada",
        CADA_ROWS,
        CADA_TABLE,
        "cmpm",
        {"config.seed": "--seeds", **{f"config.{name}": "--rows" for name in CADA_SETS}},
        "Published: R@1 on CUHK-PEDES, CADA Tables IV and V, from BLIP's weights;\n"
        "group sizes are those of 72 tokens, scaled to the recipe's.",
    ),
}
LAIP = STUDIES["laip"]


class Job(NamedTuple):
    """One call of jaxreid.main."""

    name: str  # its folder in OUT
    flags: list[str]
    epochs: float  # that it trains
    done: Path  # exists when it has finished
    row: str | None  # of the study; None of a first stage and of a training that rows share
    source: Path | None  # run to go on from, or to rank again
    needs: Path | None  # exists when `source` can be copied


def main(arguments: list[str]) -> int:
    """Runs what is not yet finished, prints the table, returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], allow_abbrev=False,
        epilog="Other flags are config flags of jaxreid.main, as --config.train.batch_size=32.",
    )  # fmt: skip
    parser.add_argument("--rows", help="; ".join(map(_row_help, STUDIES.values())))
    parser.add_argument("--seeds", default="0", help="comma-separated; 0")
    parser.add_argument("--out", required=True, type=Path, help="folder of the runs")
    parser.add_argument("--config", default="configs/laip.py", help="of LAIP or CADA")
    parser.add_argument("--share-first-stage", action=argparse.BooleanOptionalAction, default=True)
    options, overrides = parser.parse_known_args(arguments)
    try:
        seeds = list(_parsed("--seeds", options.seeds, _seed, "whole numbers from 0"))
        flags = [f"--config={options.config}", *overrides]
        config, study = _config(flags)
        names = ",".join(study.default) if options.rows is None else options.rows
        rows = list(_parsed("--rows", names, study.rows.__getitem__, f"of {', '.join(study.rows)}"))
        out = options.out
        if study is LAIP:
            epochs = tuple(config.train.epochs)
            jobs = make_jobs(out, rows, seeds, flags, epochs, share=options.share_first_stage)
        else:
            jobs = make_cada_jobs(out, rows, seeds, flags, config)
        with _only_one(out) as lock:
            _enter(out, config)
            return _run_all(jobs, out, rows, seeds, lock, study)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def make_jobs(
    out: Path,
    rows: list[str],
    seeds: list[int],
    flags: list[str],
    epochs: tuple,
    *,
    share: bool,
) -> list[Job]:
    """Returns the runs of LAIP in the order in which they are made: all rows of a seed together.

    Args:
      out: folder of the runs.
      rows: of `ROWS`.
      seeds: of the runs.
      flags: of the config, for every run.
      epochs: of each stage.
      share: whether the stages before the last are trained once a seed.
    """
    share = share and len(epochs) > 1
    jobs = []
    for seed in seeds:
        common = [*flags, f"--config.seed={seed}"]
        first = out / f"first-seed{seed}"
        if share:
            stop = f"--config.train.stop_after={len(epochs) - 1}"
            done = first / "finished"
            jobs.append(Job(first.name, [*common, stop], sum(epochs[:-1]), done, None, None, None))
        for row in rows:
            sets = {name: getattr(LAIP_ROWS[row], name) for name in LAIP_SETS}
            own = common + [f"--config.laip.{name}={value}" for name, value in sets.items()]
            name = f"{row}-seed{seed}"
            done = out / name / "results.json"
            trained = epochs[-1] if share else sum(epochs)
            source, needs = (first, first / "finished") if share else (None, None)
            jobs.append(Job(name, own, trained, done, row, source, needs))
    return jobs


def make_cada_jobs(
    out: Path, rows: list[str], seeds: list[int], flags: list[str], config: Any
) -> list[Job]:
    """Returns the runs of CADA in the order in which they are made: all of a seed together.

    A training is run once for all rows that need it. Rows of another K copy it and rank again.

    Args:
      out: folder of the runs.
      rows: of `CADA_ROWS`.
      seeds: of the runs.
      flags: of the config, for every run.
      config: of the flags.

    Raises:
      ValueError: a row that the config has no room for.
    """
    epochs = sum(config.train.epochs)
    jobs = []
    for seed in seeds:
        common = [*flags, f"--config.seed={seed}"]
        for training in dict.fromkeys(CADA_ROWS[row].training for row in rows):
            fields = cada_overrides(training, config)
            own = common + [f"--config.{name}={value}" for name, value in fields.items()]
            name = f"{training}-seed{seed}"
            done = out / name / "results.json"
            jobs.append(Job(name, own, epochs, done, None, None, None))
            for row in rows:
                if CADA_ROWS[row].training != training or CADA_ROWS[row].top_k is None:
                    continue
                again = out / f"{row}-seed{seed}"
                top_k = f"--config.eval.top_k={CADA_ROWS[row].top_k}"
                jobs.append(
                    Job(
                        again.name, [*own, top_k, "--mode=evaluate"], _RANKING_EPOCHS,
                        again / "ranked", row, out / name, done,
                    )
                )  # fmt: skip
    return jobs


def copy_first_stage(source: Path, target: Path, row: Row) -> None:
    """Copies a finished first stage to where a row goes on from it, as a whole or not at all.

    The copy's config is that of the row, which differs in what acts in the last stage only.
    """
    if target.exists():
        return
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, ignore=shutil.ignore_patterns("finished"))
    config = json.loads((partial / "config.json").read_text())
    config["train"]["stop_after"] = 0
    config["laip"] |= {name: getattr(row, name) for name in LAIP_SETS}
    write_json(partial / "config.json", config)
    partial.rename(target)


def copy_training(source: Path, target: Path) -> None:
    """Copies a trained run, without its results, to where it is ranked again."""
    if target.exists():
        return
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    ignored = shutil.ignore_patterns("results*", "rankings*", "ranks*", "tensorboard")
    shutil.copytree(source, partial, ignore=ignored)
    partial.rename(target)


def collect(
    out: Path, rows: list[str], seeds: list[int], study: Study = LAIP
) -> list[dict[str, Any]]:
    """Returns the row of each finished name in the table.

    Scores are in percent: values in the order of "seeds", their mean and their sample standard
    deviation (None of one). "gain" is final R1 over that of the baseline row with the same seed.
    "minutes" are those of training alone, without compilation and evaluation.
    """
    runs = {row: {s: _row_results(out, study.rows[row], row, s) for s in seeds} for row in rows}
    baseline = {s: r["final"]["R1"] for s, r in runs.get(study.baseline, {}).items() if r}
    table = []
    for row in rows:
        found = {s: r for s, r in runs[row].items() if r}
        if not found:
            continue
        entry = {"row": row, "published_R1": study.rows[row].published, "seeds": list(found)}
        for block in ("final", "coarse"):
            for score in SCORES:
                entry[f"{block}_{score}"] = _spread([r[block][score] for r in found.values()])
        gains = [r["final"]["R1"] - baseline[s] for s, r in found.items() if s in baseline]
        entry["gain"] = _spread(gains) if gains else None
        entry["steps"] = max(r["steps"] for r in found.values())
        entry["minutes"] = statistics.mean(r["minutes"] for r in found.values())
        table.append(entry)
    return table


def render(table: list[dict[str, Any]], title: str, study: Study = LAIP) -> str:
    """Returns the table in Markdown."""
    lines = [
        f"{title}. Mean ± sample standard deviation over seeds, in percent, on test; gain: final",
        f"R@1 over row {study.baseline} of the same seed; minutes of training, without compilation",
        f"and evaluation. {study.note}",
        "",
        "| row | published | R@1 | gain | mAP | coarse R@1 | coarse mAP | seeds | steps | min |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in table:
        scores = [
            entry[key] for key in ("final_R1", "gain", "final_mAP", "coarse_R1", "coarse_mAP")
        ]
        cells = [
            entry["row"],
            "-" if entry["published_R1"] is None else f"{entry['published_R1']:.2f}",
            *map(_shown, scores),
            ", ".join(map(str, entry["seeds"])),
            str(entry["steps"]),
            f"{entry['minutes']:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


class Clock:
    """Estimates the time left over all jobs from the seconds an epoch that jobs took."""

    def __init__(self):
        self._rates = {}  # name of `Job.done`, which tells first stages from rows -> s an epoch

    def finished(self, job: Job, seconds: float) -> None:
        """Notes a job of this session."""
        self._rates[job.done.name] = seconds / job.epochs

    def left(self, job: Job, share: float, elapsed: float, later: list[Job]) -> float | None:
        """Returns seconds left, None while nothing is known.

        Args:
          job: the one that runs.
          share: of its steps that are done, in [0, 1].
          elapsed: seconds since it began.
          later: the jobs after it.
        """
        rates = dict(self._rates)
        if share > 0.02:
            rates[job.done.name] = elapsed / (share * job.epochs)
        if not rates:
            return None
        other = max(rates.values())
        own = rates.get(job.done.name, other) * job.epochs * (1 - share)
        return own + sum(rates.get(j.done.name, other) * j.epochs for j in later)


def _run_all(
    jobs: list[Job], out: Path, rows: list[str], seeds: list[int], lock: int, study: Study
) -> int:
    """Runs the jobs one after the other; the exit code."""
    todo = [job for job in jobs if not job.done.exists()]
    print(f"{len(jobs)} runs, {len(jobs) - len(todo)} of them finished before", flush=True)
    clock, failed = Clock(), []
    write_table(out, rows, seeds, study)
    with _Stop() as stop:
        for i, job in enumerate(todo):
            if job.needs is not None and not job.needs.exists():
                failed.append(job.name)
                print(f"{job.name}: left out, as {job.source.name} has failed", flush=True)
                continue
            if job.source is not None and study is LAIP:
                copy_first_stage(job.source, out / job.name, LAIP_ROWS[job.row])
            elif job.source is not None:
                copy_training(job.source, out / job.name)
            started = time.monotonic()
            code = _run_one(job, out, todo[i + 1 :], clock, stop, lock)
            if stop.signum:
                print(f"stopped during {job.name}; the same command goes on from there")
                return 128 + stop.signum
            if code == 0 and job.done.name != "results.json":  # which the run itself writes
                write_atomic(job.done, b"")
            if code or not job.done.exists():
                failed.append(job.name)
                log = out / f"{job.name}.log"
                print(f"{job.name}: failed with exit code {code}: {_last_line(log)} ({log})")
                continue
            clock.finished(job, time.monotonic() - started)
            write_table(out, rows, seeds, study)
    print("\n" + (out / "table.md").read_text())
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _run_one(job: Job, out: Path, later: list[Job], clock: Clock, stop: "_Stop", lock: int) -> int:
    """Runs a job in a process of its own and reports on it; the exit code of the process."""
    path = out / f"{job.name}.log"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(_python_path())}
    command = [sys.executable, "-m", "jaxreid.main", f"--workdir={out / job.name}", *job.flags]
    started = said = time.monotonic()
    with open(path, "ab") as log:
        begin = log.tell()
        # A session of its own: Ctrl-C reaches it once, through `stop`. It holds the lock too.
        child = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, pass_fds=(lock,),
            start_new_session=True,
        )  # fmt: skip
    print(f"{job.name}: begins, {len(later)} more after it", flush=True)
    with stop.passed_to(child):
        while child.poll() is None:
            time.sleep(_POLL_SECONDS)
            if time.monotonic() - said >= _SAY_SECONDS:
                said = time.monotonic()
                step, total, share = progress(path.read_bytes()[begin:].decode(errors="replace"))
                left = clock.left(job, share, said - started, later)
                shown = "not known yet" if left is None else _hours(left)
                done = f"step {step}/{total}" if total else "no step yet"
                print(f"{job.name}: {done}, left over all: {shown}", flush=True)
    return child.returncode


def progress(log: str) -> tuple[int, int, float]:
    """Returns step, last step and share of the steps of this process done, from its log."""
    steps = re.findall(r"step (\d+)/(\d+) ", log)
    start = re.findall(r"going on from step (\d+) of", log)
    begin = int(start[-1]) if start else 0
    if not steps:
        return begin, 0, 0.0
    step, total = map(int, steps[-1])
    return step, total, (step - begin) / max(total - begin, 1)


def write_table(out: Path, rows: list[str], seeds: list[int], study: Study) -> None:
    """Writes table.md and table.json of what has finished."""
    table = collect(out, rows, seeds, study)
    data = json.loads((out / "config.json").read_text())["data"]
    title = "-".join(filter(None, (data["name"], data["variant"])))
    write_json(out / "table.json", {"data": title, "rows": table})
    write_atomic(out / "table.md", render(table, title, study).encode())


class _Stop:
    """Passes SIGINT, SIGTERM and SIGHUP on to the running child, which then saves its state."""

    def __init__(self):
        self.signum = 0
        self._child = None
        self._old = {}

    def __enter__(self):
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._old[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *exc):
        for signum, handler in self._old.items():
            signal.signal(signum, handler)

    @contextlib.contextmanager
    def passed_to(self, child: subprocess.Popen) -> Iterator[None]:
        """Signals go to the child in this context."""
        self._child = child
        if self.signum:  # it came before there was a child
            child.send_signal(signal.SIGTERM)
        yield
        self._child = None

    def _note(self, signum, frame):
        self.signum = signum
        if self._child is not None:
            self._child.send_signal(signal.SIGTERM)


@contextlib.contextmanager
def _only_one(out: Path) -> Iterator[int]:
    """Keeps a second ablation, or a child that has outlived its parent, out of a folder."""
    out.mkdir(parents=True, exist_ok=True)
    with open(out / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"--out: an ablation is running in {out}") from None
        yield file.fileno()


def _config(flags: list[str]) -> tuple[Any, Study]:
    """The config of the flags, checked as far as it concerns all runs, and its study."""
    for flag in flags:
        if not flag.startswith("--config"):
            raise ValueError(f"unknown argument {flag!r}; config fields are given as --config.X=Y")
    check_arguments(["ablation", *flags])
    # Flags of their own: those of absl's command line would take this tool's for theirs.
    parsed = absl_flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=parsed, sys_argv=flags)
    rest = parsed(["ablation", *flags])[1:]
    if rest:
        raise ValueError(f"unknown arguments: {' '.join(rest)}")
    config = parsed.config
    check(config, devices=1)
    if config.method not in STUDIES:
        others = " or of ".join(STUDIES.keys() - {"laip"})
        raise ValueError(
            f"--config must be a recipe of laip, got one of {config.method}; or of {others}"
        )
    study = STUDIES[config.method]
    for flag in flags:
        field = flag.lstrip("-").partition("=")[0]
        if field in study.set_here:
            raise ValueError(f"--{field} cannot be given: {study.set_here[field]} sets it")
    return config, study


def _row_help(study: Study) -> str:
    """What --rows can be of a study."""
    default = "all" if len(study.default) == len(study.rows) else ",".join(study.default)
    return f"{study.method}: of {', '.join(study.rows)} (default: {default})"


def _enter(out: Path, config: Any) -> None:
    """Notes the config that all runs of a folder share, or checks that it is the one noted."""
    path, text = out / "config.json", config.to_json_best_effort()
    if not path.exists():
        write_json(path, json.loads(text))
        return
    saved, given = json.loads(path.read_text()), json.loads(text)
    if saved != given:
        from jaxreid.checkpoint import config_difference  # imports jax

        different = "; ".join(config_difference(saved, given))
        raise ValueError(f"{out} holds an ablation of another config: {different}")


def _parsed(name: str, text: str, check, allowed: str) -> dict:
    """{item as checked: None} of a comma-separated flag, in its order, without repetition."""
    items = {}
    for item in text.split(","):
        try:
            value = check(item)
        except (KeyError, ValueError):
            raise ValueError(f"{name} must be {allowed}, got {item!r}") from None
        items[item if isinstance(value, Row | CadaRow) else value] = None
    return items


def _seed(text: str) -> int:
    """A number of --seeds."""
    if int(text) < 0:
        raise ValueError(text)
    return int(text)


def _row_results(out: Path, row: Row | CadaRow, name: str, seed: int) -> dict[str, Any] | None:
    """The results of a row; "final" are those it is ranked by."""
    if isinstance(row, Row):
        return _results(out / f"{name}-seed{seed}")
    folder = name if row.top_k is not None else row.training
    found = _results(out / f"{folder}-seed{seed}")
    return found and {**found, "final": found[row.scores]}


def _results(folder: Path) -> dict[str, Any] | None:
    """Scores, steps and minutes of a finished run, None of another."""
    if not (folder / "results.json").exists():
        return None
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        **json.loads((folder / "results.json").read_text()),
        "steps": max(line["step"] for line in lines),
        "minutes": sum(line.get("seconds", 0) for line in lines) / 60,
    }


def _spread(values: list[float]) -> dict[str, Any]:
    """Values with their mean and sample standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"values": values, "mean": statistics.mean(values), "deviation": deviation}


def _shown(spread: dict[str, Any] | None) -> str:
    """A cell of the table."""
    if spread is None:
        return "-"
    if spread["deviation"] is None:
        return f"{spread['mean']:.2f}"
    return f"{spread['mean']:.2f} ± {spread['deviation']:.2f}"


def _python_path() -> list[str]:
    """The folders that a child finds `jaxreid` and `configs` in."""
    return [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]


def _last_line(path: Path) -> str:
    """What a failed process said last."""
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"


def _hours(seconds: float) -> str:
    """h:mm:ss."""
    seconds = round(seconds)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
