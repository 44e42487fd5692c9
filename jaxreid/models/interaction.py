"""IRRA's cross-modal module (Jiang and Ye, CVPR 2023, section 3.2) and its word head."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxreid.models.attention import Attention
from jaxreid.models.clip import LAYER_NORM_EPSILON, quick_gelu
from jaxreid.models.vit import Block, BlockInit, norm


class Interaction(nn.Module):
    """Text tokens attend to image tokens, then a transformer runs over them.

    As in the release (model/build.py) the cross-attention has no residual, and the transformer has
    no mask: words see the padding behind the end token. Parameters: ln_text, ln_image, attn,
    blocks_0 .. blocks_{depth-1} (see `vit.Block`), ln_post. Start weights are the release's.
    """

    depth: int
    heads: int
    mlp: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, text_tokens: jax.Array, image_tokens: jax.Array) -> jax.Array:
        """Returns f32[B, L, E] of [B, L, E] and [B, N, E]."""
        text = norm("ln_text", LAYER_NORM_EPSILON)(text_tokens)
        image = norm("ln_image", LAYER_NORM_EPSILON)(image_tokens)
        hidden = read_and_transform(self, text, image)
        return norm("ln_post", LAYER_NORM_EPSILON)(hidden)


def read_and_transform(
    sizes: nn.Module, queries: jax.Array, context: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    """Returns [B, L, E]: queries attend to a context, without residual, then pre-norm blocks.

    To be called in a module, which gets the parameters attn and blocks_0 .. blocks_{depth-1}.

    Args:
      sizes: that module, with the fields depth, heads, mlp and dtype.
      queries: [B, L, E].
      context: [B, N, E].
      mask: bool[B, N], False on padding of the context; None if there is none.
    """
    std = start_std(queries.shape[-1], sizes.depth)
    inputs, out = nn.initializers.normal(std.inputs), nn.initializers.normal(std.out)
    attention = Attention(sizes.heads, inputs, dtype=sizes.dtype, out_init=out, name="attn")
    hidden, _ = attention(queries, context, mask)
    for i in range(sizes.depth):
        block = Block(
            heads=sizes.heads,
            mlp=sizes.mlp,
            drop_path=0.0,
            dropout=0.0,
            init_std=std,
            dtype=sizes.dtype,
            epsilon=LAYER_NORM_EPSILON,
            activation=quick_gelu,
            name=f"blocks_{i}",
        )
        hidden = block(hidden, train=False)
    return hidden


class WordHead(nn.Module):
    """Scores the vocabulary; its matrix is its own, not the word embedding.

    Parameters: dense, ln, fc. Start weights are the release's.
    """

    vocabulary: int
    depth: int  # of the module before it, which scales the start weights
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """Returns f32[..., V] logits of [..., E]."""
        width = hidden.shape[-1]
        std = start_std(width, self.depth)

        def dense(features: int, deviation: float, name: str) -> nn.Dense:
            init = nn.initializers.normal(deviation)
            return nn.Dense(features, dtype=self.dtype, kernel_init=init, name=name)

        hidden = quick_gelu(dense(width, std.fc1, "dense")(hidden))
        hidden = norm("ln", LAYER_NORM_EPSILON)(hidden)
        return dense(self.vocabulary, std.out, "fc")(hidden).astype(jnp.float32)


def start_std(width: int, depth: int) -> BlockInit:
    """Returns CLIP's deviations of start weights for a transformer of a width and depth."""
    out = width**-0.5 * (2 * depth) ** -0.5
    return BlockInit(inputs=width**-0.5, out=out, fc1=(2 * width) ** -0.5, fc2=out)
