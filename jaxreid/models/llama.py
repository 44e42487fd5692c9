"""Llama 3 (Grattafiori et al., 2024) as an encoder: the text encoder of DiaNA's release."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.typing import Dtype

from jaxreid.models.attention import attend


class Rope(NamedTuple):
    """Rotary positions with the frequencies of Llama 3.1 and later, stretched to long texts."""

    theta: float  # base of the wavelengths
    factor: float  # by which the longest wavelengths grow
    low: float  # waves of which fewer than `low` fit `original` grow by all of the factor
    high: float  # of which more than `high` fit, by nothing
    original: int  # tokens of a text in pre-training


class Llama(nn.Module):
    """Decoder-only transformer read as an encoder: each token sees those before it.

    Parameters: word_embeddings (embedding [V, D]), layer_0 .. (see `Layer`), norm (scale).
    """

    vocabulary: int
    width: int
    depth: int
    heads: int
    key_heads: int  # of keys and values, each shared by heads / key_heads queries
    mlp: int
    epsilon: float  # of the norms
    max_positions: int
    rope: Rope
    remat: bool  # computes each layer again on the way back, to save memory
    init_std: float = 0.02
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: jax.Array, mask: jax.Array, *, train: bool = False) -> jax.Array:
        """Encodes token ids.

        Args:
          tokens: i32[B, L], in [0, vocabulary), padded at the end.
          mask: bool[B, L], False on padding; outputs at padding carry no meaning.
          train: changes nothing: the model has no dropout.

        Returns:
          f32[B, L, D] after the final norm.

        Raises:
          ValueError: tokens and mask differ in shape, L > max_positions, or heads that do not
            divide.
        """
        if tokens.ndim != 2 or mask.shape != tokens.shape:
            raise ValueError(
                f"tokens and mask must both be [B, L], got {tokens.shape} and {mask.shape}"
            )
        length = tokens.shape[1]
        if length > self.max_positions:
            raise ValueError(f"at most max_positions = {self.max_positions} tokens, got {length}")
        if self.width % (2 * self.heads) or self.heads % self.key_heads:
            raise ValueError(
                "width must be a multiple of 2 heads and heads one of key_heads, got "
                f"{self.width}, {self.heads} and {self.key_heads}"
            )
        init = nn.initializers.normal(self.init_std)
        embed = nn.Embed(self.vocabulary, self.width, embedding_init=init, name="word_embeddings")
        hidden = embed(tokens).astype(self.dtype)
        angles = np.outer(np.arange(length), frequencies(self.width // self.heads, self.rope))
        rotation = jnp.asarray(np.stack([np.cos(angles), np.sin(angles)]), jnp.float32)
        earlier = np.tri(length, dtype=bool)[None]
        seen = mask[:, None, :] & earlier  # [B, L, L]
        layer = nn.remat(Layer) if self.remat else Layer
        for i in range(self.depth):
            hidden = layer(
                self.heads,
                self.key_heads,
                self.mlp,
                self.epsilon,
                self.init_std,
                self.dtype,
                name=f"layer_{i}",
            )(hidden, seen, rotation)
        return _norm("norm", self.epsilon)(hidden)


class Layer(nn.Module):
    """x + attention(norm1(x)), then x + down(silu(gate(y)) up(y)) of y = norm2(x).

    Parameters, without biases: norm1, norm2 (scale), query (kernel [D, H, d]), key, value (kernel
    [D, key_heads, d]), out (kernel [H, d, D]), gate, up (kernel [D, mlp]), down (kernel [mlp, D]).
    """

    heads: int
    key_heads: int
    mlp: int
    epsilon: float
    init_std: float
    dtype: Dtype

    @nn.compact
    def __call__(self, hidden: jax.Array, seen: jax.Array, rotation: jax.Array) -> jax.Array:
        """Maps [B, L, D] to [B, L, D].

        Args:
          hidden: [B, L, D].
          seen: bool[B, L, L], True = row attends to column.
          rotation: f32[2, L, d / 2], cosines and sines of the positions.
        """
        width = hidden.shape[-1]
        init = nn.initializers.normal(self.init_std)

        def dense(shape, x: jax.Array, name: str, axis=-1) -> jax.Array:
            return nn.DenseGeneral(
                shape, axis, use_bias=False, dtype=self.dtype, kernel_init=init, name=name
            )(x)

        x = _norm("norm1", self.epsilon)(hidden).astype(self.dtype)
        head = width // self.heads
        query = rotate(dense((self.heads, head), x, "query"), rotation)
        key = rotate(dense((self.key_heads, head), x, "key"), rotation)
        value = dense((self.key_heads, head), x, "value")
        key, value = (jnp.repeat(y, self.heads // self.key_heads, axis=2) for y in (key, value))
        out, _ = attend(query, key, value, seen)
        hidden = hidden + dense(width, out, "out", axis=(-2, -1))
        x = _norm("norm2", self.epsilon)(hidden).astype(self.dtype)
        x = nn.silu(dense(self.mlp, x, "gate")) * dense(self.mlp, x, "up")
        return hidden + dense(width, x, "down")


def frequencies(head: int, rope: Rope) -> np.ndarray:
    """Returns f64[head / 2] radians a token: theta^(-2 i / head), the low ones made lower.

    A wave of which n fit the texts of pre-training keeps its frequency f where n > high, has
    f / factor where n < low, and between them the mix of both by (n - low) / (high - low).
    """
    plain = rope.theta ** (-np.arange(0, head, 2) / head)
    fit = rope.original * plain / (2 * np.pi)
    share = np.clip((fit - rope.low) / (rope.high - rope.low), 0.0, 1.0)
    return plain * (share + (1 - share) / rope.factor)


def rotate(x: jax.Array, rotation: jax.Array) -> jax.Array:
    """Returns x [B, L, H, d] with channels i and i + d / 2 turned by the angle of their position.

    Args:
      x: queries or keys.
      rotation: f32[2, L, d / 2], cosines and sines.
    """
    cos, sin = rotation[:, None, :, None, :]
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)


def _norm(name: str, epsilon: float) -> nn.RMSNorm:
    """x / sqrt(mean x^2 + epsilon) scale, computed in float32, whatever the dtype of its input."""
    return nn.RMSNorm(epsilon=epsilon, dtype=jnp.float32, use_fast_variance=False, name=name)
