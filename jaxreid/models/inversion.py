"""Textual inversion network (TINet) of Word4Per: an image feature as a word."""

import jax
from flax import linen as nn
from flax.typing import Dtype

# PyTorch's start of a linear layer: uniform within 1 / sqrt(inputs).
_START = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


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
            x = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=_START, name=name)(x)
            x = nn.relu(nn.Dropout(self.dropout, deterministic=not train)(x))
        return nn.Dense(self.width, dtype=self.dtype, kernel_init=_START, name="out")(x)
