"""The network of CADA: an image encoder, a text encoder that is a decoder too, and their heads."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxreid.models.attention import KeyValue
from jaxreid.models.bert import MLMHead
from jaxreid.models.decoder import TextDecoder
from jaxreid.models.projection import unit
from jaxreid.models.vit import ViT


class Linear(nn.Module):
    """Linear map to the shared space without normalisation. Parameters: dense, as `Projection`."""

    embedding: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., D] to f32[..., E]."""
        init = nn.initializers.normal(0.02)
        return nn.Dense(self.embedding, kernel_init=init, name="dense")(x.astype(jnp.float32))


class DualAssociation(nn.Module):
    """Encoders for global association, a decoder for ATP and ARA.

    The paper's decoder is `text` with its cross-attentions. The release has another one for ARA,
    `text_decoder`, causal and with parameters of its own; `mlm` is tied to the word embedding of
    the one that predicts words. Parameters are float32.
    """

    vit: ViT
    text: TextDecoder
    mlm: MLMHead
    embedding: int
    text_decoder: TextDecoder | None = None

    def setup(self):
        """Adds projections and matching heads, [CLS]'s and the one of all token groups."""
        init = nn.initializers.normal(0.02)
        self.image_proj = Linear(self.embedding)
        self.text_proj = Linear(self.embedding)
        self.itm_head = nn.Dense(2, kernel_init=init)
        self.itm_local_head = nn.Dense(2, kernel_init=init)

    def __call__(self, images: jax.Array, tokens: jax.Array, mask: jax.Array):
        """Touches every parameter, for init."""
        image_tokens = self.image_tokens(images)
        fused = self.decode(self.embed_tokens(tokens), mask, image_tokens)
        return (
            self.project_image(image_tokens),
            self.project_text(self.text_tokens(tokens, mask)),
            self.match(fused[:, 0]),
            self.match_group(fused[:, 1:]),
            self.predict_words(self.decode_masked(tokens, mask, image_tokens)),
        )

    def image_tokens(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns [B, N, D], [CLS] first, of normalised images f32[B, h, w, 3]."""
        return self.vit(images, train=train)

    def text_tokens(self, tokens: jax.Array, mask: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns [B, L, D], [CLS] first, of tokens i32[B, L] with mask bool[B, L], text alone."""
        return self.text(tokens, mask, train=train)

    def project_image(self, image_tokens: jax.Array) -> jax.Array:
        """Returns f32[B, E] of [CLS], of any norm."""
        return self.image_proj(image_tokens[:, 0])

    def project_text(self, text_tokens: jax.Array) -> jax.Array:
        """Returns f32[B, E] of [CLS], of any norm."""
        return self.text_proj(text_tokens[:, 0])

    def embed_image(self, image_tokens: jax.Array) -> jax.Array:
        """Returns f32[B, E] unit embeddings."""
        return unit(self.project_image(image_tokens))

    def embed_text(self, text_tokens: jax.Array) -> jax.Array:
        """Returns f32[B, E] unit embeddings."""
        return unit(self.project_text(text_tokens))

    def embed_tokens(self, tokens: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns [B, L, D], what `decode` starts from, of tokens i32[B, L]."""
        return self.text.embed(tokens, train=train)

    def decode(
        self,
        hidden: jax.Array,
        mask: jax.Array,
        image_tokens: jax.Array | tuple[KeyValue, ...],
        *,
        image_index: jax.Array | None = None,
        first_only: bool = False,
        train: bool = False,
    ) -> jax.Array:
        """Returns [P, L, D] of texts that read images; see `TextDecoder.decode`."""
        return self.text.decode(
            hidden,
            mask,
            image_tokens,
            image_index=image_index,
            first_only=first_only,
            train=train,
        )

    def decode_masked(
        self, tokens: jax.Array, mask: jax.Array, image_tokens: jax.Array, *, train: bool = False
    ) -> jax.Array:
        """Returns [B, L, D] of the decoder that predicts words, of masked tokens i32[B, L]."""
        decoder = self.text if self.text_decoder is None else self.text_decoder
        return decoder(tokens, mask, image_tokens, train=train)

    def match(self, fused: jax.Array) -> jax.Array:
        """Returns f32[..., 2] matching logits of decoded [CLS] [..., D]; column 1 is "match"."""
        return self.itm_head(fused.astype(jnp.float32))

    def match_group(self, fused: jax.Array) -> jax.Array:
        """Returns f32[..., 2] matching logits of token groups [..., D]; column 1 is "match"."""
        return self.itm_local_head(fused.astype(jnp.float32))

    def predict_words(self, fused: jax.Array) -> jax.Array:
        """Returns f32[..., V] vocabulary logits of decoded tokens [..., D]."""
        decoder = self.text if self.text_decoder is None else self.text_decoder
        table = decoder.variables["params"]["embeddings"]["word_embeddings"]["embedding"]
        return self.mlm(fused, table)
