"""Scores of a search that goes on for rounds: what each round finds, and how soon.

Round 0 is what was said first; each of the T rounds after it adds an answer, and the gallery is
ranked again.
"""

import numpy as np

from jaxreid.metrics import CUTOFFS


def round_metrics(
    ranks: np.ndarray, average_precision: np.ndarray | None = None
) -> dict[str, list[float] | float]:
    """Returns the scores of every round, and of the rounds together.

    With pi_t = min_{t' <= t} rank_t', the best rank so far,

        R@k_t         share of rank_t <= k: what round t shows
        Hits@k_t      share of pi_t <= k: what a user has seen by then (ChatIR; Levy et al., 2023)
        rounds_to_R1  mean of the first t with rank_t = 1, T + 1 where there is none
        BRI           see `best_rank_integral`

    A query whose dialogue ends early keeps its last rank: the caller repeats it.

    Args:
      ranks: i32[T + 1, Q], row t the rank of the best right image after t answers, from 1.
      average_precision: f64[T + 1, Q] in (0, 1], for mAP; see `metrics.first_ranks`.

    Returns:
      {"R1", "R5", "R10", "Hits1", "Hits5", "Hits10"} and, if average_precision is given, "mAP":
      T + 1 numbers each, in percent; "mean_rank": T + 1 ranks; "rounds_to_R1": rounds; "BRI":
      nats, where T > 0.

    Raises:
      ValueError: ranks are no ranks, or shapes disagree.
    """
    ranks = _checked(ranks)
    best = np.minimum.accumulate(ranks, axis=0)
    scores: dict[str, list[float] | float] = {}
    for name, of in (("R", ranks), ("Hits", best)):
        scores |= {f"{name}{k}": (100 * (of <= k).mean(axis=1)).tolist() for k in CUTOFFS}
    if average_precision is not None:
        if np.shape(average_precision) != ranks.shape:
            raise ValueError(
                f"average_precision must be [T + 1, Q] = {list(ranks.shape)} like ranks, "
                f"got {list(np.shape(average_precision))}"
            )
        scores["mAP"] = (100 * np.mean(average_precision, axis=1)).tolist()
    scores["mean_rank"] = ranks.mean(axis=1).tolist()
    first = np.where((ranks == 1).any(axis=0), (ranks == 1).argmax(axis=0), len(ranks))
    scores["rounds_to_R1"] = float(first.mean())
    if len(ranks) > 1:
        scores["BRI"] = float(best_rank_integral(ranks).mean())
    return scores


def best_rank_integral(ranks: np.ndarray) -> np.ndarray:
    """Returns the Best log Rank Integral of each query (PlugIR; Lee et al., 2024); lower is better.

        BRI = (ln pi_0 + ln pi_T) / (2 T) + 1/T sum_{t=1}^{T-1} ln pi_t

    the mean height of ln pi over the rounds by the trapezium rule; pi_t is the best rank so far.

    Args:
      ranks: i32[T + 1, Q], from 1; T >= 1.

    Returns:
      f64[Q], nats, >= 0; 0 where the person is first from the start.

    Raises:
      ValueError: ranks are no ranks, or there is no round after the first.
    """
    ranks = _checked(ranks)
    if len(ranks) < 2:
        raise ValueError(
            "BRI needs a round after the first description, got ranks of round 0 alone"
        )
    log_best = np.log(np.minimum.accumulate(ranks, axis=0))
    return ((log_best[:-1] + log_best[1:]) / 2).mean(axis=0)


def _checked(ranks: np.ndarray) -> np.ndarray:
    """The ranks as an array, if they are [T + 1, Q] whole numbers from 1."""
    ranks = np.asarray(ranks)
    if ranks.ndim != 2 or not ranks.size:
        raise ValueError(f"ranks must be [T + 1, Q] of at least one query, got {list(ranks.shape)}")
    if not np.issubdtype(ranks.dtype, np.integer) or ranks.min() < 1:
        raise ValueError(
            f"ranks must be whole numbers from 1, got {ranks.dtype} from {ranks.min()}"
        )
    return ranks
