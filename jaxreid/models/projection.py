"""Projection from encoder width to the embedding space shared by image and text."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

# Below this squared norm a row is scaled, not normalised: its gradient stays finite.
_SMALLEST = 1e-12


class Projection(nn.Module):
    """Linear map, then unit L2 norm. Parameters: dense (kernel [D, E], bias [E])."""

    embedding: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., D] to f32[..., E] of unit norm."""
        dense = nn.Dense(
            self.embedding,
            dtype=self.dtype,
            kernel_init=nn.initializers.normal(0.02),
            name="dense",
        )
        return unit(dense(x).astype(jnp.float32))


def unit(x: jax.Array) -> jax.Array:
    """Scales the last axis to unit L2 norm; a zero vector stays zero, with a finite gradient."""
    square = jnp.square(x).sum(axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, _SMALLEST))
