"""Normalized Distribution Fitting (NDF) loss of CADA (Lin et al., 2023), Eqs. 1-2."""

import jax
import jax.numpy as jnp

from jaxreid.losses.contrastive import identity_target, soft_cross_entropy
from jaxreid.losses.distribution import check_pairs, check_positive, divergence, unit_rows

# Keeps log(target) finite where the target probability is 0; the value of the authors' release.
_EPSILON = 1e-8


def ndf_loss(
    image: jax.Array,
    text: jax.Array,
    person_id: jax.Array,
    *,
    temperature: float,
) -> jax.Array:
    """Fits matching probabilities to identity labels with KL divergence both ways.

    With p_ij = softmax_j(cos(v_i, t_j) / temperature) (Eq. 1) and q_ij the label, uniform
    over the texts of image i's person (one-hot if the batch holds the person once),

        L_i2t = 1/B sum_i [ KL(p_i || q_i) + KL(q_i || p_i) ]        (Eq. 2)

    and the loss is (L_i2t + L_t2i) / 2, halved as in the release. KL(p || q) pushes the
    negatives down, KL(q || p) pulls the positives up.

    Args:
      image: [B, E], any norm (the cosine normalises); row i pairs with text row i.
      text: [B, E], any norm.
      person_id: i32[B]; rows of equal id are positives of each other.
      temperature: > 0, divides; the paper uses 0.02.

    Returns:
      f32[], in nats, >= 0 up to rounding.

    Raises:
      ValueError: shapes disagree or temperature <= 0.
    """
    logits, target = _logits(image, text, person_id, temperature)
    return (_fit(logits, target) + _fit(logits.T, target)) / 2


def released_ndf_loss(
    image: jax.Array,
    text: jax.Array,
    person_id: jax.Array,
    *,
    temperature: float,
) -> jax.Array:
    """Returns what the release trains with: `ndf_loss` / B plus a soft cross entropy.

    The release (CADA@1087f33, models/cada.py, ndf_loss) takes the mean of the divergences over
    B x B, so that they weigh 1 / B, and adds the cross entropy of the same logits and labels,
    the mean of both directions: at B = 96 that one is nearly all of the loss.

    Args, Returns, Raises: see `ndf_loss`.
    """
    logits, target = _logits(image, text, person_id, temperature)
    fit = (_fit(logits, target) + _fit(logits.T, target)) / 2
    entropy = (soft_cross_entropy(logits, target) + soft_cross_entropy(logits.T, target)) / 2
    return fit / len(logits) + entropy


def _logits(
    image: jax.Array, text: jax.Array, person_id: jax.Array, temperature: float
) -> tuple[jax.Array, jax.Array]:
    """f32[B, B] cosine / temperature, image by text, and the identity label, symmetric."""
    check_pairs(image, text, person_id)
    check_positive(temperature=temperature)
    logits = unit_rows(image) @ unit_rows(text).T / temperature
    return logits, identity_target(person_id, person_id)


def _fit(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Mean over rows of KL(p || target) + KL(target || p), p = softmax(logits)."""
    log_q = jnp.log(target + _EPSILON)
    backward = target * (log_q - jax.nn.log_softmax(logits, axis=1))
    return divergence(logits, target, _EPSILON) + backward.sum(axis=1).mean()
