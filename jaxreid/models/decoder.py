"""CADA's decoder (Lin et al., 2023): a text encoder whose layers can also read an image.

All parameters but the cross-attentions serve both modes (Section I of the paper; BLIP's mixture
of encoder and decoder is built this way too).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxreid.models.attention import KeyValue
from jaxreid.models.bert import Embeddings, Layer


class TextDecoder(nn.Module):
    """BERT whose last `cross_depth` layers have a cross-attention, used where there is an image.

    Parameters: embeddings (see `bert.Embeddings`), layer_0 .. layer_{depth-1} (see `bert.Layer`);
    but for crossattention and crossattention_norm those of `bert.TextEncoder`.
    """

    vocabulary: int
    width: int = 768
    depth: int = 12
    cross_depth: int = 12
    heads: int = 12
    mlp: int = 3072
    max_positions: int = 512
    dropout: float = 0.1
    token_types: int = 0  # BLIP has none; BERT has 2
    causal: bool = False  # whether a token sees only itself and those before it
    init_std: float = 0.02  # of normal start weights; see `vit.ViT`
    dtype: Dtype = jnp.float32

    def setup(self):
        """Makes the embeddings and the layers."""
        if not 0 <= self.cross_depth <= self.depth:
            raise ValueError(
                f"cross_depth must be in 0..depth {self.depth}, got {self.cross_depth}"
            )
        self.embeddings = Embeddings(
            self.vocabulary,
            self.width,
            self.max_positions,
            self.token_types,
            self.dropout,
            self.init_std,
            self.dtype,
        )
        # Named layer_0, layer_1, ..
        self.layer = [
            Layer(self.heads, self.mlp, self.dropout, self.init_std, self.dtype)
            for _ in range(self.depth)
        ]

    def __call__(
        self,
        tokens: jax.Array,
        mask: jax.Array,
        image_tokens: jax.Array | tuple[KeyValue, ...] | None = None,
        *,
        train: bool = False,
    ) -> jax.Array:
        """Returns [B, L, D] of token ids i32[B, L]; see `embed` and `decode`."""
        hidden = self.embed(tokens, train=train)
        return self.decode(hidden, mask, image_tokens, train=train)

    def embed(self, tokens: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns [B, L, D], the input of the first layer, of token ids i32[B, L]."""
        return self.embeddings(tokens, train=train)

    def decode(
        self,
        hidden: jax.Array,
        mask: jax.Array,
        image_tokens: jax.Array | tuple[KeyValue, ...] | None = None,
        *,
        image_index: jax.Array | None = None,
        first_only: bool = False,
        train: bool = False,
    ) -> jax.Array:
        """Runs the layers, with cross-attentions if there is an image.

        Args:
          hidden: [B, L, D] of `embed`.
          mask: bool[B, L], False on padding; outputs at padding carry no meaning.
          image_tokens: [B, N, Dv], of any width; or what each cross-attention reads of them, from
            `bert.image_keys`. None: text alone, as a text encoder.
          image_index: i32[B]; text b reads image_tokens[image_index[b]], which may then have any
            number of rows. Keys and values are computed once an image, not once a pair.
          first_only: True returns row 0 alone, [B, 1, D], and computes no more than that in the
            last layer. Not where `causal`.
          train: True applies dropout with the rng stream 'dropout'.

        Returns:
          [B, L, D] in `dtype`.

        Raises:
          ValueError: shapes disagree, or first_only of a causal decoder.
        """
        if hidden.ndim != 3 or hidden.shape[-1] != self.width or mask.shape != hidden.shape[:2]:
            raise ValueError(
                f"hidden must be [B, L, {self.width}] and mask [B, L], "
                f"got {hidden.shape} and {mask.shape}"
            )
        if first_only and self.causal:
            raise ValueError("first_only must be False where the decoder is causal")
        projected = isinstance(image_tokens, tuple)
        if projected and len(image_tokens) != self.cross_depth:
            raise ValueError(
                f"each of the {self.cross_depth} cross-attentions needs its keys and values, "
                f"got those of {len(image_tokens)}"
            )
        seen = mask
        if self.causal:
            length = mask.shape[1]
            seen = mask[:, None, :] & jnp.tril(jnp.ones((1, length, length), bool))
        for i, layer in enumerate(self.layer):
            cross = i - (self.depth - self.cross_depth)  # number of its cross-attention, from 0
            image = None
            if image_tokens is not None and cross >= 0:
                image = image_tokens[cross] if projected else image_tokens
            hidden, _ = layer(
                hidden,
                seen,
                image,
                image_index=None if image is None else image_index,
                first_only=first_only and i == self.depth - 1,
                train=train,
            )
        return hidden
