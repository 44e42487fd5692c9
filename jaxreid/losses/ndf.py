"""Normalized Distribution Fitting (NDF) loss of CADA (Lin et al., 2023), Eqs. 1-2."""

import jax
import jax.numpy as jnp

from jaxreid.losses.contrastive import identity_target, soft_cross_entropy

# Keeps log(target) finite where the target probability is 0; the value of the authors' release.
_EPSILON = 1e-8
# Below this squared norm a row is scaled, not normalised: its gradient stays finite.
_SMALLEST = 1e-12


def ndf_loss(
    image_embedding: jax.Array,
    text_embedding: jax.Array,
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
      image_embedding: [B, E], any norm (the cosine normalises); row i pairs with text row i.
      text_embedding: [B, E], any norm.
      person_id: i32[B]; rows of equal id are positives of each other.
      temperature: > 0, divides; the paper uses 0.02.

    Returns:
      f32[], in nats, >= 0 up to rounding.

    Raises:
      ValueError: shapes disagree or temperature <= 0.
    """
    logits, target = _logits(image_embedding, text_embedding, person_id, temperature)
    return (_fit(logits, target) + _fit(logits.T, target)) / 2


def released_ndf_loss(
    image_embedding: jax.Array,
    text_embedding: jax.Array,
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
    logits, target = _logits(image_embedding, text_embedding, person_id, temperature)
    divergence = (_fit(logits, target) + _fit(logits.T, target)) / 2
    entropy = (soft_cross_entropy(logits, target) + soft_cross_entropy(logits.T, target)) / 2
    return divergence / len(logits) + entropy


def _logits(
    image_embedding: jax.Array, text_embedding: jax.Array, person_id: jax.Array, temperature: float
) -> tuple[jax.Array, jax.Array]:
    """f32[B, B] cosine / temperature, image by text, and the identity label, symmetric."""
    if image_embedding.shape != text_embedding.shape or image_embedding.ndim != 2:
        raise ValueError(
            "image_embedding and text_embedding must both be [B, E], got "
            f"{image_embedding.shape} and {text_embedding.shape}"
        )
    if person_id.shape != image_embedding.shape[:1]:
        raise ValueError(f"person_id must be [{len(image_embedding)}], got {person_id.shape}")
    if temperature <= 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    image = _unit(image_embedding.astype(jnp.float32))
    text = _unit(text_embedding.astype(jnp.float32))
    return image @ text.T / temperature, identity_target(person_id, person_id)


def _fit(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Mean over rows of KL(p || target) + KL(target || p), p = softmax(logits)."""
    log_p = jax.nn.log_softmax(logits, axis=1)
    log_q = jnp.log(target + _EPSILON)
    forward = jnp.exp(log_p) * (log_p - log_q)
    backward = target * (log_q - log_p)
    return (forward + backward).sum(axis=1).mean()


def _unit(x: jax.Array) -> jax.Array:
    """Rows of unit L2 norm, with a finite gradient at zero rows."""
    square = jnp.square(x).sum(axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, _SMALLEST))
