"""Similarity Distribution Matching (SDM) of IRRA (Jiang and Ye, CVPR 2023), Eqs. 4-6."""

import jax

from jaxreid.losses.contrastive import identity_target
from jaxreid.losses.distribution import check_pairs, check_positive, divergence, unit_rows


def sdm_loss(
    image: jax.Array,
    text: jax.Array,
    person_id: jax.Array,
    *,
    logit_scale: jax.Array | float,
    epsilon: float,
) -> jax.Array:
    """Returns the divergence of matching probabilities from identity labels, both ways.

    With p_ij = softmax_j(logit_scale cos(v_i, t_j)) and q_ij uniform over the texts of person i,

        L_i2t = mean_i sum_j p_ij log(p_ij / (q_ij + epsilon))
        L_sdm = L_i2t + L_t2i, a sum and not a mean of the two

    Args:
      image: [B, E], any norm (the cosine normalises); row i pairs with text row i.
      text: [B, E], any norm.
      person_id: i32[B]; rows of equal id are positives of each other.
      logit_scale: > 0, multiplies; IRRA 50, fixed.
      epsilon: > 0; IRRA 1e-8, DiaNA 1e-6. The smaller it is, the more a negative costs.

    Returns:
      f32[], nats.

    Raises:
      ValueError: shapes disagree, or a constant is not > 0.
    """
    check_pairs(image, text, person_id)
    check_positive(logit_scale=logit_scale, epsilon=epsilon)
    logits = logit_scale * unit_rows(image) @ unit_rows(text).T
    target = identity_target(person_id, person_id)  # symmetric
    return divergence(logits, target, epsilon) + divergence(logits.T, target, epsilon)
