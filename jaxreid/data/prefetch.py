"""Keeps batches on the device ahead of the training step."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from absl import logging

AHEAD = 2  # batches on the device besides the one in use

_CLOSE_SECONDS = 30.0  # to wait for the batch in the making when closing


class CheckpointableIterator(Protocol):
    """What `device_batches` needs; `jaxreid.data.pipeline.TrainIterator` is one."""

    def __next__(self) -> dict: ...
    def get_state(self) -> dict: ...
    def close(self) -> None: ...


class DeviceBatches:
    """Iterator of device batches, filled by a thread; see `device_batches`."""

    def __init__(self, iterator: CheckpointableIterator, put: Callable[[dict], Any]):
        self.wait_seconds = 0.0  # total time that `__next__` made its caller wait
        self._iterator = iterator
        self._state = iterator.get_state()
        self._end: BaseException | None = None
        self._ready: queue.Queue = queue.Queue()
        self._free = threading.Semaphore(AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._fill, args=(put,), name="device-batches", daemon=True
        )
        self._thread.start()

    def __iter__(self) -> "DeviceBatches":
        return self

    def __next__(self) -> Any:
        """Returns the next batch; raises, each time, what the iterator or `put` raised."""
        if self._end is not None:
            raise self._end
        if self._stop.is_set():
            raise ValueError("these device batches are closed")
        start = time.perf_counter()
        batch, state, error = self._ready.get()
        self.wait_seconds += time.perf_counter() - start
        if error is not None:
            self._end = error
            raise error
        self._state = state
        self._free.release()
        return batch

    def get_state(self) -> dict:
        """Returns the state to save with the weights after the step on the last batch returned.

        An iterator set to it continues with the next batch, whatever was prefetched.
        """
        return self._state

    def close(self) -> None:
        """Stops the thread and closes the iterator; may be called again."""
        self._stop.set()
        self._free.release()  # wakes the thread if it waits for a free place
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            # A read that hangs cannot be interrupted; the thread ends with the process.
            logging.warning("the input pipeline did not stop within %.0f s", _CLOSE_SECONDS)
            return
        self._ready = queue.Queue()  # lets go of the device memory
        self._iterator.close()

    def __enter__(self) -> "DeviceBatches":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _fill(self, put: Callable[[dict], Any]) -> None:
        """Moves batches to the device until the end, an error or `close`."""
        try:
            while not self._stop.is_set():
                batch = next(self._iterator)
                state = self._iterator.get_state()
                # Waits here and not before reading: the next host batch is made meanwhile.
                self._free.acquire()
                if self._stop.is_set():
                    return
                self._ready.put((put(batch), state, None))
        except BaseException as error:  # StopIteration too: the consumer ends with it
            self._ready.put((None, None, error))


def device_batches(iterator: CheckpointableIterator, put: Callable[[dict], Any]) -> DeviceBatches:
    """Returns an iterator that keeps two batches ahead on the device.

    A thread reads `iterator` and calls `put`, from now on; nobody else may use the iterator until
    `close`, which also closes it. Use it in a `with` statement.

    Args:
      iterator: of host batches.
      put: host batch -> device batch, e.g. `lambda b: jax.device_put(b, sharding)`.

    Returns:
      An iterator with `wait_seconds` (total so far), `get_state()` (of the batch just returned,
      not of those ahead) and `close()`.
    """
    return DeviceBatches(iterator, put)
