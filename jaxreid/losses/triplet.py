"""Fusion triplet loss of LAIP."""

import jax
import jax.numpy as jnp


def fusion_triplet_loss(
    positive: jax.Array,
    negative_text: jax.Array,
    negative_image: jax.Array,
    *,
    margin: float,
    text_valid: jax.Array,
    image_valid: jax.Array,
) -> jax.Array:
    """Returns the hinge between the fine similarity of true and of negative pairs (LAIP Eq. 20).

        L_tri = mean_i [m - S(I, T) + S(I, T^-)]_+ + [m - S(I, T) + S(I^-, T)]_+

    The paper prints no scale of S; its margin 0.6 reads as a probability, the method's config
    chooses.

    Args:
      positive: f32[B], S(I_i, T_i).
      negative_text: f32[B], S(I_i, T^-).
      negative_image: f32[B], S(I^-, T_i).
      margin: m > 0, in the unit of S.
      text_valid: bool[B], False where image i has no negative text.
      image_valid: bool[B], False where text i has no negative image.

    Returns:
      f32[], in the unit of S.
    """
    text_term = jax.nn.relu(margin - positive + negative_text) * text_valid
    image_term = jax.nn.relu(margin - positive + negative_image) * image_valid
    return text_term.sum() / jnp.maximum(text_valid.sum(), 1) + image_term.sum() / jnp.maximum(
        image_valid.sum(), 1
    )
