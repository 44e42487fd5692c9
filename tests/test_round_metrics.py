import math

import numpy as np
import pytest

from jaxreid.metrics import first_ranks, ranking_metrics
from jaxreid.round_metrics import best_rank_integral, round_metrics

RANKS = np.array([[10, 3, 1], [5, 4, 2], [7, 1, 1], [2, 1, 1]], np.int32)  # 4 rounds, 3 queries


def reference(ranks):
    """One query at a time, one round at a time."""
    rounds, queries = len(ranks), len(ranks[0])
    scores = {f"{name}{k}": [0.0] * rounds for name in ("R", "Hits") for k in (1, 5, 10)}
    integral = first = 0.0
    for q in range(queries):
        best, heights, found = math.inf, [], None
        for t in range(rounds):
            rank = int(ranks[t][q])
            best = min(best, rank)
            heights.append(math.log(best))
            for k in (1, 5, 10):
                scores[f"R{k}"][t] += 100 * (rank <= k) / queries
                scores[f"Hits{k}"][t] += 100 * (best <= k) / queries
            if rank == 1 and found is None:
                found = t
        last = rounds - 1
        integral += (heights[0] + heights[-1]) / (2 * last) + sum(heights[1:-1]) / last
        first += rounds if found is None else found
    return scores | {"BRI": integral / queries, "rounds_to_R1": first / queries}


def test_best_rank_integral_of_a_worked_example():
    assert best_rank_integral(RANKS).mean() == pytest.approx(0.7071845, abs=1e-7)
    assert round_metrics(RANKS)["BRI"] == pytest.approx(0.7071845, abs=1e-7)


@pytest.mark.parametrize("rounds", [2, 3, 7])
def test_scores_equal_a_loop(rounds):
    ranks = np.random.default_rng(rounds).geometric(0.15, (rounds, 31)).astype(np.int32)
    got, want = round_metrics(ranks), reference(ranks)
    assert {name: got[name] for name in want} == {
        name: pytest.approx(value, abs=1e-9) for name, value in want.items()
    }
    assert got["mean_rank"] == pytest.approx([sum(map(int, row)) / 31 for row in ranks])


def test_hits_never_fall_and_recall_may():
    scores = round_metrics(RANKS)
    assert scores["Hits1"] == pytest.approx([100 / 3, 100 / 3, 200 / 3, 200 / 3])
    assert scores["R1"] == pytest.approx([100 / 3, 0, 200 / 3, 200 / 3])


def test_rounds_to_the_first_rank_are_censored_after_the_last():
    ranks = np.array([[1, 2, 9], [2, 2, 8], [2, 1, 7]], np.int32)
    assert round_metrics(ranks)["rounds_to_R1"] == pytest.approx((0 + 2 + 3) / 3)


def test_a_rank_lost_later_does_not_raise_the_integral():
    kept = np.array([[4], [1], [1]], np.int32)
    lost = np.array([[4], [1], [50]], np.int32)
    assert best_rank_integral(kept) == best_rank_integral(lost)


def test_round_0_alone_has_no_integral():
    assert "BRI" not in round_metrics(RANKS[:1])
    with pytest.raises(ValueError, match="BRI needs a round after the first description"):
        best_rank_integral(RANKS[:1])


@pytest.mark.parametrize("levels", [2, 5, 40])
def test_first_ranks_agree_with_the_scores_of_a_ranking(levels):
    rng = np.random.default_rng(levels)
    gallery_ids = rng.permutation(np.repeat(np.arange(9), [1, 2, 3, 4, 5, 6, 1, 2, 3])) + 7
    query_ids = rng.integers(7, 16, 20)
    similarity = rng.integers(0, levels, (20, len(gallery_ids))).astype(np.float32)
    ranks, precision = first_ranks(similarity, query_ids, gallery_ids)
    want = ranking_metrics(similarity, query_ids, gallery_ids)
    got = round_metrics(ranks[None], precision[None])
    for name in ("R1", "R5", "R10", "mAP"):
        assert got[name] == pytest.approx([want[name]]), name


def test_a_query_without_its_person_can_be_left_out():
    similarity = np.array([[0.1, 0.9], [0.5, 0.4]], np.float32)
    ranks, precision = first_ranks(similarity, [8, 4], [4, 5], missing="skip")
    assert ranks.tolist() == [1]
    assert precision.tolist() == [1.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: round_metrics(np.zeros((2, 3), np.int32)), "whole numbers from 1, got int32 from"),
        (lambda: round_metrics(np.ones((2, 3))), "whole numbers from 1, got float64"),
        (lambda: round_metrics(np.ones(3, np.int32)), r"ranks must be \[T \+ 1, Q\]"),
        (lambda: round_metrics(np.ones((2, 0), np.int32)), "at least one query"),
        (lambda: round_metrics(RANKS, np.ones((3, 3))), "average_precision must be"),
        (lambda: first_ranks(np.ones((1, 2)), [3], [4, 4]), "none of the 1 queries has its person"),
        (lambda: first_ranks(np.ones((2, 2)), [4], [4, 4]), "similarity must be"),
        (
            lambda: first_ranks(np.array([[np.nan, 1]]), [4], [4, 4]),
            "query 0 is NaN at gallery index 0",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
