"""Alignment of images with dialogues in DiaNA (CVPR 2025): ITC and SDM, global and by attribute."""

import jax
import jax.numpy as jnp

from jaxreid.losses.contrastive import identity_target, soft_cross_entropy
from jaxreid.losses.distribution import check_positive, divergence

REDUCTIONS = ("mean", "max", "min", "logsumexp", "-logsumexp")


def attribute_similarity(queries: jax.Array, images: jax.Array, reduction: str) -> jax.Array:
    """Returns how alike the attributes of queries and images are, f32[Q, G].

    With c_k the cosine of the k-th attributes of both: (1/K) sum_k c_k, or the largest or smallest
    of them, or smoothly so, log sum_k exp(c_k) and -log sum_k exp(-c_k), as the release has them.

    Args:
      queries: f32[Q, K, E], unit rows.
      images: f32[G, K, E], unit rows.
      reduction: one of REDUCTIONS; the release's default and the article's is "mean".

    Raises:
      ValueError: shapes disagree, or an unknown reduction.
    """
    if queries.ndim != 3 or queries.shape[1:] != images.shape[1:]:
        raise ValueError(
            f"queries and images must be [Q, K, E] and [G, K, E], got {queries.shape} and "
            f"{images.shape}"
        )
    if reduction == "mean":
        return flat(queries) @ flat(images).T
    cosines = jnp.einsum("qke,gke->qgk", queries, images)
    if reduction == "max":
        return cosines.max(axis=-1)
    if reduction == "min":
        return cosines.min(axis=-1)
    if reduction == "logsumexp":
        return jax.nn.logsumexp(cosines, axis=-1)
    if reduction == "-logsumexp":
        return -jax.nn.logsumexp(-cosines, axis=-1)
    raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")


def flat(attributes: jax.Array) -> jax.Array:
    """Returns unit rows f32[B, K E] of attributes f32[B, K, E] that are unit rows themselves.

    Their dot product is the mean of the cosines: one product of matrices ranks by it.
    """
    return attributes.reshape(len(attributes), -1) / attributes.shape[1] ** 0.5


def identity_itc(
    similarity: jax.Array, person_id: jax.Array, *, logit_scale: jax.Array | float
) -> jax.Array:
    """Returns the cross entropy of matching probabilities with identity labels, mean of both ways.

    With p_ij = softmax_j(logit_scale S_ij) and T_ij uniform over the dialogues of person i:

        L_i2t = -mean_i sum_j T_ij log p_ij,    L = (L_i2t + L_t2i) / 2

    Args:
      similarity: f32[B, B]; row i, column i are of one pair.
      person_id: i32[B].
      logit_scale: > 0, multiplies.

    Returns:
      f32[], nats.

    Raises:
      ValueError: shapes disagree, or a scale that is not > 0.
    """
    logits, target = _logits(similarity, person_id, logit_scale)
    return (soft_cross_entropy(logits, target) + soft_cross_entropy(logits.T, target)) / 2


def identity_sdm(
    similarity: jax.Array,
    person_id: jax.Array,
    *,
    logit_scale: jax.Array | float,
    epsilon: float,
) -> jax.Array:
    """Returns the divergence of matching probabilities from identity labels, mean of both ways.

    SDM as in IRRA (`losses.sdm`, a sum of both ways), of any similarity and not of cosines alone:

        L_i2t = mean_i sum_j p_ij (log p_ij - log(T_ij + epsilon)),    L = (L_i2t + L_t2i) / 2

    Args, returns and errors are those of `identity_itc`; epsilon: > 0; DiaNA 1e-6.
    """
    check_positive(epsilon=epsilon)
    logits, target = _logits(similarity, person_id, logit_scale)
    return (divergence(logits, target, epsilon) + divergence(logits.T, target, epsilon)) / 2


def _logits(similarity, person_id, logit_scale) -> tuple[jax.Array, jax.Array]:
    """Scaled similarities, and the labels, which are the same both ways."""
    size = len(person_id)
    if similarity.shape != (size, size):
        raise ValueError(f"similarity must be [{size}, {size}], got {similarity.shape}")
    check_positive(logit_scale=logit_scale)
    return logit_scale * similarity, identity_target(person_id, person_id)
