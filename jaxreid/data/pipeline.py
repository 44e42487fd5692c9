"""From a split to batches: reading, shuffling, sharding by process, worker processes."""

import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from absl import flags

from jaxreid.data.batches import EvalBatches, Records, TrainBatches, Transform
from jaxreid.data.order import by_person, shuffled, steps_per_epoch
from jaxreid.data.prefetch import device_batches
from jaxreid.data.sources import Captions, ComposedPairs, ComposedQueries, Images, Pairs

__all__ = [
    "Captions",
    "ComposedPairs",
    "ComposedQueries",
    "Images",
    "Pairs",
    "TrainIterator",
    "device_batches",
    "eval_batches",
    "steps_per_epoch",
    "train_iterator",
]

# Whole batches are made in parallel: threads of this process without workers, else one batch
# at a time in each worker.
_THREADS = 4
_BUFFERED = 2  # finished batches that wait in each worker


class TrainIterator:
    """Iterator of host batches with a position that can be saved; see `train_iterator`."""

    def __init__(self, batches: TrainBatches, workers: int, described: dict[str, Any]):
        self._batches = batches
        self._workers = workers
        self._described = described
        self._step = 0
        self._running = None

    def __iter__(self) -> "TrainIterator":
        return self

    def __next__(self) -> dict[str, Any]:
        if self._step == len(self._batches):
            raise StopIteration
        if self._running is None:
            self._running = iter(_in_background(self._batches, self._step, self._workers))
        try:
            batch = next(self._running)
        except Exception:
            self.close()  # else grain would skip the batch that failed
            raise
        self._step += 1
        # Arrays from workers own shared memory, which the system keeps if they outlive the
        # program; a copy is cheap next to making the batch.
        return _map(np.array, batch) if self._workers else batch

    def get_state(self) -> dict[str, Any]:
        """Returns a small JSON-serialisable state: the next batch, counted from step 0."""
        return {"step": self._step, **self._described}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where the state was taken, also with other numbers of workers or processes.

        Raises:
          ValueError: the state is of a stream of other batches; names the field.
        """
        expected = self.get_state()
        if set(state) != set(expected):
            raise ValueError(f"data state must have {sorted(expected)}, got {sorted(state)}")
        for field, value in self._described.items():
            if state[field] != value:
                raise ValueError(
                    f"the saved data position is of {field}={state[field]}, this run has "
                    f"{field}={value}: its batches are others"
                )
        if not 0 <= state["step"] <= len(self._batches):
            raise ValueError(f"data step must be in 0..{len(self._batches)}, got {state['step']}")
        self.close()
        self._step = state["step"]

    def close(self) -> None:
        """Stops threads and workers; `next` starts them again."""
        if self._running is not None:
            self._running.close()
            self._running = None
            if self._workers:
                # grain's iterators form cycles that each keep a batch in shared memory.
                gc.collect()


def train_iterator(
    source: Records,
    transform: Transform,
    *,
    batch_size: int,
    seed: int,
    epochs: int | None,
    workers: int,
    process_index: int,
    process_count: int,
    images_per_person: int | None = None,
) -> TrainIterator:
    """Returns this process's rows of every training batch, endlessly or for some epochs.

    The stream is a pure function of (source, transform, batch_size, seed, images_per_person).
    Process p of P gets rows [p * b, (p + 1) * b) of each global batch, b = batch_size / P, so the
    global batch is the same for any P; workers change the speed only. An epoch has
    `steps_per_epoch(len(source), batch_size)` batches and no batch mixes two epochs. The
    generator that `transform` gets is made of (seed, epoch, place in the epoch).

    With workers, `source` and `transform` are pickled (cloudpickle, so closures work) and unpickled
    in fresh processes, and the file that was run as the program is imported there: keep its
    imports light. Workers never touch an accelerator. Start-up takes seconds.

    Args:
      source: records; Pairs or ComposedPairs if images_per_person is set.
      transform: (record, rng) -> example, arrays of equal shape in every example.
      batch_size: global, a multiple of process_count.
      seed: >= 0, equal in all processes.
      epochs: >= 1, or None for no end.
      workers: processes that make batches; 0 makes them in threads of this process.
      process_index: of this process, in 0..process_count - 1.
      process_count: >= 1.
      images_per_person: k of `jaxreid.data.order.by_person`; None shuffles all records.

    Raises:
      ValueError: a number is out of range. Iterating raises what reading or transforming a record
        raised, with a note that names the record.
    """
    _check_range("seed", seed, 0)
    _check_range("workers", workers, 0)
    if epochs is not None:
        _check_range("epochs", epochs, 1)
    rows = _rows_of_process(batch_size, process_index, process_count)
    if images_per_person is None:
        order = shuffled(len(source), batch_size=batch_size, seed=seed)
    else:
        order = by_person(
            source.group_id,
            source.image_id,
            batch_size=batch_size,
            images_per_person=images_per_person,
            seed=seed,
        )
    steps = steps_per_epoch(len(source), batch_size)
    batches = TrainBatches(source, transform, order, rows, seed, steps, epochs)
    described = {
        "records": len(source),
        "batch_size": batch_size,
        "seed": seed,
        "images_per_person": images_per_person,
    }
    return TrainIterator(batches, workers, described)


def eval_batches(
    records: Records,
    transform: Transform,
    batch_size: int,
    process_index: int,
    process_count: int,
    threads: int,
) -> Iterator[tuple[dict[str, Any], int]]:
    """Returns an iterator of (batch, valid) over all records in order, without augmentation.

    Each process gets its rows as in `train_iterator`. The last global batch is filled up by
    repeating its row 0, so that all batches have one shape.

    Args:
      records: at least one.
      transform: called with rng None.
      batch_size: global, a multiple of process_count.
      process_index: of this process, in 0..process_count - 1.
      process_count: >= 1.
      threads: that make batches ahead; 0 makes each when asked.

    Returns:
      Iterator of the rows of this process, and how many rows of the *global* batch are records:
      after gathering all rows, keep the first `valid`.

    Raises:
      ValueError: no records, or a number is out of range.
    """
    _check_range("threads", threads, 0)
    _check_range("number of records", len(records), 1)
    rows = _rows_of_process(batch_size, process_index, process_count)
    return _eval_batches(EvalBatches(records, transform, batch_size, rows), threads)


def _eval_batches(batches: EvalBatches, threads: int) -> Iterator[tuple[dict[str, Any], int]]:
    """The generator of `eval_batches`, apart so that a wrong argument fails at the call."""
    import grain

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    iterator = iter(grain.MapDataset.source(batches).to_iter_dataset(options))
    try:
        for step, batch in enumerate(iterator):
            yield batch, batches.valid(step)
    finally:
        iterator.close()


def _in_background(batches: TrainBatches, step: int, workers: int):
    """A grain dataset of the batches from a step on, made ahead by threads or workers."""
    # Here, as in eval_batches, because grain imports jax: unpickling the batches stays free of it.
    import grain

    dataset = grain.MapDataset.source(batches)[step:]
    if not workers:
        return dataset.to_iter_dataset(grain.ReadOptions(_THREADS, _THREADS))
    if not flags.FLAGS.is_parsed():
        # Starting workers, grain reads its absl flags; a notebook or a test never parses them.
        flags.FLAGS.mark_as_parsed()
    # Elements are whole batches and a worker takes every workers-th, so the order stays.
    return dataset.to_iter_dataset(grain.ReadOptions(0, 0)).mp_prefetch(
        grain.MultiprocessingOptions(workers, _BUFFERED), worker_init_fn=_stay_off_accelerators
    )


def _stay_off_accelerators(worker: int, workers: int) -> None:
    """Keeps a worker from reserving device memory, should a transform call jax."""
    del worker, workers
    os.environ["JAX_PLATFORMS"] = "cpu"
    if "jax" in sys.modules:  # grain imported it, before the line above
        sys.modules["jax"].config.update("jax_platforms", "cpu")


def _rows_of_process(batch_size: int, process_index: int, process_count: int) -> range:
    """The rows of a global batch that a process makes."""
    _check_range("process_count", process_count, 1)
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index must be in 0..{process_count - 1}, got {process_index}")
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(
            f"batch_size must be a multiple of the {process_count} processes, got {batch_size}"
        )
    local = batch_size // process_count
    return range(process_index * local, (process_index + 1) * local)


def _check_range(name: str, value: int, low: int) -> None:
    """Refuses a number below its limit."""
    if value < low:
        raise ValueError(f"{name} must be >= {low}, got {value}")


def _map(function: Callable[[np.ndarray], np.ndarray], tree: Any) -> Any:
    """The tree of dicts with the function applied to its arrays."""
    if isinstance(tree, Mapping):
        return {key: _map(function, value) for key, value in tree.items()}
    return function(tree)
