"""Cross-Modal Projection Matching (CMPM; Zhang and Lu, ECCV 2018), Eqs. 3-7."""

import jax
import jax.numpy as jnp

from jaxreid.losses.distribution import check_pairs, check_positive, divergence, unit_rows

LABEL_NORMS = ("l1", "l2")


def cmpm_loss(
    image: jax.Array,
    text: jax.Array,
    person_id: jax.Array,
    *,
    label_norm: str,
    epsilon: float,
) -> jax.Array:
    """Returns the divergence of projection probabilities from identity labels, both ways.

    With p_ij = softmax_j(v_i . t_j / |t_j|), the scalar projection of v_i, whose norm counts, and
    q_ij the labels y_ij = [person i is person j], normalised,

        L_i2t = mean_i sum_j p_ij log(p_ij / (q_ij + epsilon));  L_cmpm = L_i2t + L_t2i

    Args:
      image: [B, E], any norm; row i pairs with text row i.
      text: [B, E], any norm.
      person_id: i32[B]; rows of equal id are positives of each other.
      label_norm: "l1", q_i = y_i / sum_j y_ij, the paper's Eq. 4; "l2", q_i = y_i / |y_i|, which
        sums to more than 1 where a person has several rows: the public PyTorch releases
        (labyrinth7x's utils/metric.py, IRRA's model/objectives.py).
      epsilon: > 0; 1e-8 in those releases.

    Returns:
      f32[], nats; with "l2" it may be negative.

    Raises:
      ValueError: shapes disagree, an unknown label_norm, or epsilon is not > 0.
    """
    check_pairs(image, text, person_id)
    check_positive(epsilon=epsilon)
    if label_norm not in LABEL_NORMS:
        raise ValueError(f"label_norm must be one of {', '.join(LABEL_NORMS)}, got {label_norm!r}")
    image, text = image.astype(jnp.float32), text.astype(jnp.float32)
    same = (person_id[:, None] == person_id[None, :]).astype(jnp.float32)
    count = same.sum(axis=1, keepdims=True)
    target = same / (count if label_norm == "l1" else jnp.sqrt(count))  # symmetric
    return divergence(image @ unit_rows(text).T, target, epsilon) + divergence(
        text @ unit_rows(image).T, target, epsilon
    )
