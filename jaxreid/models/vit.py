"""Vision Transformer (Dosovitskiy et al., 2021) as timm and ALBEF build it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxreid.models.attention import Attention, Mlp, exact_gelu

_LAYER_NORM_EPSILON = 1e-6  # timm's ViT; BERT uses 1e-12


def normalise(images: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """Scales u8[B, h, w, 3] pixels to f32 (pixel / 255 - mean) / std, per colour channel.

    Args:
      images: u8[B, h, w, 3], RGB.
      mean: three channel means in [0, 1].
      std: three channel standard deviations, > 0.

    Raises:
      ValueError: images are not bytes (they may be scaled already) or not RGB.
    """
    if images.dtype != jnp.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images must be u8[B, h, w, 3], got {images.dtype}{images.shape}")
    mean = jnp.asarray(mean, jnp.float32).reshape(1, 1, 1, 3)
    std = jnp.asarray(std, jnp.float32).reshape(1, 1, 1, 3)
    return (images.astype(jnp.float32) / 255.0 - mean) / std


def to_patches(images: jax.Array, patch: int) -> jax.Array:
    """Returns [B, patches row by row, patch, patch, 3] of [B, h, w, 3], multiples of the patch."""
    B, h, w, _ = images.shape
    grid = images.reshape(B, h // patch, patch, w // patch, patch, 3)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(B, -1, patch, patch, 3)


class ViT(nn.Module):
    """Pre-norm transformer over square patches and a [CLS] token.

    Parameters: cls_token [1, 1, D], pos_embed [1, N, D] ([CLS] first, then patches row by row),
    patch_embed (kernel [patch, patch, 3, D], bias), blocks_0 .. blocks_{depth-1} with norm1, attn
    (query, key, value, out), norm2, mlp (fc1, fc2), and norm.
    """

    image_size: tuple[int, int]  # height, width in pixels; fixes the grid of positions
    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp: int = 3072
    drop_path: float = 0.0  # of the last block; grows linearly from 0 at the first
    dropout: float = 0.0  # of embeddings and of both branches, not of attention weights
    norm_epsilon: float = _LAYER_NORM_EPSILON  # of the final norm; BLIP-2's, ln_vision, has 1e-5
    # Of normal start weights. timm's trunc_normal_(std=.02) cuts at +-2, 100 deviations away. A
    # narrow network learns faster from a larger one, near 1 / sqrt(width).
    init_std: float = 0.02
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Encodes images to tokens.

        Args:
          images: f32[B, h, w, 3], normalised (see `normalise`), (h, w) = `image_size`.
          train: True applies dropout and stochastic depth with the rng stream 'dropout'.

        Returns:
          f32[B, N, D], N = 1 + (h / patch) * (w / patch), token 0 is [CLS]; after the final norm.

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
        tokens = self._embed(images)
        tokens = nn.Dropout(self.dropout, deterministic=not train)(tokens)
        for i in range(self.depth):
            block = Block(
                heads=self.heads,
                mlp=self.mlp,
                drop_path=self.drop_path * i / max(self.depth - 1, 1),
                dropout=self.dropout,
                init_std=self.init_std,
                dtype=self.dtype,
                name=f"blocks_{i}",
            )
            tokens = block(tokens, train=train)
        return norm("norm", self.norm_epsilon)(tokens)

    def _embed(self, images: jax.Array) -> jax.Array:
        """[B, N, D] tokens with their positions."""
        B = len(images)
        patches = to_patches(images, self.patch)
        init = nn.initializers.normal(self.init_std)
        # The convolution of kernel = stride = patch as one matrix product; same kernel layout.
        embed = nn.DenseGeneral(
            self.width,
            axis=(-3, -2, -1),
            dtype=self.dtype,
            kernel_init=init,
            name="patch_embed",
        )
        tokens = embed(patches)
        cls = self.param("cls_token", init, (1, 1, self.width))
        positions = self.param("pos_embed", init, (1, tokens.shape[1] + 1, self.width))
        cls = jnp.broadcast_to(cls.astype(tokens.dtype), (B, 1, self.width))
        return jnp.concatenate([cls, tokens], axis=1) + positions.astype(tokens.dtype)


class BlockInit(NamedTuple):
    """Standard deviations of the normal start weights of a block."""

    inputs: float  # of query, key and value
    out: float
    fc1: float
    fc2: float


class Block(nn.Module):
    """x + attention(norm1(x)), then x + mlp(norm2(x)); either branch may be dropped.

    Parameters: norm1, attn (query, key, value, out), norm2, mlp (fc1, fc2).
    """

    heads: int
    mlp: int
    drop_path: float
    dropout: float
    init_std: float | BlockInit  # one number for all kernels, or one for each
    dtype: Dtype
    epsilon: float = _LAYER_NORM_EPSILON
    activation: Callable[[jax.Array], jax.Array] = exact_gelu

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None = None, *, train: bool) -> jax.Array:
        """Maps [B, N, D] to [B, N, D]; `mask` bool[B, N] or bool[B, N, N], True = attend."""

        def add(x: jax.Array, branch: jax.Array) -> jax.Array:
            branch = nn.Dropout(self.dropout, deterministic=not train)(branch)
            # Stochastic depth: the branch of a whole image is dropped, not single values.
            path = nn.Dropout(self.drop_path, broadcast_dims=(1, 2), deterministic=not train)
            return x + path(branch)

        std = self.init_std
        if not isinstance(std, BlockInit):
            std = BlockInit(std, std, std, std)
        inputs, out, fc1, fc2 = (nn.initializers.normal(value) for value in std)
        normed = norm("norm1", self.epsilon)(x)
        attention = Attention(self.heads, inputs, dtype=self.dtype, out_init=out, name="attn")
        x = add(x, attention(normed, normed, mask)[0])
        mlp = Mlp(self.mlp, fc1, self.dtype, self.activation, fc2, name="mlp")
        return add(x, mlp(norm("norm2", self.epsilon)(x)))


def norm(name: str, epsilon: float = _LAYER_NORM_EPSILON) -> nn.LayerNorm:
    """Returns a layer norm computed in float32, whatever the dtype of its input."""
    return nn.LayerNorm(epsilon=epsilon, dtype=jnp.float32, use_fast_variance=False, name=name)
