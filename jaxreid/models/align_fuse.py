"""Two encoders that align, and a cross encoder that fuses: the network of ALBEF and LAIP."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxreid.models.attention import KeyValue
from jaxreid.models.bert import CrossEncoder, MLMHead, TextEncoder
from jaxreid.models.projection import Projection
from jaxreid.models.vit import ViT

# What the momentum model copies: the two encoders and their projections.
UNIMODAL = ("vit", "text", "image_proj", "text_proj")


class AlignFuse(nn.Module):
    """Image encoder, text encoder, cross encoder and their heads.

    Structure of the ALBEF release (models/model_retrieval.py); `mlm` is the tied head of BERT.
    Parameters are float32; `dtype` of the parts is the precision of the computation.
    """

    vit: ViT
    text: TextEncoder
    cross: CrossEncoder
    mlm: MLMHead
    embedding: int

    def setup(self):
        """Adds the projections and the matching head."""
        self.image_proj = Projection(self.embedding)
        self.text_proj = Projection(self.embedding)
        self.itm_head = nn.Dense(2, kernel_init=nn.initializers.normal(0.02))

    def __call__(self, images: jax.Array, tokens: jax.Array, mask: jax.Array):
        """Touches every parameter, for init."""
        image_tokens = self.image_tokens(images)
        text_tokens = self.text_tokens(tokens, mask)
        fused, _ = self.fuse(text_tokens, mask, image_tokens)
        return (
            self.embed_image(image_tokens),
            self.embed_text(text_tokens),
            self.match(fused),
            self.predict_words(fused),
        )

    def image_tokens(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns [B, N, D], [CLS] first, of normalised images f32[B, h, w, 3]."""
        return self.vit(images, train=train)

    def text_tokens(self, tokens: jax.Array, mask: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns [B, L, D], [CLS] first, of tokens i32[B, L] with mask bool[B, L]."""
        return self.text(tokens, mask, train=train)

    def embed_image(self, image_tokens: jax.Array) -> jax.Array:
        """Returns f32[B, E] unit embeddings of [CLS] (Eq. 13)."""
        return self.image_proj(image_tokens[:, 0])

    def embed_text(self, text_tokens: jax.Array) -> jax.Array:
        """Returns f32[B, E] unit embeddings of [CLS] (Eq. 14)."""
        return self.text_proj(text_tokens[:, 0])

    def embed_vector(self, vector: jax.Array) -> jax.Array:
        """Returns f32[P, E] unit embeddings of image vectors [P, D] (g_v of Eq. 9)."""
        return self.image_proj(vector)

    def fuse(
        self,
        text_tokens: jax.Array,
        mask: jax.Array,
        image_tokens: jax.Array | tuple[KeyValue, ...],
        *,
        image_index: jax.Array | None = None,
        tap: jax.Array | None = None,
        tap_layer: int | None = None,
        first_only: bool = False,
        train: bool = False,
    ) -> tuple[jax.Array, jax.Array | None]:
        """Returns fused tokens [P, L, D]; with tap, attention f32[P, H, N]: see CrossEncoder."""
        return self.cross(
            text_tokens,
            mask,
            image_tokens,
            image_index=image_index,
            tap=tap,
            tap_layer=tap_layer,
            first_only=first_only,
            train=train,
        )

    def match(self, fused: jax.Array) -> jax.Array:
        """Returns f32[P, 2] matching logits of fused tokens [P, L, D]; column 1 is "match"."""
        return self.itm_head(fused[:, 0].astype(jnp.float32))

    def predict_words(self, fused: jax.Array) -> jax.Array:
        """Returns f32[..., V] vocabulary logits of fused tokens [..., D]."""
        embedding = self.text.variables["params"]["embeddings"]["word_embeddings"]["embedding"]
        return self.mlm(fused, embedding)
