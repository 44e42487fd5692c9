"""Scores of a ranking: R1, R5, R10, mAP and mINP in percent, relevance by person id.

The one place that scores. Nothing is sorted: the rank of a relevant image is counted, which
on a gallery of 19,848 images is several times faster than sorting the rows and breaks ties
in the same way on every machine.
"""

from collections.abc import Mapping

import numpy as np

CUTOFFS = (1, 5, 10)
_NAMED = 5  # at most so many offending queries are named in an error


def ranking_metrics(
    similarity: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    *,
    missing: str = "error",
) -> dict[str, float]:
    """Returns R1, R5, R10, mAP and mINP of ranking the gallery by similarity, in percent.

    With rank_1 < ... < rank_r the ranks of the r gallery images of a query's person,

        rank_i = 1 + #(greater scores) + #(equal scores at a lower gallery index)
        R@k    = 1 if rank_1 <= k else 0
        AP     = 1/r sum_i i / rank_i          over the full gallery
        INP    = r / rank_r

    each averaged over the queries. The other direction, images as queries against captions,
    is `ranking_metrics(similarity.T, gallery_ids, query_ids)`: any caption of the image's
    person is relevant.

    Args:
      similarity: f32[Q, G], higher is better, any scale; infinite values are allowed.
      query_ids: i32[Q], person of each query.
      gallery_ids: i32[G], person of each gallery image.
      missing: "error" refuses a query whose person is not in the gallery; "skip" leaves it
        out of the averages and counts it in "queries_without_match".

    Returns:
      {"R1", "R5", "R10", "mAP", "mINP"}, in [0, 100]; with missing="skip" also
      "queries_without_match", a count.

    Raises:
      ValueError: shapes disagree, a score is NaN, a query has no relevant image (see
        `missing`), or none has.
    """
    _check_shape(similarity, query_ids, gallery_ids)
    relevant, without = _relevant(query_ids, gallery_ids, missing)

    scored = [q for q, images in enumerate(relevant) if len(images)]
    recall = np.zeros(len(CUTOFFS))
    average_precision = 0.0
    inverse_penalty = 0.0
    for q in scored:
        ranks = _ranks(similarity, relevant[q], q)
        recall += ranks[0] <= np.array(CUTOFFS)
        average_precision += _average_precision(ranks)
        inverse_penalty += len(ranks) / ranks[-1]
    scores = dict(zip((f"R{k}" for k in CUTOFFS), recall, strict=True))
    scores |= {"mAP": average_precision, "mINP": inverse_penalty}
    return _percent(scores, len(scored), missing, without)


def first_ranks(
    similarity: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    *,
    missing: str = "error",
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rank of each query's best relevant image, and its average precision.

    Those of `ranking_metrics`, whose R@k is the share of ranks <= k; args and errors are as there.

    Returns:
      i32[Q'], from 1, and f64[Q'] in (0, 1], of the queries that have a relevant image.
    """
    _check_shape(similarity, query_ids, gallery_ids)
    relevant, _ = _relevant(query_ids, gallery_ids, missing)
    ranks = [_ranks(similarity, images, q) for q, images in enumerate(relevant) if len(images)]
    first = np.array([found[0] for found in ranks], np.int32)
    return first, np.array([_average_precision(found) for found in ranks])


def chance(
    query_ids: np.ndarray, gallery_ids: np.ndarray, *, missing: str = "error"
) -> dict[str, float]:
    """Returns the expected scores of a random ranking of the gallery, in percent, exactly.

    For r relevant among G images in uniformly random order, with H_G the harmonic number:

        E[R@k] = 1 - C(G - r, k) / C(G, k)
        E[AP]  = 1/G (H_G + (r - 1) / (G - 1) (G - H_G))
        E[INP] = sum_{l=r}^{G} r / l * C(l - 1, r - 1) / C(G, r),    l the rank of the last

    Args and errors are those of `ranking_metrics`.
    """
    relevant, without = _relevant(query_ids, gallery_ids, missing)
    size = len(gallery_ids)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size + 1)))])
    harmonic = (1 / np.arange(1, size + 1)).sum()

    def log_choose(n, k):
        return log_factorial[n] - log_factorial[k] - log_factorial[n - k]

    scores = dict.fromkeys([*(f"R{k}" for k in CUTOFFS), "mAP", "mINP"], 0.0)
    found = np.array([len(images) for images in relevant if len(images)])
    for r, queries in zip(*np.unique(found, return_counts=True), strict=True):
        for k in CUTOFFS:
            miss = 0.0
            if size - r >= k:
                miss = np.exp(log_choose(size - r, k) - log_choose(size, k))
            scores[f"R{k}"] += queries * (1 - miss)
        spread = (r - 1) / (size - 1) * (size - harmonic) if r > 1 else 0.0
        scores["mAP"] += queries * (harmonic + spread) / size
        last = np.arange(r, size + 1)
        probability = np.exp(log_choose(last - 1, r - 1) - log_choose(size, r))
        scores["mINP"] += queries * (r / last * probability).sum()
    return _percent(scores, len(found), missing, without)


def _ranks(similarity: np.ndarray, images: np.ndarray, query: int) -> np.ndarray:
    """i64[r], ascending: the rank of each of `images` for a query, ties by gallery index."""
    # One row at a time: it stays in the cache while its positives are counted.
    row = np.ascontiguousarray(similarity[query])
    if np.isnan(row.min(initial=np.inf)):  # min carries NaN; half the time of isnan().any()
        raise ValueError(
            f"similarity of query {query} is NaN at gallery index {int(np.isnan(row).argmax())}"
        )
    ranks = np.empty(len(images), np.int64)
    for i, image in enumerate(images):
        score = row[image]
        greater = np.count_nonzero(row > score)
        equal_before = np.count_nonzero(row[:image] == score)
        ranks[i] = 1 + greater + equal_before
    return np.sort(ranks)


def _average_precision(ranks: np.ndarray) -> float:
    """AP of ascending ranks."""
    return (np.arange(1, len(ranks) + 1) / ranks).mean()


def _check_shape(similarity: np.ndarray, query_ids: np.ndarray, gallery_ids: np.ndarray) -> None:
    """Refuses scores that are not one for each query and image."""
    if similarity.ndim != 2 or similarity.shape != (len(query_ids), len(gallery_ids)):
        raise ValueError(
            f"similarity must be [Q, G] = [{len(query_ids)}, {len(gallery_ids)}] for "
            f"{len(query_ids)} query_ids and {len(gallery_ids)} gallery_ids, "
            f"got {similarity.shape}"
        )


def _relevant(
    query_ids: np.ndarray, gallery_ids: np.ndarray, missing: str
) -> tuple[list[np.ndarray], int]:
    """Gallery indices of each query's person, and how many queries have none."""
    if missing not in ("error", "skip"):
        raise ValueError(f'missing must be "error" or "skip", got {missing!r}')
    query_ids, gallery_ids = np.asarray(query_ids), np.asarray(gallery_ids)
    order = np.argsort(gallery_ids, kind="stable")
    ordered = gallery_ids[order]
    start = np.searchsorted(ordered, query_ids, side="left")
    stop = np.searchsorted(ordered, query_ids, side="right")
    relevant = [order[a:b] for a, b in zip(start, stop, strict=True)]
    without = np.flatnonzero(start == stop)
    if len(without) == len(query_ids):
        raise ValueError(f"none of the {len(query_ids)} queries has its person in the gallery")
    if len(without) and missing == "error":
        named = ", ".join(f"{q} (person {query_ids[q]})" for q in without[:_NAMED])
        more = ", ..." if len(without) > _NAMED else ""
        raise ValueError(
            f"{len(without)} of {len(query_ids)} queries have no image of their person in the "
            f"gallery: query {named}{more}"
        )
    return relevant, len(without)


def _percent(
    totals: Mapping[str, float], queries: int, missing: str, without: int
) -> dict[str, float]:
    """Sums over queries as means in percent."""
    scores = {name: 100 * float(total) / queries for name, total in totals.items()}
    if missing == "skip":
        scores["queries_without_match"] = without
    return scores
