"""The first images by the mean of token cosines, exactly, without scoring all of a gallery.

FAFA scores a query and an image by the mean of the `top` largest cosines with the image's tokens.
The largest one bounds that mean, and is itself bounded by a few coordinates: with an orthogonal R,
and a, b for the leading and the remaining coordinates of R x,

    <q, t> = <q_a, t_a> + <q_b, t_b> <= <q_a, t_a> + |q_b| |t_b|        (Cauchy-Schwarz)

Along the principal axes of a trained gallery a few coordinates hold nearly all, so that the bound
costs a fraction of the product and lets little more than the first images pass. Those are scored in
full, and more of them until no image left out could be among the first.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.losses.fda import token_similarity

LEAD = 16  # coordinates that the bound reads
_BLOCK = 2048  # images whose bounds are computed at a time
_PASSED = 4  # images scored at first, in multiples of those asked for
_GROWTH = 4  # more of them each time that it was not enough; beyond half the gallery, all
# What rounding may take from a bound of numbers of at most 1: sums of some hundred float32 terms.
_SLACK = 1e-5


class TokenGallery(NamedTuple):
    """Images as tokens, with what bounds their scores."""

    tokens: jax.Array  # [G, N, E], unit L2 norm
    turn: jax.Array  # f32[E, E], orthogonal: x @ turn has the leading coordinates first
    short: jax.Array  # f32[G, N, d + 1]: those of the tokens, and the norm of the others


class First(NamedTuple):
    """The first images of each query, best first, ties by gallery index."""

    index: np.ndarray  # i32[Q, K]
    score: np.ndarray  # f32[Q, K]
    scored: int  # images of the gallery scored in full for a query, at most


def token_gallery(tokens: np.ndarray, lead: int = LEAD) -> TokenGallery:
    """Returns a gallery that `first_images` searches.

    Args:
      tokens: [G, N, E], unit L2 norm.
      lead: d, coordinates that the bound reads; at most E are.

    Raises:
      ValueError: the shape is another, d < 1, or a number is not finite.
    """
    if tokens.ndim != 3 or not tokens.size:
        raise ValueError(f"tokens must be [G, N, E], got {tokens.shape}")
    if lead < 1:
        raise ValueError(f"lead must be >= 1, got {lead}")
    images, width = len(tokens), tokens.shape[2]
    second = np.zeros((width, width))
    for start in range(0, images, _BLOCK):
        rows = np.asarray(tokens[start : start + _BLOCK], np.float64).reshape(-1, width)
        second += rows.T @ rows
    if not np.isfinite(second).all():
        raise ValueError("tokens must be finite, got NaN or infinity")
    turn = jnp.asarray(np.linalg.eigh(second)[1][:, ::-1], jnp.float32)
    short = [
        _short(tokens[start : start + _BLOCK], turn, min(lead, width))
        for start in range(0, images, _BLOCK)
    ]
    return TokenGallery(jnp.asarray(tokens), turn, jnp.concatenate(short))


def first_images(queries: np.ndarray, gallery: TokenGallery, top: int, count: int) -> First:
    """Returns the images of the `count` highest scores, those of `token_similarity`.

    Args:
      queries: f32[Q, E], unit L2 norm; a few at a time, as a search has them.
      gallery: of `token_gallery`.
      top: tokens that count, in 1..N.
      count: K, in 1..G.

    Raises:
      ValueError: a shape or a number is not as said, or a query is not finite.
    """
    images, _, width = gallery.tokens.shape
    if queries.ndim != 2 or queries.shape[1] != width or not len(queries):
        raise ValueError(f"queries must be [Q, {width}], got {queries.shape}")
    if not 1 <= count <= images:
        raise ValueError(f"count must be in 1..{images}, the images, got {count}")
    if not np.isfinite(queries).all():
        raise ValueError("queries must be finite, got NaN or infinity")
    queries = jnp.asarray(queries, jnp.float32)
    bounds = _bounds(queries, gallery)
    passed = min(_PASSED * count, images)
    while True:
        index, score, left = _score_passed(queries, bounds, gallery.tokens, passed, top, count)
        if (score[:, -1] > left + _SLACK).all():
            return First(np.asarray(index), np.asarray(score), passed)
        passed = _GROWTH * passed if _GROWTH * passed < images / 2 else images


@partial(jax.jit, static_argnames="lead")
def _short(x, turn, lead):
    """f32[.., lead + 1], leading coordinates and the norm of the others."""
    with jax.default_matmul_precision("highest"):
        turned = x.astype(jnp.float32) @ turn
    rest = jnp.linalg.norm(turned[..., lead:], axis=-1, keepdims=True)
    return jnp.concatenate([turned[..., :lead], rest], axis=-1)


@jax.jit
def _bounds(queries, gallery):
    """f32[Q, G], no less than the score but for rounding."""
    images, tokens, width = gallery.short.shape
    flat = gallery.short.reshape(images * tokens, width)

    def one(query):
        bounds = jnp.matmul(flat, query, precision=jax.lax.Precision.HIGHEST)
        return bounds.reshape(images, tokens).max(axis=1)

    return jax.lax.map(one, _short(queries, gallery.turn, width - 1))


@partial(jax.jit, static_argnums=(3, 4, 5))
def _score_passed(queries, bounds, tokens, passed, top, count):
    """The first of the images of the highest bounds, and the highest bound of those left out."""

    def one(row):
        query, bound = row
        if passed == len(bound):
            index, part, left = jnp.arange(passed), tokens, -jnp.inf
        else:
            highest, index = jax.lax.top_k(bound, passed + 1)
            # In the order of the gallery, in which `top_k` leaves equal scores.
            index, left = jnp.sort(index[:passed]), highest[-1]
            part = tokens[index]
        score = token_similarity(query[None], part, top)[0]
        score, place = jax.lax.top_k(score + 0.0, count)  # + 0 turns -0.0 into 0.0
        return index[place].astype(jnp.int32), score, left

    return jax.lax.map(one, (queries, bounds))
