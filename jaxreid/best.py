"""The checkpoints of a run, and the parameters of its best one."""

import os
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxreid.checkpoint import Checkpoints
from jaxreid.mesh import replicated_shapes
from jaxreid.parts import Parts
from jaxreid.saved import has_checkpoint


def open_checkpoints(config: ConfigDict, workdir: str, *, read_only: bool = False) -> Checkpoints:
    """Returns the checkpoints of the run in a folder; its config says how many it keeps."""
    return Checkpoints(
        os.path.join(workdir, "checkpoints"),
        keep=config.train.keep,
        best=config.eval.select,
        read_only=read_only,
    )


def check_trained(workdir: str) -> None:
    """Raises FileNotFoundError where a run has no checkpoint."""
    if not has_checkpoint(workdir):
        raise FileNotFoundError(f"no checkpoint in {workdir}/checkpoints: nothing was trained")


def best_params(parts: Parts, workdir: str) -> tuple[Any, int]:
    """Returns the parameters of the best checkpoint, on every device, and the step they are of.

    Args:
      parts: of the run; its data need not be there.
      workdir: of the run, which may be training.
    """
    shapes = jax.eval_shape(parts.method.init, jax.random.key(0))
    checkpoints = open_checkpoints(parts.config, workdir, read_only=True)
    try:
        step = checkpoints.best()
        return checkpoints.restore_params(step, replicated_shapes(parts.mesh, shapes)), step
    finally:
        checkpoints.close()
