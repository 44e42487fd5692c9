"""Ranks a gallery for every query, re-ranks the top K, and scores both rankings."""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import Mesh

from jaxreid.embed import embed
from jaxreid.mesh import fetch, put_replicated, put_whole, split_batch
from jaxreid.methods import Features, Method, Params
from jaxreid.metrics import chance, ranking_metrics
from jaxreid.rerank import RULES, PairBlocks, final_scores, match_pairs
from jaxreid.rounds import score_rounds

DIRECTIONS = ("text_to_image", "both")
KEPT = 100  # images of each ranking that are returned
_TOP_K_ROWS = 1024  # rows of scores on the device at a time


class Items(NamedTuple):
    """The queries, or the gallery, of one evaluation."""

    # what `encode_query` or `encode_image` takes, padded to one shape; see `embed`
    batches: Iterable[Any]
    person_id: np.ndarray  # i32[n], in the order of the batches; n leaves out the padding


class Settings(NamedTuple):
    """How to evaluate: the fields of `config.eval` of the same names."""

    top_k: int  # K, images re-ranked for each query; 0 for none
    rule: str  # how match scores and similarity are joined, see `rerank.final_scores`
    temperature: float | None  # of the rule "nce"
    direction: str  # "text_to_image" | "both": also image -> text
    missing: str  # "error" | "skip": queries without a match, see `metrics.ranking_metrics`
    token_dtype: str  # "bfloat16" | "float32", of the tokens in host memory
    chunk: int  # queries a step of the similarity matrix, over all devices
    pair_batch: int  # query-image pairs a re-ranking step, over all devices
    query_chunk: int  # queries whose tokens are on a device while re-ranking
    image_chunk: int  # images whose tokens are on a device while re-ranking


class Ranking(NamedTuple):
    """The best images of every query, best first."""

    index: np.ndarray  # i32[Q, min(KEPT, G)], positions in the gallery
    score: np.ndarray  # f32[Q, min(KEPT, G)], not increasing along a row


class Evaluation(NamedTuple):
    """What `evaluate` returns; ready for results.json and rankings.npz."""

    results: dict[str, Any]
    coarse: Ranking
    final: Ranking


def evaluate(
    method: Method,
    params: Params,
    queries: Items,
    gallery: Items,
    mesh: Mesh,
    settings: Settings,
    turns: Sequence[Items] = (),
) -> Evaluation:
    """Encodes queries and gallery, ranks, re-ranks and scores.

    All processes call together and all return the same; one of them writes the files.

    Args:
      method: the contract's functions; the same object on every call compiles once.
      params: of the method, on the host or on the devices.
      queries: Q captions, dialogues, or images with a change in words.
      gallery: G images.
      mesh: from `make_mesh`.
      settings: see `Settings`.
      turns: of dialogues, the queries after 0, 1, .. rounds.

    Returns:
      The rankings and the results:
        queries, gallery    Q and G
        chance              expected scores of a random ranking, R1 R5 R10 mAP mINP in percent
        coarse, final       scores before and after re-ranking, equal where nothing re-ranks
        image_to_text       {chance, coarse, final}, with direction "both" alone
        rounds              of dialogues, see `round_metrics`; nothing is re-ranked there
        seconds             encode_gallery, encode_queries, similarity, rerank, metrics

    Raises:
      ValueError: a setting, named eval.<field>, or data that cannot be scored.
    """
    reranks = method.match is not None and settings.top_k > 0
    _check(settings, mesh, reranks, len(queries.person_id), len(gallery.person_id))
    clock = _Clock()
    params = put_replicated(mesh, params)
    query_features, image_features = _encode_both(
        method, params, queries, gallery, mesh, settings, reranks, clock
    )
    all_pairs = partial(
        similarity_matrix, method.similarity, images=image_features, mesh=mesh,
        chunk=settings.chunk, image_chunk=settings.image_chunk,
    )  # fmt: skip
    similarity = all_pairs(query_features)
    clock.lap("similarity")

    match = None
    if reranks:
        match = partial(
            _match_candidates, method, params, query_features, image_features, mesh, settings
        )
    results = {"queries": len(queries.person_id), "gallery": len(gallery.person_id)}
    blocks, final = _score(similarity, match, queries.person_id, gallery.person_id, settings, clock)
    results |= blocks
    coarse_ranking, final_ranking = _ranking(similarity), _ranking(final)
    if settings.direction == "both":
        if match is not None:
            match = partial(match, image_to_text=True)
        results["image_to_text"], _ = _score(
            similarity.T, match, gallery.person_id, queries.person_id, settings, clock
        )
    if turns:

        def similarity_after(turn: int) -> np.ndarray:
            return all_pairs(
                embed(
                    method.encode_query, params, turns[turn].batches, len(queries.person_id), mesh,
                    token_dtype=settings.token_dtype, keep_tokens=query_features.tokens is not None,
                )
            )  # fmt: skip

        results["rounds"] = score_rounds(
            similarity_after, len(turns), queries.person_id, gallery.person_id,
            missing=settings.missing,
        )  # fmt: skip
        clock.lap("rounds")
    results["seconds"] = clock.seconds
    return Evaluation(results, coarse_ranking, final_ranking)


def similarity_matrix(
    similarity: Callable[[Features, Features], jax.Array],
    queries: Features,
    images: Features,
    mesh: Mesh,
    *,
    chunk: int,
    image_chunk: int,
) -> np.ndarray:
    """Returns similarity of all pairs, f32[Q, G] on the host, `chunk` queries at a time.

    The queries of a chunk are split over the devices, the images are on each. Matrix products
    run in full float32, so that the ranking is the same on every kind of device. Tokens travel
    only where `similarity` reads them: `image_chunk` images at a time then. The last chunks are
    padded: one compilation.

    Args:
      similarity: `Method.similarity`.
      queries: numpy Features of Q queries.
      images: numpy Features of G images.
      mesh: from `make_mesh`.
      chunk: queries a step, a multiple of the number of devices.
      image_chunk: images whose tokens are on a device at a time.

    Raises:
      ValueError: chunk does not divide over the devices.
    """
    if chunk < 1 or chunk % mesh.size:
        raise ValueError(
            f"eval.chunk must be a positive multiple of the {mesh.size} devices, got {chunk}"
        )
    count, size = len(queries.embedding), len(images.embedding)
    if not reads_tokens(similarity, queries, images):
        queries, images = Features(queries.embedding), Features(images.embedding)
        image_chunk = size
    chunk = min(chunk, -(-count // mesh.size) * mesh.size)
    image_chunk = min(image_chunk, size)
    matrix = np.empty((count, size), np.float32)

    def rows(features: Features, start: int, length: int) -> Features:
        return jax.tree.map(lambda x: _padded(x[start : start + length], length), features)

    for first in range(0, size, image_chunk):
        on_device = put_replicated(mesh, rows(images, first, image_chunk))
        for start in range(0, count, chunk):
            part = put_whole(mesh, rows(queries, start, chunk))
            scores = fetch(_similarity(part, on_device, similarity=similarity, mesh=mesh))
            block = matrix[start : start + chunk, first : first + image_chunk]
            block[:] = scores[: block.shape[0], : block.shape[1]]
    return matrix


def reads_tokens(similarity, queries: Features, images: Features) -> bool:
    """Returns whether `similarity` reads more than the embeddings; arrays or their shapes."""
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (queries, images))
    jaxpr = jax.make_jaxpr(similarity)(*shapes).jaxpr
    names = [
        name
        for features in (queries, images)
        for name, array in features._asdict().items()
        if array is not None
    ]
    read = {id(var) for equation in jaxpr.eqns for var in equation.invars}
    return any(
        id(var) in read
        for name, var in zip(names, jaxpr.invars, strict=True)
        if name != "embedding"
    )


def top_k(similarity: np.ndarray, k: int) -> np.ndarray:
    """Returns the K best columns of every row, i32[Q, K], best first, ties by gallery index.

    Args:
      similarity: f32[Q, G].
      k: K, at most G.

    Raises:
      ValueError: K is not in 1 .. G, or a score is NaN (names the query).
    """
    count, size = similarity.shape
    if not 1 <= k <= size:
        raise ValueError(f"eval.top_k must be from 1 to the gallery's {size} images, got {k}")
    rows = min(_TOP_K_ROWS, count)
    index = np.empty((count, k), np.int32)
    for start in range(0, count, rows):
        part = similarity[start : start + rows]
        if np.isnan(part.min()):
            query = start + int(np.isnan(part).any(axis=1).argmax())
            raise ValueError(f"similarity of query {query} is NaN")
        # + 0 turns -0.0 into 0.0: lax.top_k ranks them apart, `==` and the metrics do not.
        part = _padded(part + np.float32(0), rows)
        index[start : start + rows] = np.asarray(_top_k(part, k))[: count - start]
    return index


@partial(jax.jit, static_argnames=("similarity", "mesh"))
def _similarity(queries, images, *, similarity, mesh):
    """f32[chunk, G] scores of one chunk of queries, split over the devices."""
    with jax.default_matmul_precision("highest"):
        scores = similarity(queries, images)
    shape = (len(queries.embedding), len(images.embedding))
    if scores.shape != shape:
        raise ValueError(f"similarity must return f32[Q, G] = {shape}, got {scores.shape}")
    return jax.lax.with_sharding_constraint(scores.astype(jnp.float32), split_batch(mesh))


@partial(jax.jit, static_argnums=1)
def _top_k(scores, k):
    """i32[rows, k]; lax.top_k puts the lower index first among equal scores."""
    return jax.lax.top_k(scores, k)[1]


def _encode_both(method, params, queries, gallery, mesh, settings, reranks, clock):
    """Features of the queries and of the images; tokens are kept where a score reads them."""
    query_batch, query_batches = _peek(queries.batches, "queries")
    image_batch, image_batches = _peek(gallery.batches, "gallery")
    keep = reranks or reads_tokens(
        method.similarity,
        jax.eval_shape(method.encode_query, params, query_batch),
        jax.eval_shape(method.encode_image, params, image_batch),
    )
    run = partial(embed, mesh=mesh, token_dtype=settings.token_dtype, keep_tokens=keep)
    image_features = run(method.encode_image, params, image_batches, len(gallery.person_id))
    clock.lap("encode_gallery")
    query_features = run(method.encode_query, params, query_batches, len(queries.person_id))
    clock.lap("encode_queries")
    return query_features, image_features


def _score(similarity, match, query_ids, gallery_ids, settings, clock):
    """({chance, coarse, final}, final scores f32[Q, G]) of one direction."""
    metrics = partial(
        ranking_metrics, query_ids=query_ids, gallery_ids=gallery_ids, missing=settings.missing
    )
    blocks = {
        "chance": chance(query_ids, gallery_ids, missing=settings.missing),
        "coarse": metrics(similarity),
    }
    clock.lap("metrics")
    if match is None:
        return blocks | {"final": dict(blocks["coarse"])}, similarity
    candidates = top_k(similarity, settings.top_k)
    final = final_scores(
        similarity,
        candidates,
        match(candidates),
        rule=settings.rule,
        temperature=settings.temperature,
    )
    clock.lap("rerank")
    blocks["final"] = metrics(final)
    clock.lap("metrics")
    return blocks, final


def _match_candidates(
    method, params, queries, images, mesh, settings, candidates, image_to_text=False
):
    """f32[Q, K] match scores of candidates i32[Q, K]; rows are images if image_to_text."""
    rows = np.repeat(np.arange(len(candidates), dtype=np.int32), candidates.shape[1])
    pairs = np.stack([rows, candidates.ravel()], axis=1)
    if image_to_text:
        pairs = pairs[:, ::-1]
    blocks = PairBlocks(settings.pair_batch, settings.query_chunk, settings.image_chunk)
    scores = match_pairs(
        method.match, method.match_image, params, queries, images, pairs, mesh, blocks
    )
    return scores.reshape(candidates.shape)


def _ranking(scores: np.ndarray) -> Ranking:
    """The first KEPT images of every query."""
    index = top_k(scores, min(KEPT, scores.shape[1]))
    return Ranking(index, np.take_along_axis(scores, index, axis=1))


def _padded(x: np.ndarray, size: int) -> np.ndarray:
    """x with zero rows up to `size`."""
    return x if len(x) == size else np.pad(x, [(0, size - len(x))] + [(0, 0)] * (x.ndim - 1))


def _peek(batches: Iterable[Any], name: str) -> tuple[Any, Iterable[Any]]:
    """The first batch, and all batches including it."""
    batches = iter(batches)
    try:
        first = next(batches)
    except StopIteration:
        raise ValueError(f"{name} has no batch to encode") from None
    return first, itertools.chain([first], batches)


def _check(settings: Settings, mesh: Mesh, reranks: bool, queries: int, gallery: int) -> None:
    """Raises ValueError for a setting that would fail only after the encoding."""
    if settings.direction not in DIRECTIONS:
        raise ValueError(
            f"eval.direction must be one of {', '.join(DIRECTIONS)}, got {settings.direction!r}"
        )
    if settings.rule not in RULES:
        raise ValueError(f"eval.rule must be one of {', '.join(RULES)}, got {settings.rule!r}")
    if (
        reranks
        and settings.rule == "nce"
        and not (settings.temperature and settings.temperature > 0)
    ):
        raise ValueError(
            f"eval.temperature must be > 0 for eval.rule nce, got {settings.temperature}"
        )
    if settings.top_k < 0 or (reranks and settings.top_k > gallery):
        raise ValueError(
            f"eval.top_k must be from 0 to the gallery's {gallery} images, got {settings.top_k}"
        )
    if reranks and settings.direction == "both" and settings.top_k > queries:
        raise ValueError(
            f"eval.top_k must be at most the {queries} queries for eval.direction both, "
            f"got {settings.top_k}"
        )
    for name in ("chunk", "pair_batch"):
        value = getattr(settings, name)
        if value < 1 or value % mesh.size:
            raise ValueError(
                f"eval.{name} must be a positive multiple of the {mesh.size} devices, got {value}"
            )
    for name in ("query_chunk", "image_chunk"):
        if getattr(settings, name) < 1:
            raise ValueError(f"eval.{name} must be at least 1, got {getattr(settings, name)}")


class _Clock:
    """Seconds of each part, summed by name."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self.last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self.last
        self.last = now
        if not jax.process_index():
            logging.info("evaluate: %s took %.1f s", name, self.seconds[name])
