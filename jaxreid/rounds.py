"""Scores a gallery after every round of the dialogues that search it."""

from collections.abc import Callable

import jax
import numpy as np
from absl import logging

from jaxreid.metrics import first_ranks
from jaxreid.round_metrics import round_metrics


def score_rounds(
    similarity_after: Callable[[int], np.ndarray],
    turns: int,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    *,
    missing: str,
) -> dict[str, list[float] | float]:
    """Returns the scores of `round_metrics` over rounds 0 .. turns - 1.

    Args:
      similarity_after: number of rounds -> f32[Q, G].
      turns: T + 1.
      query_ids: i32[Q], person of each dialogue.
      gallery_ids: i32[G].
      missing: "error" | "skip": what becomes of queries whose person is not in the gallery; see
        `metrics.ranking_metrics`.

    Raises:
      ValueError: a query has no image in the gallery, and missing is "error".
    """
    ranks, precisions = [], []
    for turn in range(turns):
        found = first_ranks(similarity_after(turn), query_ids, gallery_ids, missing=missing)
        ranks.append(found[0])
        precisions.append(found[1])
        if not jax.process_index():
            logging.info(
                "after %d of %d rounds: R1 %.2f mAP %.2f", turn, turns - 1,
                100 * (found[0] == 1).mean(), 100 * found[1].mean(),
            )  # fmt: skip
    return round_metrics(np.stack(ranks), np.stack(precisions))
