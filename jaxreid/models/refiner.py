"""Adaptive attribute refiner of DiaNA (CVPR 2025): learned queries gather what is described."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxreid.models.interaction import read_and_transform


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
    query_std: float = 0.02  # of the start weights of the queries
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Returns [B, K, E] attribute features of any norm.

        Args:
          tokens: [B, N or L, E].
          mask: bool[B, N or L], False on padding; None if there is none.
        """
        width = tokens.shape[-1]
        init = nn.initializers.normal(self.query_std)
        queries = self.param("queries", init, (1, self.attributes, width)).astype(self.dtype)
        queries = jnp.broadcast_to(queries, (len(tokens), self.attributes, width))
        return read_and_transform(self, queries, tokens.astype(self.dtype), mask)
