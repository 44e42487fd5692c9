"""How a published array lies in memory and how ours does: pairs of functions, exact inverses.

A layout maps the arrays of one or more published keys to one or more of our parameters. PyTorch
keeps a linear map as [out, in] and an image kernel as [out, in, height, width]; Flax as [in, out]
and [height, width, in, out]; our attention has an axis of heads: [D, H, d] and [H, d, D].

Nothing is rounded: values only move. With arrays of zero strides the functions give shapes without
memory, which is how shapes are checked (see `convert`).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Shape = tuple[int, ...]

_EMPTY = -100  # ALBEF's person id of a queue slot not yet written; ours is -1


class Layout(NamedTuple):
    """A pair of functions between published arrays and ours."""

    # (published arrays, our shapes) -> our arrays
    ours: Callable[[Sequence[np.ndarray], Sequence[Shape]], list[np.ndarray]]
    # our arrays -> published arrays
    published: Callable[[Sequence[np.ndarray]], list[np.ndarray]]
    # The published array follows from the shape of ours: it is compared and fills nothing.
    derived: bool = False


def one(
    ours: Callable[[np.ndarray, Shape], np.ndarray], published: Callable[[np.ndarray], np.ndarray]
) -> Layout:
    """Returns the layout of one key and one parameter, of functions of one array."""
    return Layout(lambda xs, shapes: [ours(xs[0], shapes[0])], lambda xs: [published(xs[0])])


def _rows_in(x: np.ndarray, shape: Shape) -> np.ndarray:
    """[H d, Din] -> [Din, H, d]."""
    return x.T.reshape(shape)


def _rows_out(x: np.ndarray) -> np.ndarray:
    """[Din, H, d] -> [H d, Din]."""
    return x.reshape(len(x), -1).T


def _thirds(xs: Sequence[np.ndarray], shapes: Sequence[Shape], part) -> list[np.ndarray]:
    """Query, key and value of one array that holds them one after another."""
    return [part(x, s) for x, s in zip(np.split(xs[0], 3), shapes, strict=True)]


# The array as it is: norms, embeddings, biases, scalars.
SAME = one(lambda x, shape: x, lambda x: x)
# Weight of a linear map, [out, in] -> [in, out].
LINEAR = one(lambda x, shape: x.T, lambda x: x.T)
# Kernel over an image, [out, in, h, w] -> [h, w, in, out].
CONV = one(lambda x, shape: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1))
# Query, key or value: weight [H d, Din] -> [Din, H, d], bias [H d] -> [H, d].
HEADS_IN = one(_rows_in, _rows_out)
HEADS_BIAS = one(lambda x, shape: x.reshape(shape), lambda x: x.reshape(-1))
# Output of an attention: weight [D, H d] -> [H, d, D].
HEADS_OUT = one(lambda x, shape: x.T.reshape(shape), lambda x: x.reshape(-1, x.shape[-1]).T)
# Query, key and value in one key: weight [3 H d, Din], bias [3 H d].
QKV_KERNEL = Layout(
    lambda xs, shapes: _thirds(xs, shapes, _rows_in),
    lambda xs: [np.concatenate([_rows_out(x) for x in xs])],
)
QKV_BIAS = Layout(
    lambda xs, shapes: _thirds(xs, shapes, lambda x, shape: x.reshape(shape)),
    lambda xs: [np.concatenate([x.reshape(-1) for x in xs])],
)
# 0, 1, 2, .. [1, L], which BERT keeps beside its table of positions [L, D].
POSITION_IDS = Layout(
    lambda xs, shapes: [], lambda xs: [np.arange(len(xs[0]), dtype=np.int64)[None]], derived=True
)


def _newest_first(rows: np.ndarray, pointer: np.ndarray) -> np.ndarray:
    """Rows of a ring whose next free slot is `pointer`, the newest in front."""
    place = int(pointer.reshape(-1)[0])
    if not 0 <= place < max(len(rows), 1):
        raise ValueError(f"points to slot {place} of a queue of {len(rows)}")
    return np.roll(rows[::-1], place, axis=0)


def _start(count: int) -> np.ndarray:
    """Pointer of a ring whose oldest entry is in slot 0."""
    return np.zeros(1, np.int64)


def _person_ids(x: np.ndarray) -> np.ndarray:
    """ALBEF's ids as ours."""
    if (x < 0).any() and set(x[x < 0].tolist()) != {_EMPTY}:
        raise ValueError(f"has negative person ids other than {_EMPTY}, an empty slot")
    return np.where(x == _EMPTY, -1, x).astype(np.int32)


# Ring of embeddings [E, M] with its pointer [1] -> [M, E], the newest in front.
QUEUE = Layout(
    lambda xs, shapes: [_newest_first(xs[0].T, xs[1])],
    lambda xs: [xs[0][::-1].T, _start(len(xs[0]))],
)
# Ring of person ids i64[1, M] with its pointer -> i32[M]; an empty slot is -100 there, -1 here.
QUEUE_IDS = Layout(
    lambda xs, shapes: [_newest_first(_person_ids(xs[0][0]), xs[1])],
    lambda xs: [
        np.where(xs[0] < 0, _EMPTY, xs[0])[::-1].astype(np.int64)[None],
        _start(len(xs[0])),
    ],
)
