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
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags as absl_flags
from ml_collections import config_flags

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # configs are found from any folder

from jaxreid.arguments import check_arguments  # noqa: E402
from jaxreid.config import check  # noqa: E402
from jaxreid.files import write_atomic, write_json  # noqa: E402
from tools.ablation_jobs import (  # noqa: E402
    Job,
    copy_first_stage,
    copy_training,
    make_cada_jobs,
    make_jobs,
)
from tools.ablation_rows import LAIP, STUDIES, CadaRow, Row, Study  # noqa: E402
from tools.ablation_table import collect, render  # noqa: E402

_POLL_SECONDS = 0.5
_SAY_SECONDS = 30


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


class Clock:
    """Estimates the time left over all jobs from the seconds an epoch that jobs took."""

    def __init__(self):
        self._rates = {}  # name of `Job.done`, which tells first stages from rows -> s an epoch

    def finished(self, job: Job, seconds: float) -> None:
        """Notes a job of this call."""
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
                copy_first_stage(job.source, out / job.name, study.rows[job.row])
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
        raise ValueError(
            f"--config must be a recipe of {' or '.join(STUDIES)}, got one of {config.method}"
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
