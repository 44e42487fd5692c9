"""Random access to batches: the same one for the same step, whoever makes it."""

import contextlib
import functools
import multiprocessing
import pickle
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from jaxreid.data.order import EpochOrder

Transform = Callable[[Mapping[str, Any], np.random.Generator | None], dict[str, np.ndarray]]


class Records(Protocol):
    """Random access to the records of a split."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Mapping[str, Any]: ...


class TrainBatches:
    """Random access to this process's rows of the batch of every step."""

    def __init__(
        self,
        records: Records,
        transform: Transform,
        order: EpochOrder,
        rows: range,
        seed: int,
        steps: int,
        epochs: int | None,
    ):
        self._records, self._transform, self._rows = records, transform, rows
        self._order, self._seed, self._steps, self._epochs = order, seed, steps, epochs
        self._orders = {}  # of the last two epochs: threads work on both at a boundary
        self._lock = threading.Lock()  # so that one of them makes an order, and not all

    def __len__(self) -> int:
        return sys.maxsize if self._epochs is None else self._steps * self._epochs

    def __getitem__(self, step: int) -> dict[str, Any]:
        epoch, step_in_epoch = divmod(step, self._steps)
        batch = self._epoch_order(epoch)[step_in_epoch]
        examples = []
        for row in self._rows:
            # The place in the epoch, not the record: by_person may take a record twice.
            key = (epoch, step_in_epoch * len(batch) + row)
            rng = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key))
            examples.append(_example(self._records, int(batch[row]), self._transform, rng))
        return _stack(examples)

    def _epoch_order(self, epoch: int) -> np.ndarray:
        """i64[steps, batch] of one epoch."""
        with self._lock:
            if epoch not in self._orders:
                kept = {e: order for e, order in self._orders.items() if abs(e - epoch) == 1}
                self._orders = {**kept, epoch: self._order(epoch)}
            return self._orders[epoch]

    def __getstate__(self) -> dict[str, Any]:
        # For a worker, which has one thread; locks do not pickle.
        return {**self.__dict__, "_orders": {}, "_lock": contextlib.nullcontext()}


class EvalBatches:
    """Random access to this process's rows of the batches of all records in order."""

    def __init__(self, records: Records, transform: Transform, batch_size: int, rows: range):
        self._records, self._transform = records, transform
        self._batch_size, self._rows = batch_size, rows

    def __len__(self) -> int:
        return -(-len(self._records) // self._batch_size)

    def __getitem__(self, step: int) -> dict[str, Any]:
        start = step * self._batch_size
        indices = [i if (i := start + row) < len(self._records) else start for row in self._rows]
        # The cache reads the record that fills up a batch once.
        make = functools.cache(lambda i: _example(self._records, i, self._transform, None))
        return _stack([make(i) for i in indices])

    def valid(self, step: int) -> int:
        """How many rows of the global batch are records."""
        return min(self._batch_size, len(self._records) - step * self._batch_size)


def _example(
    records: Records, index: int, transform: Transform, rng: np.random.Generator | None
) -> dict[str, Any]:
    """One example; what fails says in which record."""
    try:
        record = records[index]
    except Exception as error:
        raise _noted(error, f"while reading record {index}") from error.__cause__
    try:
        return transform(record, rng)
    except Exception as error:
        file = f" ({record['file']})" if "file" in record else ""
        raise _noted(error, f"while transforming record {index}{file}") from error.__cause__


def _noted(error: Exception, note: str) -> Exception:
    """The error with a note; in a worker, a like one if it would not survive the way out."""
    error.add_note(note)
    if multiprocessing.parent_process() is None:
        return error
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        # The queue between the processes would drop it, and the run would wait for ever.
        kind = ValueError if isinstance(error, ValueError) else RuntimeError
        like = kind(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)
        for line in error.__notes__:
            like.add_note(line)
        return like
    return error


def _stack(examples: list[Any], path: str = "example") -> Any:
    """Stacks equal trees of arrays; names the key where they differ."""
    first = examples[0]
    if isinstance(first, Mapping):
        for example in examples:
            if set(example) != set(first):
                raise ValueError(f"{path} has keys {sorted(first)} and {sorted(example)}")
        return {key: _stack([e[key] for e in examples], f"{path}[{key!r}]") for key in first}
    arrays = [np.asarray(example) for example in examples]
    for array in arrays:
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{path} must be numbers, got {array.dtype}: it cannot be batched")
        if (array.shape, array.dtype) != (arrays[0].shape, arrays[0].dtype):
            raise ValueError(
                f"{path} differs within a batch: {arrays[0].dtype}{list(arrays[0].shape)} and "
                f"{array.dtype}{list(array.shape)}"
            )
    return np.stack(arrays)
