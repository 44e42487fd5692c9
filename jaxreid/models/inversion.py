"""Textual inversion network (TINet) of Word4Per: an image feature as a word."""

import jax
from flax import linen as nn
from flax.typing import Dtype


class TINet(nn.Module):
    """Two hidden layers with dropout before the ReLU, then a linear one.

    Parameters: fc1, fc2, out. ViT-B/16 of CLIP: 512 - 512 - 512 - 512, 787,968 parameters.
    """

    hidden: int
    width: int  # of the token embeddings of the text encoder
    dropout: float
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, feature: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns token embeddings [B, D], without position, of image features [B, E], any norm."""
        x = feature
        for name in ("fc1", "fc2"):
            x = self._linear(self.hidden, name, x)
            x = nn.relu(nn.Dropout(self.dropout, deterministic=not train)(x))
        return self._linear(self.width, "out", x)

    def _linear(self, width: int, name: str, x: jax.Array) -> jax.Array:
        """A linear layer with PyTorch's start: weights and biases within 1 / sqrt(inputs)."""
        limit = x.shape[-1] ** -0.5

        def start(key, shape, dtype):
            return jax.random.uniform(key, shape, dtype, -limit, limit)

        layer = nn.Dense(width, dtype=self.dtype, kernel_init=start, bias_init=start, name=name)
        return layer(x)
