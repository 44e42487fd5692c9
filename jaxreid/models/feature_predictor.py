"""Predictor of masked features of FAFA: tells a feature vector from what is left of it."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype


class FeaturePredictor(nn.Module):
    """Linear, ReLU, linear. Parameters: fc1 (kernel [2D, hidden]), fc2 ([hidden, D])."""

    width: int  # D
    hidden: int = 512
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, 2D], masked features beside whole ones, to [B, D]."""
        if x.shape[-1] != 2 * self.width:
            raise ValueError(f"features must be [B, {2 * self.width}], got {x.shape}")
        x = nn.relu(nn.Dense(self.hidden, dtype=self.dtype, name="fc1")(x))
        return nn.Dense(self.width, dtype=self.dtype, name="fc2")(x)
