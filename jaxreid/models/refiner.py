"""Adaptive attribute refiner of DiaNA (CVPR 2025): learned queries gather what is described."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxreid.models.attention import Attention
from jaxreid.models.clip import LAYER_NORM_EPSILON, quick_gelu
from jaxreid.models.interaction import start_std
from jaxreid.models.vit import Block

_QUERY_STD = 0.02  # of the start weights of the queries


class AttributeRefiner(nn.Module):
    """K learned queries attend to the tokens of an image or of a dialogue, then to each other.

        A = MHA(Q, X, X), without residual and norm; then pre-norm blocks over the K rows of A

    In the release one refiner serves both modalities; the article draws one for each, which is two
    of these. Start weights are CLIP's. Parameters: queries [1, K, E], attn (query, key, value,
    out), blocks_0 .. blocks_{depth-1} (see `vit.Block`).
    """

    attributes: int  # K
    depth: int
    heads: int
    mlp: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Returns [B, K, E] attribute features of any norm.

        Args:
          tokens: [B, N or L, E].
          mask: bool[B, N or L], False on padding; None if there is none.
        """
        width = tokens.shape[-1]
        std = start_std(width, self.depth)
        inputs, out = nn.initializers.normal(std.inputs), nn.initializers.normal(std.out)
        learned = nn.initializers.normal(_QUERY_STD)
        queries = self.param("queries", learned, (1, self.attributes, width)).astype(self.dtype)
        queries = jnp.broadcast_to(queries, (len(tokens), self.attributes, width))
        attention = Attention(self.heads, inputs, dtype=self.dtype, out_init=out, name="attn")
        hidden, _ = attention(queries, tokens.astype(self.dtype), mask)
        for i in range(self.depth):
            block = Block(
                heads=self.heads,
                mlp=self.mlp,
                drop_path=0.0,
                dropout=0.0,
                init_std=std,
                dtype=self.dtype,
                epsilon=LAYER_NORM_EPSILON,
                activation=quick_gelu,
                name=f"blocks_{i}",
            )
            hidden = block(hidden, train=False)
        return hidden
