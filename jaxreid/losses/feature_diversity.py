"""Feature diversity (FD) of FAFA (Liu et al., arXiv 2311.16515): tokens of an image stay apart."""

import jax
import jax.numpy as jnp

from jaxreid.losses.distribution import unit_rows

# Tokens of a batch that the release compares (FAFA_SynCPR, FeatureDispersionLoss).
SAMPLE = 1024


def feature_diversity_loss(tokens: jax.Array, *, margin: float) -> jax.Array:
    """Returns how far tokens of one image are more alike than a margin.

        L_fd = mean over images of 1 / (N (N - 1)) sum_{m != n} max(0, cos(f_m, f_n) - margin)

    The paper's form. The release compares tokens of different images too, see
    `released_feature_diversity_loss`.

    Args:
      tokens: [B, N, E], any norm; N >= 2.
      margin: in [-1, 1]; FAFA 0.5.

    Returns:
      f32[], in [0, 1 - margin].

    Raises:
      ValueError: another shape, or a margin that is no cosine.
    """
    _check(tokens, margin)
    x = unit_rows(tokens)
    cosines = jnp.einsum("bme,bne->bmn", x, x)
    count = tokens.shape[1]
    excess = _excess(cosines, margin)
    return excess.sum(axis=(1, 2)).mean() / (count * (count - 1))


def released_feature_diversity_loss(
    rng: jax.Array, tokens: jax.Array, *, margin: float, sample: int = SAMPLE
) -> jax.Array:
    """Returns the same of tokens of the whole batch, images mixed, as the authors' release.

        L_fd = 1 / n^2 sum_{m != n} max(0, cos(f_m, f_n) - margin)

    over n = min(B N, sample) tokens drawn without replacement; tokens of different images are
    pushed apart too, even of one person.

    Args:
      rng: key of the draw; not used where all tokens are compared.
      tokens: [B, N, E], any norm; N >= 2.
      margin: in [-1, 1]; FAFA 0.5.
      sample: tokens compared, at most.

    Returns:
      f32[], in [0, 1 - margin].

    Raises:
      ValueError: another shape, or a margin that is no cosine.
    """
    _check(tokens, margin)
    x = unit_rows(tokens.reshape(-1, tokens.shape[-1]))
    if len(x) > sample:
        x = jax.random.choice(rng, x, (sample,), replace=False)
    return _excess(x @ x.T, margin).sum() / len(x) ** 2


def _excess(cosines: jax.Array, margin: float) -> jax.Array:
    """max(0, cosine - margin) of pairs [.., n, n], 0 of a token with itself."""
    pair = ~jnp.eye(cosines.shape[-1], dtype=bool)
    pair = pair.reshape((1,) * (cosines.ndim - 2) + pair.shape)
    return jnp.where(pair, jax.nn.relu(cosines - margin), 0.0)


def _check(tokens: jax.Array, margin: float) -> None:
    """Raises ValueError for arguments that cannot be."""
    if tokens.ndim != 3 or tokens.shape[1] < 2:
        raise ValueError(f"tokens must be [B, N, E] with N >= 2, got {tokens.shape}")
    if not -1 <= margin <= 1:
        raise ValueError(f"margin must be in [-1, 1], got {margin}")
