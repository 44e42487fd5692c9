"""Re-ranks the top K candidates of each query with a method's costly pair score.

`match_pairs` scores any list of pairs in batches of one static shape; `final_scores` joins the
match scores with the cheap similarity by one of the published rules.
"""

import collections
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import Mesh

from jaxreid.mesh import fetch, put_replicated, put_whole, replicated, split_batch
from jaxreid.methods import Features, Params

RULES = ("albef", "blip", "cada", "keep", "nce")

# ALBEF fills the scores beyond the top K with -100 (Retrieval.py); BLIP and CADA follow it.
_FILL = 100.0
# Up to here float32 holds every whole number.
_LARGEST_CODE = 2**24
_LOG_SECONDS = 5.0
# Batches sent to the devices ahead of the one whose scores are awaited.
_IN_FLIGHT = 4


class PairBlocks(NamedTuple):
    """Sizes of what is on a device at a time while pairs are scored."""

    pairs: int  # P, pairs a batch over all devices; a multiple of the number of devices
    queries: int  # queries whose tokens every device holds
    # images of which a device holds what `match` reads; rounded up to a multiple of the devices
    images: int


def match_pairs(
    match: Callable[[Params, Features, Any], jax.Array],
    match_image: Callable[[Params, Features], Any],
    params: Params,
    queries: Features,
    images: Features,
    pairs: np.ndarray,
    mesh: Mesh,
    blocks: PairBlocks,
) -> np.ndarray:
    """Returns match(query, image) of every pair, computed in batches of `blocks.pairs`.

    The pairs are ordered by blocks of images and queries, then by image. Every device holds
    one block of each and picks the rows of its pairs by index inside the compiled step, so
    tokens stay in host memory, each block travels once for many pairs, and no more than P
    rows are ever laid out side by side. `match_image` is computed once an image. Both steps are
    compiled once.

    Args:
      match: `Method.match`.
      match_image: `Method.match_image`.
      params: of the method, on every device of `mesh`.
      queries: numpy Features of Q queries, the same on every process.
      images: numpy Features of G images, the same on every process.
      pairs: i32[n, 2], (query index, image index) of each pair, in any order.
      mesh: the pairs of a batch are split over its devices.
      blocks: see `PairBlocks`.

    Returns:
      f32[n], in the order of `pairs`.

    Raises:
      ValueError: a block size is not positive, P does not divide over the devices, an index is
        out of range, or match does not return one score a pair.
    """
    _check_pairs(queries, images, pairs, mesh, blocks)
    scores = np.empty(len(pairs), np.float32)
    query_block = min(blocks.queries, len(queries.embedding))
    # Whole rows for each device: every one prepares its share of a block.
    image_block = -(-min(blocks.images, len(images.embedding)) // mesh.size) * mesh.size
    tile = np.stack([pairs[:, 0] // query_block, pairs[:, 1] // image_block], axis=1)
    order = np.lexsort((pairs[:, 0], pairs[:, 1], tile[:, 0], tile[:, 1]))
    bounds = np.flatnonzero(np.diff(tile[order], axis=0).any(axis=1)) + 1

    progress = _Progress(len(pairs))
    pending = collections.deque()  # (positions in `scores`, scores on the devices)
    held_images, prepared = None, None
    for members in np.split(order, bounds) if len(order) else ():
        first_query, first_image = tile[members[0]] * (query_block, image_block)
        if first_image != held_images:
            prepared = None  # makes room before the next block is computed
            block = _put_block(mesh, images, first_image, image_block)
            prepared = _prepare(params, block, match_image=match_image, mesh=mesh)
            held_images = first_image
        queries_on_device = _put_block(mesh, queries, first_query, query_block)
        for start in range(0, len(members), blocks.pairs):
            part = members[start : start + blocks.pairs]
            # Unused places of a last batch score row 0 with row 0; the result is dropped.
            rows = np.zeros((blocks.pairs, 2), np.int32)
            rows[: len(part)] = pairs[part] - (first_query, first_image)
            result = _match_rows(
                params,
                queries_on_device,
                prepared,
                put_whole(mesh, rows),
                match=match,
                mesh=mesh,
            )
            pending.append((part, result))
            if len(pending) > _IN_FLIGHT:
                progress.add(_collect(scores, *pending.popleft()))
    while pending:
        progress.add(_collect(scores, *pending.popleft()))
    return scores


def final_scores(
    similarity: np.ndarray,
    candidates: np.ndarray,
    match: np.ndarray,
    *,
    rule: str,
    temperature: float | None = None,
) -> np.ndarray:
    """Joins coarse similarity s and match scores m of the top K into scores of all images.

    | rule  | in the top K                 | beyond                                          |
    |-------|------------------------------|-------------------------------------------------|
    | albef | m                            | -100 (all tied, so gallery order)               |
    | blip  | m + s                        | -100 (all tied, so gallery order)               |
    | cada  | m + s                        | s - 100                                         |
    | keep  | in the order of m            | s                                               |
    | nce   | in the order of m + s / temp | s                                               |

    albef, blip and cada are the releases of ALBEF, BLIP and CADA, -100 included. There a match
    score below about -100 would fall behind the rest: for cada the 100 grows to what keeps
    the top K in front, which changes nothing in the published range; albef and blip stay as
    they are. CADA's float32 `s - 100` also ties images whose s is within 4e-6.

    keep and nce keep the coarse order beyond the top K exactly. Inside, their scores are order
    codes, whole numbers above every s of the query: equal order, no rounding.

    nce is our own rule. A matcher trained with negatives drawn in proportion to exp(s / temp)
    estimates log p(pair) / q(pair), q the density of those negatives; adding log q = s / temp
    back gives the log posterior of the pair up to a constant of the query.

    Args:
      similarity: f32[Q, G], finite.
      candidates: i32[Q, K], gallery indices of the top K of each query, no index twice.
      match: f32[Q, K], match scores of the candidates, finite.
      rule: one of `RULES`.
      temperature: > 0, of the similarity that drew the negatives; read by nce alone.

    Returns:
      f32[Q, G], higher is better; ties are broken by gallery index.

    Raises:
      ValueError: an unknown rule, a missing temperature, shapes that disagree, or a match
        score that is not finite (names the query).
    """
    if rule not in RULES:
        raise ValueError(f"eval.rule must be one of {', '.join(RULES)}, got {rule!r}")
    if rule == "nce" and (temperature is None or temperature <= 0):
        raise ValueError(f"eval.temperature must be > 0 for eval.rule nce, got {temperature}")
    if candidates.shape != match.shape or len(candidates) != len(similarity):
        raise ValueError(
            f"candidates and match must both be [Q, K] with Q = {len(similarity)}, "
            f"got {candidates.shape} and {match.shape}"
        )
    bad = np.flatnonzero(~np.isfinite(match).all(axis=1))
    if len(bad):
        raise ValueError(f"match scores of query {bad[0]} are not finite: {match[bad[0]]}")

    inside = np.take_along_axis(similarity, candidates, axis=1)  # [Q, K]
    match = match.astype(np.float32)
    if rule == "albef":
        final, top = np.full(similarity.shape, -_FILL, np.float32), match
    elif rule == "blip":
        final, top = np.full(similarity.shape, -_FILL, np.float32), match + inside
    elif rule == "cada":
        top = match + inside
        # One unit of room, so that rounding at this size cannot let an image overtake.
        shift = np.maximum(np.float32(_FILL), similarity.max(axis=1) - top.min(axis=1) + 1)
        final = similarity.astype(np.float32) - shift[:, None]
    else:
        score = match if rule == "keep" else match + inside / np.float32(temperature)
        floor = np.floor(similarity.max(axis=1)) + 1
        if not np.abs(floor).max(initial=0) + candidates.shape[1] <= _LARGEST_CODE:
            raise ValueError(
                f"similarity must be finite and below {_LARGEST_CODE}, got {similarity.max()}"
            )
        final = similarity.astype(np.float32, copy=True)
        top = floor[:, None].astype(np.float32) + _order_code(score)
    np.put_along_axis(final, candidates, top, axis=1)
    return final


@partial(jax.jit, static_argnames=("match_image", "mesh"))
def _prepare(params, images, *, match_image, mesh):
    """What `match` reads of a block of images, a row an image, on every device."""
    count = len(images.embedding)
    prepared = match_image(params, jax.lax.with_sharding_constraint(images, split_batch(mesh)))
    if {x.shape[:1] for x in jax.tree.leaves(prepared)} != {(count,)}:
        shapes = [x.shape for x in jax.tree.leaves(prepared)]
        raise ValueError(f"match_image must return arrays of {count} rows, got {shapes}")
    return jax.lax.with_sharding_constraint(prepared, replicated(mesh))


@partial(jax.jit, static_argnames=("match", "mesh"))
def _match_rows(params, queries, images, rows, *, match, mesh):
    """f32[P] scores of pairs `rows` i32[P, 2] of the blocks; each device scores its share."""

    def pick(features, index):
        picked = jax.tree.map(
            lambda x: x.at[index].get(mode="promise_in_bounds"), features
        )  # [P, ..]
        return jax.lax.with_sharding_constraint(picked, split_batch(mesh))

    scores = match(params, pick(queries, rows[:, 0]), pick(images, rows[:, 1]))
    if scores.shape != rows.shape[:1]:
        raise ValueError(f"match must return one score a pair, f32[P], got {scores.shape}")
    return jax.lax.with_sharding_constraint(scores.astype(jnp.float32), replicated(mesh))


def _put_block(mesh: Mesh, features: Features, start: int, size: int) -> Features:
    """Rows start .. start + size on every device; past the end the rows are zero."""

    def rows(x):
        part = x[start : start + size]
        if len(part) == size:
            return part
        padded = np.zeros((size, *x.shape[1:]), x.dtype)
        padded[: len(part)] = part
        return padded

    return put_replicated(mesh, jax.tree.map(rows, features))


def _collect(scores: np.ndarray, positions: np.ndarray, result: jax.Array) -> int:
    """Writes the scores of one batch to their positions; returns how many."""
    scores[positions] = fetch(result)[: len(positions)]
    return len(positions)


def _order_code(score: np.ndarray) -> np.ndarray:
    """f32[Q, K], 0 for the lowest score of a row, 1 for the next higher; equal scores share."""
    order = np.argsort(score, axis=1)
    ascending = np.take_along_axis(score, order, axis=1)
    code = np.zeros(score.shape, np.float32)
    steps = np.cumsum(np.diff(ascending, axis=1) > 0, axis=1)
    np.put_along_axis(code, order[:, 1:], steps.astype(np.float32), axis=1)
    return code


def _check_pairs(queries, images, pairs, mesh: Mesh, blocks: PairBlocks) -> None:
    """Raises ValueError for sizes and indices that `match_pairs` cannot serve."""
    for name, size in (
        ("pair_batch", blocks.pairs),
        ("query_chunk", blocks.queries),
        ("image_chunk", blocks.images),
    ):
        if size < 1:
            raise ValueError(f"eval.{name} must be at least 1, got {size}")
    if blocks.pairs % mesh.size:
        raise ValueError(
            f"eval.pair_batch must be a multiple of the {mesh.size} devices, got {blocks.pairs}"
        )
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"pairs must be [n, 2], got {pairs.shape}")
    sizes = np.array([len(queries.embedding), len(images.embedding)])
    if len(pairs) and ((pairs < 0) | (pairs >= sizes[None])).any():
        raise ValueError(
            f"pairs must index {sizes[0]} queries and {sizes[1]} images, got indices from "
            f"{pairs.min(axis=0)} to {pairs.max(axis=0)}"
        )


class _Progress:
    """Logs how many pairs are done, the rate and the time left, every few seconds."""

    def __init__(self, total: int):
        self.total = total
        self.done = 0
        self.start = self.logged = time.monotonic()

    def add(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.logged < _LOG_SECONDS or jax.process_index():
            return
        self.logged = now
        rate = self.done / (now - self.start)
        logging.info(
            "re-ranking: %d of %d pairs, %.0f pairs/s, %.0f s left",
            self.done,
            self.total,
            rate,
            (self.total - self.done) / rate,
        )
