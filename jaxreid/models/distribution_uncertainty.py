"""Distribution uncertainty (DSU): moves the statistics of tokens at random while training.

Li et al., ICLR 2022; FAFA's release (FAFA_SynCPR, blip2_fafa_cpr.py, DistributionUncertainty) takes
the statistics over the batch and their uncertainty over the tokens, which its paper leaves out.
"""

import jax
import jax.numpy as jnp

_EPSILON = 1e-6  # added to variances, as in the release


def random_uncertainty(rng: jax.Array, tokens: jax.Array, probability: float) -> jax.Array:
    """Returns tokens [B, N, D] with moved statistics, or as they are; one choice for the batch.

    Args:
      rng: key.
      tokens: [B, N, D], B >= 2.
      probability: in [0, 1], of moving them; the release 0.8.
    """
    choice, draw = jax.random.split(rng)
    noise = jax.random.normal(draw, (2, *tokens.shape[1:]))
    moved = distribution_uncertainty(tokens, noise)
    return jnp.where(jax.random.bernoulli(choice, probability), moved, tokens)


def distribution_uncertainty(tokens: jax.Array, noise: jax.Array) -> jax.Array:
    """Gives tokens another mean and deviation, near their own.

    With mu and sigma [N, D] over the batch, and s(x) [D] the deviation of x over its tokens,

        beta = mu + noise_0 s(mu),  gamma = sigma + noise_1 s(sigma)
        tokens <- (tokens - mu) / sigma * gamma + beta

    Variances are unbiased and have 1e-6 added. Noise 0 leaves the tokens as they are.

    Args:
      tokens: [B, N, D], B and N >= 2.
      noise: f32[2, N, D], standard normal.

    Returns:
      [B, N, D] in the dtype of tokens; computed in float32.

    Raises:
      ValueError: shapes disagree, or there are fewer than two rows or tokens.
    """
    if tokens.ndim != 3 or min(tokens.shape[:2]) < 2:
        raise ValueError(f"tokens must be [B, N, D] with B and N >= 2, got {tokens.shape}")
    if noise.shape != (2, *tokens.shape[1:]):
        raise ValueError(f"noise must be {(2, *tokens.shape[1:])}, got {noise.shape}")
    x = tokens.astype(jnp.float32)
    mean = x.mean(axis=0, keepdims=True)  # [1, N, D]
    deviation = _deviation(x, axis=0)
    beta = mean + noise[:1] * _deviation(mean, axis=1)
    gamma = deviation + noise[1:] * _deviation(deviation, axis=1)
    return ((x - mean) / deviation * gamma + beta).astype(tokens.dtype)


def _deviation(x: jax.Array, axis: int) -> jax.Array:
    """Standard deviation along an axis, which stays with length 1."""
    return jnp.sqrt(x.var(axis=axis, ddof=1, keepdims=True) + _EPSILON)
