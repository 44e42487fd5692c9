"""The first images of every query, as an array and as rankings.npz."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxreid.files import write_npz


class Ranking(NamedTuple):
    """The first K images of every query, best first."""

    index: np.ndarray  # i32[Q, K], positions in the gallery
    score: np.ndarray  # f32[Q, K], not increasing along a row


def write_rankings(
    path: str | os.PathLike,
    coarse: Ranking,
    final: Ranking,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    gallery_files: Sequence[str],
) -> None:
    """Writes rankings.npz as a whole or not at all; `np.load(path)` reads it.

    It holds index, score (after re-ranking), coarse_index, coarse_score, each [Q, K],
    query_ids i32[Q], gallery_ids i32[G] and gallery_files str[G].

    Raises:
      ValueError: lengths that disagree, or an index outside the gallery.
    """
    if not len(coarse.index) == len(final.index) == len(query_ids):
        raise ValueError(
            f"rankings.npz needs one row a query: {len(query_ids)} query_ids, "
            f"{len(coarse.index)} coarse and {len(final.index)} final rows"
        )
    if len(gallery_files) != len(gallery_ids):
        raise ValueError(
            f"rankings.npz needs one file an image: {len(gallery_ids)} gallery_ids, "
            f"{len(gallery_files)} gallery_files"
        )
    for name, ranking in (("coarse", coarse), ("final", final)):
        index = ranking.index
        if len(index) and (index.min() < 0 or index.max() >= len(gallery_ids)):
            raise ValueError(
                f"{name} index must be in 0 .. {len(gallery_ids) - 1}, "
                f"got {index.min()} .. {index.max()}"
            )
    write_npz(
        path,
        {
            "index": final.index,
            "score": final.score,
            "coarse_index": coarse.index,
            "coarse_score": coarse.score,
            "query_ids": np.asarray(query_ids, np.int32),
            "gallery_ids": np.asarray(gallery_ids, np.int32),
            "gallery_files": np.array([str(file) for file in gallery_files], np.str_),
        },
    )
