"""Checkpoints of a run: the latest, and the best on the validation split."""

import errno
import json
import math
import os
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint import checkpoint_managers

STATE, DATA = "state", "data"


class Checkpoints:
    """The checkpoints in one folder; saving runs in the background.

    A checkpoint is written beside its place and takes its name when it is whole, so a kill at any
    moment leaves the previous ones. Each holds the train state and the position in the data.
    """

    def __init__(self, folder: str, *, keep: int, best: str | None):
        """Opens the folder, which is made if it is missing.

        Args:
          folder: path.
          keep: how many of the latest to keep, >= 1.
          best: name of the validation metric whose highest value is kept too; None keeps no best.
        """
        policies = [checkpoint_managers.LatestN(keep)]
        if best:
            policies.append(
                checkpoint_managers.BestN(
                    get_metric_fn=lambda metrics: _score(metrics, best),
                    n=1,
                    keep_checkpoints_without_metrics=False,
                )
            )
        self._best = best
        self._folder = os.path.abspath(folder)
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
                cleanup_tmp_directories=True,
                enable_async_checkpointing=True,
                # Without it metrics are not written, and a run that goes on knows no best.
                best_fn=(lambda metrics: _score(metrics, best)) if best else None,
            ),
            handler_registry=_handlers(),
        )

    def save(
        self,
        step: int,
        state: Any,
        data_state: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
        *,
        wait: bool = False,
    ) -> None:
        """Saves one step; returns when the arrays are copied, the writing goes on behind.

        Raises:
          OSError: the disk is full, now or at the previous save; the message names the folder.
        """
        if step in self._manager.all_steps():
            return  # saved before this step was resumed
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(dict(data_state))
                ),
                metrics={k: float(v) for k, v in (metrics or {}).items()},
                force=True,
            )
            if wait:
                self._manager.wait_until_finished()
        except Exception as error:
            raise self._explained(error) from error

    def wait(self) -> None:
        """Returns when everything is on disk.

        Raises:
          OSError: as `save`.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._explained(error) from error

    def latest(self) -> int | None:
        """Returns the last step saved whole, or None."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """Returns the step of the highest validation metric, or the latest if none has one."""
        if self._best is None:
            return self.latest()
        scores = {}
        for step in self._manager.all_steps():
            metrics = self._manager.metrics(step)
            if metrics and self._best in metrics:
                scores[step] = metrics[self._best]
        # The earliest of equals, so that a longer run does not replace what is no better.
        return max(scores, key=lambda step: (scores[step], -step)) if scores else self.latest()

    def restore(self, step: int, template: Any) -> tuple[Any, dict[str, Any]]:
        """Returns state and data position of a step, the state placed as the template says.

        Args:
          step: one that `latest` or `best` named.
          template: tree of arrays or of jax.ShapeDtypeStruct with shardings.

        Raises:
          ValueError: the checkpoint is of another network; names the first parameter that differs.
        """
        abstract = jax.tree.map(_abstract, template)
        self._check(step, abstract)
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract), data=ocp.args.JsonRestore()
            ),
        )
        logging.info("restored step %d of %s", step, self._folder)
        return restored[STATE], restored[DATA]

    def close(self) -> None:
        """Waits for the writing and releases the folder."""
        self._manager.close()

    def _check(self, step: int, abstract: Any) -> None:
        """Compares names and shapes of the saved tree with the template."""
        metadata = self._manager.item_metadata(step)[STATE]
        saved = {_name(p): tuple(x.shape) for p, x in _leaves(metadata) if hasattr(x, "shape")}
        wanted = {_name(p): tuple(x.shape) for p, x in _leaves(abstract)}
        for name in sorted(saved.keys() | wanted.keys()):
            if saved.get(name) != wanted.get(name):
                raise ValueError(
                    f"checkpoint {self._folder}/{step} is of another config: {name} is "
                    f"{saved.get(name, 'absent')} there and {wanted.get(name, 'absent')} here"
                )

    def _explained(self, error: Exception) -> Exception:
        """The error as one sentence where its cause is known."""
        full = OSError(errno.ENOSPC, "no space left on the disk for a checkpoint", self._folder)
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
                return full
            cause = cause.__cause__ or cause.__context__
        if any(word in str(error) for word in ("No space left", "ENOSPC", "RESOURCE_EXHAUSTED")):
            return full
        return error


def _handlers() -> ocp.handlers.DefaultCheckpointHandlerRegistry:
    """What reads and writes the parts of a checkpoint; named here, since the manager otherwise
    learns it from the first save and cannot describe what an earlier process has saved."""
    registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
    state, data = ocp.StandardCheckpointHandler(), ocp.JsonCheckpointHandler()
    for arguments in (ocp.args.StandardSave, ocp.args.StandardRestore):
        registry.add(STATE, arguments, state)
    for arguments in (ocp.args.JsonSave, ocp.args.JsonRestore):
        registry.add(DATA, arguments, data)
    return registry


def _score(metrics: Mapping[str, float], best: str) -> float:
    """The metric that chooses the best; a checkpoint saved without one is never better."""
    return metrics.get(best, -math.inf)


def _abstract(x: Any) -> Any:
    """Shape, dtype and sharding of an array."""
    if isinstance(x, jax.ShapeDtypeStruct):
        return x
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


def _leaves(tree: Any) -> list:
    """(path, leaf) of every leaf."""
    return jax.tree_util.tree_flatten_with_path(tree)[0]


def _name(path: tuple) -> str:
    """The path of a leaf, the same for a live tree and for the metadata of a saved one."""
    return "/".join(
        str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in path
    )


def config_difference(saved: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Returns "field: saved -> given" for every leaf of two nested dicts that differs."""
    flat_saved, flat_given = _flat(saved), _flat(given)
    return [
        f"{key}: {json.dumps(flat_saved.get(key))} -> {json.dumps(flat_given.get(key))}"
        for key in sorted(flat_saved.keys() | flat_given.keys())
        if flat_saved.get(key) != flat_given.get(key)
    ]


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """{"a.b": value} of nested dicts; tuples become lists, as JSON has them."""
    if not isinstance(tree, Mapping):
        return {prefix: json.loads(json.dumps(tree))}
    out = {}
    for key, value in tree.items():
        out.update(_flat(value, f"{prefix}.{key}" if prefix else str(key)))
    return out
