"""Makes the records of many pictures in parallel processes, in order, with the time left logged."""

import collections
import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from absl import logging

from jaxreid.data.synthpedes.pictures import Picture, make_record

_CHUNK = 25  # pictures a task
_FEWEST = 600  # pictures that are worth the second that processes need to start
_AHEAD = 4  # tasks a process that may be done before they are taken
_SECONDS = 5.0  # between two log lines


def make_records(
    name: str,
    pictures: Sequence[Picture],
    height: int,
    width: int,
    processes: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Yields the record of each picture, in order; the same whatever the number of processes.

    Args:
      name: of the split, for the log.
      pictures: what to make.
      height, width: pixels.
      processes: 1 works in this process; None takes one a processor if there is much to do.
    """
    if processes is None:
        processes = (os.cpu_count() or 1) if len(pictures) >= _FEWEST else 1
    make = _in_processes if processes > 1 else _in_this_process
    began = told = time.monotonic()
    for count, record in enumerate(make(pictures, height, width, processes), 1):
        yield record
        now = time.monotonic()
        if now - told > _SECONDS:
            told = now
            left = (now - began) / count * (len(pictures) - count)
            logging.info(
                "rendered %d of %d images of %s, %.0f s left", count, len(pictures), name, left
            )


def _in_this_process(
    pictures: Sequence[Picture], height: int, width: int, processes: int
) -> Iterator[dict[str, Any]]:
    """One after the other."""
    for picture in pictures:
        yield make_record(picture, height, width)


def _in_processes(
    pictures: Sequence[Picture], height: int, width: int, processes: int
) -> Iterator[dict[str, Any]]:
    """In processes; in this one from where they fail to start, as in a script without a guard."""
    done = 0
    try:
        for record in _pooled(pictures, height, width, processes):
            yield record
            done += 1
    except BrokenProcessPool as error:
        logging.warning("rendering goes on in one process, its helpers stopped: %s", error)
        yield from _in_this_process(pictures[done:], height, width, 1)


def _pooled(
    pictures: Sequence[Picture], height: int, width: int, processes: int
) -> Iterator[dict[str, Any]]:
    """Hands out chunks and takes them back in order."""
    # Spawned, because a fork of a process with JAX in it can hang.
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_ignore_interrupt
    )
    chunks = (pictures[at : at + _CHUNK] for at in range(0, len(pictures), _CHUNK))
    try:
        waiting = collections.deque(
            pool.submit(_make_chunk, chunk, height, width)
            for chunk in itertools.islice(chunks, processes * _AHEAD)
        )
        while waiting:
            yield from waiting.popleft().result()
            for chunk in itertools.islice(chunks, 1):
                waiting.append(pool.submit(_make_chunk, chunk, height, width))
    finally:
        pool.shutdown(cancel_futures=True)


def _make_chunk(pictures: Sequence[Picture], height: int, width: int) -> list[dict[str, Any]]:
    """The records of a few pictures."""
    return [make_record(picture, height, width) for picture in pictures]


def _ignore_interrupt() -> None:
    """Leaves Ctrl-C to the process that waits for the pictures, which then ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
