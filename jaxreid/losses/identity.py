"""Identity loss: a classifier that image and text share (Zheng et al., 2020)."""

import jax
import jax.numpy as jnp

from jaxreid.losses.masked_language import token_log_likelihood


def identity_loss(
    image_logits: jax.Array, text_logits: jax.Array, person_id: jax.Array
) -> jax.Array:
    """Returns (CE(image_logits, y) + CE(text_logits, y)) / 2, each the mean over rows.

    Args:
      image_logits: f32[B, people].
      text_logits: f32[B, people], of the same classifier.
      person_id: i32[B], in [0, people), counted over the train split.

    Returns:
      f32[], nats.

    Raises:
      ValueError: shapes disagree.
    """
    if image_logits.shape != text_logits.shape or image_logits.ndim != 2:
        raise ValueError(
            "image_logits and text_logits must both be [B, people], got "
            f"{image_logits.shape} and {text_logits.shape}"
        )
    if person_id.shape != image_logits.shape[:1]:
        raise ValueError(f"person_id must be [{len(image_logits)}], got {person_id.shape}")
    logits = jnp.stack([image_logits, text_logits])  # [2, B, people]
    return -token_log_likelihood(logits, jnp.stack([person_id, person_id])).mean()
