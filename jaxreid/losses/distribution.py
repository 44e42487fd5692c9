"""Pairs of embeddings and the divergence of matching probabilities from labels (SDM, CMPM)."""

import jax
import jax.numpy as jnp

# Below this squared norm a row is scaled, not normalised: its gradient stays finite.
_SMALLEST = 1e-12


def unit_rows(x: jax.Array) -> jax.Array:
    """Returns f32[B, E] rows scaled to unit L2 norm; a zero row stays zero."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(axis=-1, keepdims=True), _SMALLEST))


def divergence(logits: jax.Array, target: jax.Array, epsilon: float) -> jax.Array:
    """Returns the mean over rows of sum_j p_j (log p_j - log(target_j + epsilon)).

    With p = softmax(logits); KL(p || target) where rows of the target sum to 1, up to epsilon.

    Args:
      logits: f32[B, B].
      target: f32[B, B], >= 0.
      epsilon: > 0, keeps the logarithm finite where the target is 0.

    Returns:
      f32[], nats.
    """
    log_p = jax.nn.log_softmax(logits, axis=1)
    return (jnp.exp(log_p) * (log_p - jnp.log(target + epsilon))).sum(axis=1).mean()


def check_pairs(image: jax.Array, text: jax.Array, person_id: jax.Array) -> None:
    """Raises ValueError where embeddings [B, E] of pairs and i32[B] ids disagree in shape."""
    if image.shape != text.shape or image.ndim != 2:
        raise ValueError(f"image and text must both be [B, E], got {image.shape} and {text.shape}")
    if person_id.shape != image.shape[:1]:
        raise ValueError(f"person_id must be [{len(image)}], got {person_id.shape}")


def check_positive(**values: jax.Array | float) -> None:
    """Raises ValueError that names a number which is not > 0; a traced value is not looked at."""
    for name, value in values.items():
        if isinstance(value, int | float) and not value > 0:
            raise ValueError(f"{name} must be > 0, got {value}")
