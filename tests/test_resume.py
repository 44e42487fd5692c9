"""A run that is killed and goes on ends as one that was left alone, to the last bit."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]


def test_killed_and_stopped_runs_end_as_the_one_without_a_break():
    command = [sys.executable, str(ROOT / "tools/kill_run.py")]
    command += ["--kills", "2", "--in-save", "1", "--terminate", "1", "--interrupt", "1"]
    run = subprocess.run(
        command, cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr[-4000:]
    last = run.stdout.splitlines()[-1]
    assert last.startswith("2 kills (1 in a save), 1 SIGTERM, 1 SIGINT in ")
    assert last.endswith("all equal to the run without a break")


def _environment() -> dict[str, str]:
    """One device, the package of this checkout, and programs that compile quickly."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
