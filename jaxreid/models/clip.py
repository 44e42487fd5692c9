"""CLIP's two encoders (Radford et al., 2021), with the projected features of every token.

CLIP itself projects [CLS] and the end token alone; IRRA's cross-modal module reads all tokens.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxreid.models.vit import Block, norm, to_patches

LAYER_NORM_EPSILON = 1e-5


def quick_gelu(x: jax.Array) -> jax.Array:
    """Returns x sigmoid(1.702 x), CLIP's activation."""
    return x * jax.nn.sigmoid(1.702 * x)


class Word(NamedTuple):
    """A word that is no token of the vocabulary, at one place of every text."""

    embedding: jax.Array  # [B, D], without position
    place: int  # in 0 .. L - 1


class ImageTower(nn.Module):
    """Pre-norm transformer over patches and a class token, norms around it, and a projection.

    Parameters: class_embedding [D], positional_embedding [N, D] (class first, then patches row by
    row), patch_embed (kernel [patch, patch, 3, D]), ln_pre, blocks_0 .. blocks_{depth-1} (see
    `vit.Block`), ln_post, proj (kernel [D, E]).
    """

    image_size: tuple[int, int]  # height, width in pixels
    patch: int
    width: int
    depth: int
    heads: int
    mlp: int
    embedding: int
    drop_path: float  # of the last block; grows linearly from 0 at the first
    dropout: float
    init_std: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns [B, N, E], the class token first, of normalised images f32[B, h, w, 3].

        Raises:
          ValueError: images of another size, or a size that is no multiple of the patch.
        """
        height, width = self.image_size
        if height % self.patch or width % self.patch:
            raise ValueError(
                f"image_size must be a multiple of patch = {self.patch}, got {self.image_size}"
            )
        if images.shape[1:] != (height, width, 3):
            raise ValueError(f"images must be [B, {height}, {width}, 3], got {images.shape}")
        init = nn.initializers.normal(self.init_std)
        embed = nn.DenseGeneral(
            self.width, axis=(-3, -2, -1), use_bias=False, dtype=self.dtype, kernel_init=init,
            name="patch_embed",
        )  # fmt: skip
        patches = embed(to_patches(images, self.patch))
        first = self.param("class_embedding", init, (self.width,)).astype(patches.dtype)
        first = jnp.broadcast_to(first[None, None], (len(images), 1, self.width))
        tokens = jnp.concatenate([first, patches], axis=1)
        positions = self.param("positional_embedding", init, (tokens.shape[1], self.width))
        tokens = norm("ln_pre", LAYER_NORM_EPSILON)(tokens + positions[None].astype(tokens.dtype))
        tokens = tokens.astype(self.dtype)
        for i in range(self.depth):
            block = _block(self, i, self.drop_path * i / max(self.depth - 1, 1))
            tokens = block(tokens, train=train)
        tokens = norm("ln_post", LAYER_NORM_EPSILON)(tokens)
        return _projection(self, init)(tokens)


class TextTower(nn.Module):
    """Causal transformer over tokens, a norm, and a projection.

    A token sees those before it, so what follows the end token changes nothing before it: padding
    needs no mask. Parameters: token_embedding (embedding [V, D]), positional_embedding [L, D],
    blocks_0 .. blocks_{depth-1} (see `vit.Block`), ln_final, proj (kernel [D, E]).
    """

    vocabulary: int
    max_positions: int
    width: int
    depth: int
    heads: int
    mlp: int
    embedding: int
    dropout: float
    init_std: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, tokens: jax.Array, word: Word | None = None, *, train: bool = False
    ) -> jax.Array:
        """Returns [B, L, E] of tokens i32[B, L], one of them replaced by `word` where it is given.

        Raises:
          ValueError: L > max_positions.
        """
        rows, length = tokens.shape
        if length > self.max_positions:
            raise ValueError(f"at most max_positions = {self.max_positions} tokens, got {length}")
        init = nn.initializers.normal(self.init_std)
        table = nn.Embed(self.vocabulary, self.width, embedding_init=init, name="token_embedding")
        positions = self.param("positional_embedding", init, (self.max_positions, self.width))
        hidden = table(tokens)
        if word is not None:
            hidden = hidden.at[:, word.place].set(word.embedding.astype(hidden.dtype))
        hidden = (hidden + positions[None, :length]).astype(self.dtype)
        causal = jnp.tril(jnp.ones((rows, length, length), bool))
        for i in range(self.depth):
            hidden = _block(self, i, 0.0)(hidden, causal, train=train)
        hidden = norm("ln_final", LAYER_NORM_EPSILON)(hidden)
        return _projection(self, init)(hidden)


class Clip(nn.Module):
    """Both towers. Parameters: vit, text."""

    vit: ImageTower
    text: TextTower
    end_id: int  # id of the end token; the first one of a row ends its text

    def __call__(self, images: jax.Array, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Touches every parameter, for init."""
        return self.image_tokens(images), self.text_tokens(tokens)

    def image_tokens(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns [B, N, E] of normalised images f32[B, h, w, 3]."""
        return self.vit(images, train=train)

    def text_tokens(
        self, tokens: jax.Array, word: Word | None = None, *, train: bool = False
    ) -> jax.Array:
        """Returns [B, L, E] of tokens i32[B, L], one of them replaced where `word` is given."""
        return self.text(tokens, word, train=train)

    def pool_image(self, image_tokens: jax.Array) -> jax.Array:
        """Returns f32[B, E], any norm: the class token."""
        return image_tokens[:, 0].astype(jnp.float32)

    def pool_text(self, text_tokens: jax.Array, tokens: jax.Array) -> jax.Array:
        """Returns f32[B, E], any norm: the end token.

        CLIP's and IRRA's releases take the largest id of a row; the end token has it, but for a
        mask token behind it.
        """
        end = end_position(tokens, self.end_id)
        return jnp.take_along_axis(text_tokens, end[:, None, None], axis=1)[:, 0].astype(
            jnp.float32
        )


def end_position(tokens: jax.Array, end_id: int) -> jax.Array:
    """Returns i32[B], where the first end token of each row of i32[B, L] is."""
    return jnp.argmax(tokens == end_id, axis=1)


def _block(tower: ImageTower | TextTower, number: int, drop_path: float) -> Block:
    """A layer of a tower."""
    return Block(
        heads=tower.heads,
        mlp=tower.mlp,
        drop_path=drop_path,
        dropout=tower.dropout,
        init_std=tower.init_std,
        dtype=tower.dtype,
        epsilon=LAYER_NORM_EPSILON,
        activation=quick_gelu,
        name=f"blocks_{number}",
    )


def _projection(tower: ImageTower | TextTower, init) -> nn.Dense:
    """To the space that image and text share, without bias."""
    return nn.Dense(
        tower.embedding, use_bias=False, dtype=tower.dtype, kernel_init=init, name="proj"
    )
