"""The network of DiaNA: an image encoder, a dialogue encoder, and refiners of attributes."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid.models.refiner import AttributeRefiner


class DialogueAlignment(nn.Module):
    """Two encoders projected into one space, and what refines their tokens to attributes.

    The encoders are fields: an image encoder maps images f32[B, h, w, 3] to tokens [B, N, D], a
    dialogue encoder maps tokens i32[B, L] and mask bool[B, L] to [B, L, D], both take `train`.
    Parameters: vit and text of the encoders, whatever they are, image_proj, text_proj (each kernel
    [D, E], bias [E]; of the global feature and of all tokens alike), and refiner and text_refiner
    where they are given.
    """

    vit: nn.Module
    text: nn.Module
    embedding: int  # E
    mean_image: bool  # global feature of an image: the mean of its tokens, or token 0
    last_token: bool  # global feature of a dialogue: its last token before padding, or token 0
    refiner: AttributeRefiner | None
    text_refiner: AttributeRefiner | None  # of dialogues alone; `refiner` is then of images alone

    def setup(self):
        """Adds the projections."""
        init = nn.initializers.normal(0.02)
        self.image_proj = nn.Dense(self.embedding, kernel_init=init)
        self.text_proj = nn.Dense(self.embedding, kernel_init=init)

    def __call__(self, images: jax.Array, tokens: jax.Array, mask: jax.Array):
        """Touches every parameter, for init."""
        return self.encode_image(images), self.encode_text(tokens, mask)

    def encode_image(
        self, images: jax.Array, *, train: bool = False
    ) -> tuple[jax.Array, jax.Array | None]:
        """Returns the global f32[B, E] and the attributes f32[B, K, E] of normalised images.

        Both of any norm; None for attributes that nothing refines.
        """
        tokens = self.vit(images, train=train)
        pooled = tokens.mean(axis=1) if self.mean_image else tokens[:, 0]
        attributes = None
        if self.refiner is not None:
            attributes = self.refiner(self.image_proj(tokens)).astype(jnp.float32)
        return self.image_proj(pooled).astype(jnp.float32), attributes

    def encode_text(
        self, tokens: jax.Array, mask: jax.Array, *, train: bool = False
    ) -> tuple[jax.Array, jax.Array | None]:
        """Returns the same of dialogues: tokens i32[B, L], mask bool[B, L], False on padding."""
        hidden = self.text(tokens, mask, train=train)
        pooled = hidden[:, 0]
        if self.last_token:
            last = mask.sum(axis=1) - 1
            pooled = jnp.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0]
        attributes = None
        if (refiner := self.text_refiner or self.refiner) is not None:
            attributes = refiner(self.text_proj(hidden), mask).astype(jnp.float32)
        return self.text_proj(pooled).astype(jnp.float32), attributes
