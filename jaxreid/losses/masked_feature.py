"""Masked feature reasoning (MFR) of FAFA (Liu et al., arXiv 2311.16515)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def masked_feature_loss(
    query: jax.Array,
    image: jax.Array,
    query_mask: jax.Array,
    image_mask: jax.Array,
    predict: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """Returns the squared error of masked features told from the rest and the other feature.

    With a the feature of the query and m_a its mask, b of the target image and m_b its,

        L_mfr = 1/2 [ sum m_a (P([a (1 - m_a); b]) - a)^2 / sum m_a
                    + sum m_b (P([b (1 - m_b); a]) - b)^2 / sum m_b ]

    over all values of the batch. What is predicted has a gradient too, as in the release.

    Args:
      query: [B, D], before projection.
      image: [B, D].
      query_mask: bool[B, D], True = masked; see `draw_masks`.
      image_mask: bool[B, D].
      predict: P, [B, 2D] -> [B, D].

    Returns:
      f32[]; 0 for a side of which nothing is masked.

    Raises:
      ValueError: shapes disagree.
    """
    shapes = [x.shape for x in (query, image, query_mask, image_mask)]
    if query.ndim != 2 or len(set(shapes)) > 1:
        raise ValueError(f"query, image and their masks must all be [B, D], got {shapes}")

    def error(x: jax.Array, mask: jax.Array, other: jax.Array) -> jax.Array:
        seen = jnp.where(mask, 0, x)
        predicted = predict(jnp.concatenate([seen, other], axis=1))
        difference = (predicted - x).astype(jnp.float32)
        square = jnp.where(mask, jnp.square(difference), 0.0)
        return square.sum() / jnp.maximum(mask.sum(), 1).astype(jnp.float32)

    return (error(query, query_mask, image) + error(image, image_mask, query)) / 2


def draw_masks(rng: jax.Array, shape: tuple[int, ...], rate: float) -> tuple[jax.Array, jax.Array]:
    """Returns two independent masks bool[shape], each value masked with probability `rate`."""
    first, second = jax.random.split(rng)
    return jax.random.bernoulli(first, rate, shape), jax.random.bernoulli(second, rate, shape)
