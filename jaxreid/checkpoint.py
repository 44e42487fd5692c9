"""Checkpoints of a run: the latest, and the best on the validation split."""

import contextlib
import errno
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint import checkpoint_managers

STATE, DATA = "state", "data"

_REASON = 200  # characters of a library's message that are shown


class Checkpoints:
    """The checkpoints in one folder; saving runs in the background.

    A checkpoint is written beside its place and takes its name when it is whole, so a kill at any
    moment leaves the previous ones. Each holds the train state and the position in the data.
    """

    def __init__(self, folder: str, *, keep: int, best: str | None, read_only: bool = False):
        """Opens the folder; makes it if it is missing, and clears what a kill left half written.

        Args:
          folder: path.
          keep: how many of the latest to keep, >= 1.
          best: name of the validation metric whose highest value is kept too, the first of equals;
            None keeps no best.
          read_only: changes nothing in the folder, where a training run may be writing.

        Raises:
          OSError: the metrics of a checkpoint are damaged.
        """
        self._best = best
        policies = [checkpoint_managers.LatestN(keep)]
        if best:
            policies.append(_Best(self._best_step))
        self._folder = os.path.abspath(folder)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
            # Only with this does the manager write the metrics and read them on resuming.
            best_fn=self._score if best else None,
            create=not read_only,
            cleanup_tmp_directories=not read_only,
            enable_async_checkpointing=True,
        )
        try:
            self._manager = ocp.CheckpointManager(
                self._folder,
                options=options,
                # Given here, else a manager that has saved nothing yet cannot read the metadata.
                item_handlers={
                    STATE: ocp.StandardCheckpointHandler(),
                    DATA: ocp.JsonCheckpointHandler(),
                },
            )
        except ValueError as error:  # what the metrics of each checkpoint are read with
            raise OSError(f"a checkpoint in {self._folder} is damaged: {error}") from error

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

        Args:
          step: above those saved so far.
          state: tree of arrays with a node `params`, on every process.
          data_state: position in the data, as JSON has it.
          metrics: of the validation split, if it was evaluated at this step.
          wait: return when all is on disk.

        Raises:
          OSError: the disk is full, now or at the previous save; the message names the folder.
        """
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(dict(data_state))
                ),
                metrics={name: float(value) for name, value in (metrics or {}).items()},
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
        """Returns the step of the highest validation metric, or the latest if none has it.

        Of equals it is the first: training on has not made it better.
        """
        return self._best_step(
            {step: self._manager.metrics(step) for step in self._manager.all_steps()}
        )

    def _best_step(self, metrics: Mapping[int, Mapping[str, float] | None]) -> int | None:
        """The best of steps with their metrics."""
        scores = {step: self._score(values or {}) for step, values in metrics.items()}
        highest = max(scores.values(), default=-math.inf)
        if highest == -math.inf:
            return max(scores, default=None)
        return min(step for step, score in scores.items() if score == highest)

    def _score(self, metrics: Mapping[str, float]) -> float:
        """The value by which checkpoints are compared; those without one come last."""
        return metrics.get(self._best, -math.inf)

    def restore(self, step: int, template: Any) -> tuple[Any, dict[str, Any]]:
        """Returns state and data position of a step, the state placed as the template says.

        Args:
          step: one that `latest` or `best` named.
          template: tree of arrays or of jax.ShapeDtypeStruct with shardings.

        Raises:
          ValueError: the checkpoint is of another network; names the first parameter that differs.
          OSError: a file of it is damaged or missing; says which checkpoint can be used instead.
        """
        abstract = jax.tree.map(_abstract, template)
        with self._reading(step):
            saved = self._saved(step)
        self._check(step, saved, abstract)
        with self._reading(step):
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(abstract), data=ocp.args.JsonRestore()
                ),
            )
        logging.info("restored step %d of %s", step, self._folder)
        return restored[STATE], restored[DATA]

    def restore_params(self, step: int, template: Any) -> Any:
        """Returns the parameters of a step alone, without reading the optimiser's state.

        Args:
          step: one that `latest` or `best` named.
          template: the node `params` of what was saved, as for `restore`.

        Raises:
          ValueError, OSError: as `restore`.
        """
        abstract = {"params": jax.tree.map(_abstract, template)}
        with self._reading(step):
            saved = self._saved(step)
        self._check(step, {k: v for k, v in saved.items() if k.startswith("params/")}, abstract)
        with self._reading(step), ocp.PyTreeCheckpointer() as reader:
            restored = reader.restore(
                os.path.join(self._folder, str(step), STATE),
                args=ocp.args.PyTreeRestore(
                    abstract,
                    restore_args=ocp.checkpoint_utils.construct_restore_args(abstract),
                    partial_restore=True,
                ),
            )
        logging.info("restored the parameters of step %d of %s", step, self._folder)
        return restored["params"]

    def close(self) -> None:
        """Waits for the writing and releases the folder."""
        self._manager.close()

    def _saved(self, step: int) -> dict[str, tuple[int, ...]]:
        """Name and shape of every array of a checkpoint."""
        metadata = self._manager.item_metadata(step)[STATE]
        if metadata is None:
            raise FileNotFoundError("its _METADATA is missing")
        return {_name(p): tuple(x.shape) for p, x in _leaves(metadata) if hasattr(x, "shape")}

    def _check(self, step: int, saved: Mapping[str, tuple[int, ...]], abstract: Any) -> None:
        """Compares names and shapes of the saved tree with the template."""
        wanted = {_name(p): tuple(x.shape) for p, x in _leaves(abstract)}
        for name in sorted(saved.keys() | wanted.keys()):
            if saved.get(name) != wanted.get(name):
                raise ValueError(
                    f"checkpoint {self._folder}/{step} is of another config: {name} is "
                    f"{saved.get(name, 'absent')} there and {wanted.get(name, 'absent')} here"
                )

    @contextlib.contextmanager
    def _reading(self, step: int) -> Iterator[None]:
        """Names the checkpoint in whatever reading a damaged one raises."""
        try:
            yield
        except Exception as error:  # tensorstore raises bare Exceptions too
            others = sorted(set(self._manager.all_steps()) - {step})
            advice = f"; move it away to use step {others[-1]}" if others else ""
            reason = " ".join(str(error).split())[:_REASON]
            raise OSError(
                f"checkpoint {self._folder}/{step} cannot be read{advice}: {reason}"
            ) from error

    def _explained(self, error: Exception) -> Exception:
        """The error of a save as one sentence with the folder."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
                break
            if any(word in str(cause) for word in ("No space left", "RESOURCE_EXHAUSTED")):
                break  # tensorstore
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            text = "no space left on the disk for a checkpoint"
            return OSError(errno.ENOSPC, text, self._folder)
        reason = " ".join(str(error).split())[:_REASON]
        return OSError(f"a checkpoint cannot be written in {self._folder}: {reason}")


class _Best(NamedTuple):
    """Keeps one checkpoint; orbax's own policy keeps the last of equals."""

    choose: Callable[[Mapping[int, Any]], int | None]  # {step: metrics} -> step

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Whether each of some checkpoints is kept."""
        chosen = self.choose({info.step: info.metrics for info in checkpoints})
        return [info.step == chosen for info in checkpoints]


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
