import itertools

import numpy as np
import pytest

from jaxreid.metrics import chance, ranking_metrics

NAMES = ("R1", "R5", "R10", "mAP", "mINP")


def reference(similarity, query_ids, gallery_ids):
    """Sorts every row and walks down it, one image at a time."""
    rows = []
    for scores, person in zip(similarity, query_ids, strict=True):
        order = sorted(range(len(scores)), key=lambda g: (-float(scores[g]), g))
        hits = [gallery_ids[g] == person for g in order]
        if not any(hits):
            continue
        found, precisions, last = 0, [], 0
        for rank, hit in enumerate(hits, start=1):
            if hit:
                found += 1
                precisions.append(found / rank)
                last = rank
        recall = [float(any(hits[:k])) for k in (1, 5, 10)]
        rows.append([*recall, sum(precisions) / found, found / last])
    return dict(zip(NAMES, 100 * np.mean(rows, axis=0), strict=True))


def problem(seed, queries=40, gallery=57, people=9, levels=None):
    """Scores of people with unequal numbers of images; `levels` distinct scores make ties."""
    rng = np.random.default_rng(seed)
    share = np.arange(1, people + 1) / np.arange(1, people + 1).sum()
    gallery_ids = np.concatenate(
        [np.arange(people), rng.choice(people, gallery - people, p=share)]
    ).astype(np.int32)
    rng.shuffle(gallery_ids)
    query_ids = rng.choice(people, queries).astype(np.int32)
    if levels is None:
        similarity = rng.standard_normal((queries, gallery))
    else:
        similarity = rng.integers(0, levels, (queries, gallery)) - levels // 2
    return similarity.astype(np.float32), query_ids + 100, gallery_ids + 100


@pytest.mark.parametrize("levels", [None, 1, 2, 5, 30])
def test_scores_equal_a_slow_sort_with_ties_by_gallery_index(levels):
    similarity, query_ids, gallery_ids = problem(0, levels=levels)
    want = reference(similarity, query_ids, gallery_ids)
    assert ranking_metrics(similarity, query_ids, gallery_ids) == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize("levels", [None, 3])
def test_image_to_text_is_the_transposed_problem(levels):
    similarity, query_ids, gallery_ids = problem(1, queries=57, levels=levels)
    query_ids[: len(np.unique(gallery_ids))] = np.unique(gallery_ids)
    want = reference(np.ascontiguousarray(similarity.T), gallery_ids, query_ids)
    got = ranking_metrics(similarity.T, gallery_ids, query_ids)
    assert got == pytest.approx(want, abs=1e-9)


def test_known_ranking_gives_known_scores():
    # Person 7 at ranks 2 and 6 of 6, person 9 at rank 1.
    similarity = np.array([[1, 5, 6, 3, 2, 4], [0, 0, 9, 0, 0, 0]], np.float32)
    gallery_ids = np.array([7, 7, 9, 8, 8, 8])
    got = ranking_metrics(similarity, np.array([7, 9]), gallery_ids)
    want = {"R1": 50, "R5": 100, "R10": 100, "mAP": 50 * (5 / 12 + 1), "mINP": 50 * (1 / 3 + 1)}
    assert got == pytest.approx(want)


def test_negative_zero_ties_with_zero():
    similarity = np.array([[0.0, -0.0, 0.0]], np.float32)
    for person, rank in ((4, 1), (5, 2), (6, 3)):
        got = ranking_metrics(similarity, np.array([person]), np.array([4, 5, 6]))
        assert got["mAP"] == pytest.approx(100 / rank)


def test_infinite_scores_are_ranked():
    similarity = np.array([[-np.inf, np.inf, 0.0]], np.float32)
    got = ranking_metrics(similarity, np.array([6]), np.array([4, 5, 6]))
    assert got["mAP"] == pytest.approx(50)


def test_nan_is_refused_by_query_and_place():
    similarity, query_ids, gallery_ids = problem(2)
    similarity[17, 3] = np.nan
    with pytest.raises(ValueError, match="query 17 is NaN at gallery index 3"):
        ranking_metrics(similarity, query_ids, gallery_ids)


def test_queries_without_a_match_are_counted_and_named():
    similarity, query_ids, gallery_ids = problem(3)
    query_ids[[4, 9]] = 1, 2
    for score in (
        lambda **kw: ranking_metrics(similarity, query_ids, gallery_ids, **kw),
        lambda **kw: chance(query_ids, gallery_ids, **kw),
    ):
        with pytest.raises(ValueError, match=r"2 of 40 .*query 4 \(person 1\), 9 \(person 2\)"):
            score()
        assert score(missing="skip")["queries_without_match"] == 2


def test_skipped_queries_leave_the_scores_of_the_others():
    similarity, query_ids, gallery_ids = problem(4, levels=4)
    query_ids[[0, 5, 6]] = 1
    rest = query_ids != 1
    got = ranking_metrics(similarity, query_ids, gallery_ids, missing="skip")
    want = ranking_metrics(similarity[rest], query_ids[rest], gallery_ids)
    assert got == want | {"queries_without_match": 3}


def test_no_query_with_a_match_is_refused_even_when_skipping():
    with pytest.raises(ValueError, match="none of the 2 queries"):
        ranking_metrics(np.zeros((2, 3), np.float32), np.zeros(2), np.ones(3), missing="skip")


def test_unknown_missing_and_wrong_shapes_are_refused():
    similarity, query_ids, gallery_ids = problem(5)
    with pytest.raises(ValueError, match='"error" or "skip", got \'drop\''):
        ranking_metrics(similarity, query_ids, gallery_ids, missing="drop")
    with pytest.raises(ValueError, match=r"\[57, 40\].*got \(40, 57\)"):
        ranking_metrics(similarity, gallery_ids, query_ids)


def test_chance_equals_the_mean_over_random_rankings():
    _, query_ids, gallery_ids = problem(6, queries=6, gallery=23, people=4)
    rng = np.random.default_rng(7)
    draws = [
        list(ranking_metrics(rng.random((6, 23), np.float32), query_ids, gallery_ids).values())
        for _ in range(4000)
    ]
    got = list(chance(query_ids, gallery_ids).values())
    error = np.std(draws, axis=0) / np.sqrt(len(draws))
    np.testing.assert_array_less(np.abs(np.mean(draws, axis=0) - got), 4 * error + 1e-9)


def test_chance_equals_the_mean_over_all_orders_of_a_tiny_gallery():
    gallery_ids = np.array([0, 0, 1, 1, 1, 2])
    query_ids = np.array([0, 1, 2, 2])
    scores = np.array(list(itertools.permutations(range(6))), np.float32)
    draws = [
        list(ranking_metrics(np.tile(row, (4, 1)), query_ids, gallery_ids).values())
        for row in scores
    ]
    got = list(chance(query_ids, gallery_ids).values())
    np.testing.assert_allclose(got, np.mean(draws, axis=0), rtol=1e-9)


def test_chance_is_certain_where_all_images_are_relevant():
    assert chance(np.array([3]), np.array([3, 3])) == pytest.approx(dict.fromkeys(NAMES, 100))
    assert chance(np.array([3]), np.array([3])) == pytest.approx(dict.fromkeys(NAMES, 100))
