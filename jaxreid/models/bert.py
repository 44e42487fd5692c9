"""BERT (Devlin et al., 2019) and its split into text and cross encoder by ALBEF (Li et al., 2021).

ALBEF makes layers 0-5 of BERT-base the `TextEncoder` and layers 6-11, each with a cross-attention
to the image tokens, the `CrossEncoder`. The word embedding that `MLMHead` needs is
`params["embeddings"]["word_embeddings"]["embedding"]` of the text encoder, f32[V, D].
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxreid.models.attention import Attention, KeyValue, Mlp, key_value

_LAYER_NORM_EPSILON = 1e-12  # BERT's; timm's ViT uses 1e-6


class TextEncoder(nn.Module):
    """Embeddings and transformer layers.

    Parameters: embeddings (see `Embeddings`), layer_0 .. layer_{depth-1} (see `Layer`).
    """

    vocabulary: int
    width: int = 768
    depth: int = 6
    heads: int = 12
    mlp: int = 3072
    max_positions: int = 512
    dropout: float = 0.1
    token_types: int = 2
    init_std: float = 0.02  # of normal start weights; see ViT
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: jax.Array, mask: jax.Array, *, train: bool = False) -> jax.Array:
        """Encodes token ids.

        Args:
          tokens: i32[B, L], in [0, vocabulary), [CLS] first.
          mask: bool[B, L], False on padding; outputs at padding carry no meaning.
          train: True applies dropout with the rng stream 'dropout'.

        Returns:
          [B, L, D] in `dtype`.

        Raises:
          ValueError: tokens and mask differ in shape, or L > max_positions.
        """
        if tokens.ndim != 2 or mask.shape != tokens.shape:
            raise ValueError(
                f"tokens and mask must both be [B, L], got {tokens.shape} and {mask.shape}"
            )
        embeddings = Embeddings(
            self.vocabulary,
            self.width,
            self.max_positions,
            self.token_types,
            self.dropout,
            self.init_std,
            self.dtype,
            name="embeddings",
        )
        hidden = embeddings(tokens, train=train)
        for i in range(self.depth):
            layer = Layer(
                self.heads, self.mlp, self.dropout, self.init_std, self.dtype, name=f"layer_{i}"
            )
            hidden, _ = layer(hidden, mask, train=train)
        return hidden


def image_keys(params: Any, image_tokens: jax.Array, dtype: Dtype) -> tuple[KeyValue, ...]:
    """Returns what the layers of a `CrossEncoder` read of images, of its first layer first.

    Args:
      params: of the encoder: layer_0, layer_1, .., those with a cross-attention in one run.
      image_tokens: [B, N, Dv].
      dtype: of the computation.
    """
    layers = [
        params[f"layer_{i}"] for i in range(sum(name.startswith("layer_") for name in params))
    ]
    return tuple(
        key_value(layer["crossattention"], image_tokens, dtype)
        for layer in layers
        if "crossattention" in layer
    )


class CrossEncoder(nn.Module):
    """Transformer layers that read the text, then the image tokens.

    Parameters: layer_0 .. layer_{depth-1} (see `Layer`); layer_0 is layer 6 of ALBEF's BERT.
    """

    width: int = 768
    depth: int = 6
    heads: int = 12
    mlp: int = 3072
    dropout: float = 0.1
    init_std: float = 0.02
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        hidden: jax.Array,
        mask: jax.Array,
        image_tokens: jax.Array | tuple[KeyValue, ...],
        *,
        image_index: jax.Array | None = None,
        image_mask: jax.Array | None = None,
        tap: jax.Array | None = None,
        tap_layer: int | None = None,
        first_only: bool = False,
        train: bool = False,
    ) -> tuple[jax.Array, jax.Array | None]:
        """Fuses text with images.

        The cross-attention of layer `tap_layer` gets the zero offset `tap` on the weights of
        text row 0 ([CLS]); the gradient with respect to it is LAIP's backward attention.

        Args:
          hidden: [B, L, D] of the text encoder.
          mask: bool[B, L], False on padding.
          image_tokens: [B, N, Dv], of any width; or what each layer reads of them, from
            `image_keys`.
          image_index: i32[B]; text b reads image_tokens[image_index[b]], which may then have
            any number of rows. Keys and values are computed once an image, not once a pair.
          image_mask: bool[B, N] by text row, False on padding; None if there is no padding.
          tap: f32[B, H, N], see `attention.attend`; given with `tap_layer` or not at all.
          tap_layer: index of a layer, from 0.
          first_only: True returns row 0 ([CLS]) alone, [B, 1, D], and computes no more than that
            in the last layer: what a matching score reads.
          train: True applies dropout with the rng stream 'dropout'.

        Returns:
          [B, L, D] in `dtype`; f32[B, H, N], softmax weights of [CLS] in the cross-attention of
          layer `tap_layer` (each row sums to 1), or None without tap.

        Raises:
          ValueError: shapes disagree, or tap and tap_layer do not come together.
        """
        if hidden.ndim != 3 or hidden.shape[-1] != self.width or mask.shape != hidden.shape[:2]:
            raise ValueError(
                f"hidden must be [B, L, {self.width}] and mask [B, L], "
                f"got {hidden.shape} and {mask.shape}"
            )
        projected = isinstance(image_tokens, tuple)
        if projected and len(image_tokens) != self.depth:
            raise ValueError(
                f"each of the {self.depth} layers needs its keys and values, "
                f"got those of {len(image_tokens)}"
            )
        images = image_tokens[0].key if projected else image_tokens
        rows = len(images) if image_index is None else len(image_index)
        if rows != len(hidden):
            raise ValueError(f"{len(hidden)} texts need as many images, got {rows}")
        if (tap is None) != (tap_layer is None):
            raise ValueError("tap and tap_layer must both be given or both be None")
        if tap_layer is not None and not 0 <= tap_layer < self.depth:
            raise ValueError(f"tap_layer must be in 0..{self.depth - 1}, got {tap_layer}")
        tapped = None
        for i in range(self.depth):
            layer = Layer(
                self.heads, self.mlp, self.dropout, self.init_std, self.dtype, name=f"layer_{i}"
            )
            hidden, weights = layer(
                hidden,
                mask,
                image_tokens[i] if projected else image_tokens,
                image_index=image_index,
                image_mask=image_mask,
                tap=tap if i == tap_layer else None,
                first_only=first_only and i == self.depth - 1,
                train=train,
            )
            if i == tap_layer:
                tapped = weights
        return hidden, tapped


class Embeddings(nn.Module):
    """Word + position + token type 0, then layer norm.

    Parameters: word_embeddings, position_embeddings, token_type_embeddings (each `embedding`),
    norm. Captions are one segment, so type 0 is added everywhere; BLIP has none (token_types 0).
    """

    vocabulary: int
    width: int
    max_positions: int
    token_types: int
    dropout: float
    init_std: float
    dtype: Dtype

    @nn.compact
    def __call__(self, tokens: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps i32[B, L] to [B, L, D]."""
        length = tokens.shape[1]
        if length > self.max_positions:
            raise ValueError(f"at most max_positions = {self.max_positions} tokens, got {length}")

        def table(rows: int, name: str) -> nn.Embed:
            init = nn.initializers.normal(self.init_std)
            return nn.Embed(rows, self.width, embedding_init=init, name=name)

        hidden = table(self.vocabulary, "word_embeddings")(tokens)
        hidden = hidden + table(self.max_positions, "position_embeddings")(jnp.arange(length)[None])
        if self.token_types:
            token_type = jnp.zeros((1, length), jnp.int32)
            hidden = hidden + table(self.token_types, "token_type_embeddings")(token_type)
        hidden = _norm("norm")(hidden).astype(self.dtype)
        return nn.Dropout(self.dropout, deterministic=not train)(hidden)


class Layer(nn.Module):
    """Post-norm layer: self-attention, cross-attention if there is an image, feed-forward.

    Parameters: attention (query, key, value, out), attention_norm, crossattention (likewise),
    crossattention_norm, mlp (fc1, fc2), mlp_norm. Each branch is norm(x + dropout(branch(x))).
    """

    heads: int
    mlp: int
    dropout: float
    init_std: float
    dtype: Dtype

    @nn.compact
    def __call__(
        self,
        hidden: jax.Array,
        mask: jax.Array,
        image_tokens: jax.Array | KeyValue | None = None,
        *,
        image_index: jax.Array | None = None,
        image_mask: jax.Array | None = None,
        tap: jax.Array | None = None,
        first_only: bool = False,
        train: bool = False,
    ) -> tuple[jax.Array, jax.Array | None]:
        """Returns [B, L, D] and the tapped cross-attention weights (see `CrossEncoder`).

        `mask` may be bool[B, L, L] for a causal layer (True = row attends to column), not with
        `first_only`, which computes row 0 alone from all rows.
        """

        def add(hidden: jax.Array, branch: jax.Array, name: str) -> jax.Array:
            branch = nn.Dropout(self.dropout, deterministic=not train)(branch)
            return _norm(name)(hidden + branch).astype(self.dtype)

        init = nn.initializers.normal(self.init_std)

        def attention(name: str) -> Attention:
            return Attention(self.heads, init, self.dropout, self.dtype, name=name)

        rows = hidden[:, :1] if first_only else hidden
        branch, _ = attention("attention")(rows, hidden, mask, train=train)
        hidden = add(rows, branch, "attention_norm")
        weights = None
        if image_tokens is not None:
            branch, weights = attention("crossattention")(
                hidden,
                image_tokens,
                image_mask,
                context_index=image_index,
                tap=tap,
                train=train,
            )
            hidden = add(hidden, branch, "crossattention_norm")
        branch = Mlp(self.mlp, init, self.dtype, name="mlp")(hidden)
        return add(hidden, branch, "mlp_norm"), weights


class MLMHead(nn.Module):
    """Scores the vocabulary at each position, with the decoder tied to the word embedding.

    Parameters: dense, norm, bias [V].
    """

    width: int
    vocabulary: int
    init_std: float = 0.02
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, hidden: jax.Array, embedding: jax.Array) -> jax.Array:
        """Returns norm(gelu(dense(hidden))) @ embedding^T + bias.

        Args:
          hidden: [..., D]; pass only the masked positions, the product with V is what costs.
          embedding: f32[V, D], the word embedding of the text encoder.

        Returns:
          f32[..., V] logits.

        Raises:
          ValueError: widths or vocabulary disagree.
        """
        if hidden.shape[-1] != self.width or embedding.shape != (self.vocabulary, self.width):
            raise ValueError(
                f"hidden must be [..., {self.width}] and embedding "
                f"{(self.vocabulary, self.width)}, got {hidden.shape} and {embedding.shape}"
            )
        dense = nn.Dense(
            self.width,
            dtype=self.dtype,
            kernel_init=nn.initializers.normal(self.init_std),
            name="dense",
        )
        hidden = _norm("norm")(nn.gelu(dense(hidden), approximate=False))
        bias = self.param("bias", nn.initializers.zeros, (self.vocabulary,))
        logits = jnp.einsum(
            "...d,vd->...v",
            hidden.astype(self.dtype),
            embedding.astype(self.dtype),
            preferred_element_type=jnp.float32,
        )
        return logits + bias.reshape((1,) * (hidden.ndim - 1) + (-1,))


def _norm(name: str) -> nn.LayerNorm:
    """Layer norm computed in float32, whatever the dtype of its input."""
    return nn.LayerNorm(
        epsilon=_LAYER_NORM_EPSILON, dtype=jnp.float32, use_fast_variance=False, name=name
    )
