"""CLIP's contrastive loss (Radford et al., 2021): the pairs of a batch against one another."""

import jax
import jax.numpy as jnp

from jaxreid.losses.contrastive import soft_cross_entropy
from jaxreid.losses.distribution import unit_rows


def clip_itc(image: jax.Array, text: jax.Array, *, logit_scale: jax.Array | float) -> jax.Array:
    """Returns (CE(S, diagonal) + CE(S^T, diagonal)) / 2 with S_ij = logit_scale cos(v_i, t_j).

    Each row has one positive, its pair: another row of the same person is a negative.

    Args:
      image: [B, E], any norm; row i pairs with text row i.
      text: [B, E], any norm.
      logit_scale: > 0, multiplies.

    Returns:
      f32[], nats.

    Raises:
      ValueError: shapes disagree.
    """
    if image.shape != text.shape or image.ndim != 2:
        raise ValueError(f"image and text must both be [B, E], got {image.shape} and {text.shape}")
    logits = logit_scale * unit_rows(image) @ unit_rows(text).T
    pairs = jnp.eye(len(image))
    return (soft_cross_entropy(logits, pairs) + soft_cross_entropy(logits.T, pairs)) / 2
