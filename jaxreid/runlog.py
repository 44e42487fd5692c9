"""What a run writes as it goes: metrics.jsonl, TensorBoard, and progress lines."""

import json
import math
import os
from collections.abc import Mapping

import tensorboardX
from absl import logging

from jaxreid.files import write_atomic

# Keys of timing; everything else in metrics.jsonl is the same for two runs of one config.
TIMING = "seconds", "examples_per_second", "data_wait_percent", "tflops", "peak_percent"


class RunLog:
    """metrics.jsonl and TensorBoard of one run; does nothing on processes other than 0."""

    def __init__(self, workdir: str, *, resume_step: int, active: bool):
        """Opens the logs and drops what was written after the step that the run resumes from.

        Args:
          workdir: folder of the run.
          resume_step: lines of later steps are dropped, as the run will write them again; so is
            a last line that a kill has torn. 0 starts anew.
          active: whether this process writes.
        """
        self._file = None
        if not active:
            return
        path = os.path.join(workdir, "metrics.jsonl")
        write_atomic(path, "".join(_lines_until(path, resume_step)).encode())
        self._file = open(path, "a", buffering=1)  # noqa: SIM115, closed by close()
        self._board = tensorboardX.SummaryWriter(
            os.path.join(workdir, "tensorboard"), purge_step=resume_step + 1, flush_secs=20
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Appends one line {"step": step, **values}; numbers go to TensorBoard too.

        NaN and infinity, for which JSON has no word, become null.

        Raises:
          OSError: the disk is full; names the file.
        """
        if self._file is None:
            return
        values = {name: value if math.isfinite(value) else None for name, value in values.items()}
        try:
            self._file.write(json.dumps({"step": step, **values}, allow_nan=False) + "\n")
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._file.name) from error
        for name, value in values.items():
            if value is not None:
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes and closes both."""
        if self._file is not None:
            self._file.close()
            self._board.close()
            self._file = None


def _lines_until(path: str, step: int) -> list[str]:
    """Whole lines of an existing file up to and including a step."""
    if not step or not os.path.exists(path):
        return []
    kept = []
    with open(path) as file:
        for line in file:
            try:
                written = json.loads(line)["step"]
            except (ValueError, KeyError, TypeError):
                logging.warning("%s: dropped a torn line", path)
                continue
            if line.endswith("\n") and written <= step:
                kept.append(line)
    return kept


def clock(seconds: float) -> str:
    """Returns "1:02:03" or "2:03"."""
    seconds = round(max(seconds, 0))
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"
