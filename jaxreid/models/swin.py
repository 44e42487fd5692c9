"""Swin Transformer V2 (Liu et al., CVPR 2022), image encoder of DiaNA's release."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.typing import Dtype, Initializer

from jaxreid.models.attention import Mlp
from jaxreid.models.projection import unit
from jaxreid.models.vit import norm, to_patches

_EPSILON = 1e-5  # of all layer norms
_LARGEST_SCALE = 100.0  # of cosines
_START_SCALE = 10.0
_BIAS_HIDDEN = 512  # width of the network that makes position biases
_BIAS_RANGE = 16.0
_COORDINATES = 8.0  # offsets are scaled to -8 .. 8, then taken log2
# Added to logits between parts of a shifted window that are no neighbours in the image. The article
# has -100; transformers, whose weights and code the release uses, adds it twice.
_APART = -200.0


class Swin(nn.Module):
    """Patches in windows that shift, merged 2 x 2 between stages; attention by scaled cosines.

    As in transformers' Swinv2Model a window is square, min(window, height of the grid) wide, even
    where the grid is narrower: zeros then fill it, which are seen like patches.

    Parameters: patch_embed (kernel [patch, patch, 3, D], bias), patch_norm, stage_0 .. (see
    `Stage`), norm.
    """

    image_size: tuple[int, int]  # height, width in pixels
    patch: int
    width: int  # of the first stage; doubles with each
    depths: tuple[int, ...]  # blocks of each stage
    heads: tuple[int, ...]
    window: int  # side in patches
    mlp_ratio: int
    drop_path: float  # of the last block; grows linearly from 0 at the first
    remat: bool  # computes each block again on the way back, to save memory
    init_std: float = 0.02
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Encodes images to tokens.

        Args:
          images: f32[B, h, w, 3], normalised, (h, w) = `image_size`.
          train: True applies stochastic depth with the rng stream 'dropout'.

        Returns:
          f32[B, N, D 2^(stages - 1)] after the final norm, row by row: of 384 x 192 pixels in
          patches of 4 and 4 stages 12 x 6 tokens.

        Raises:
          ValueError: images of another size, a size that is no multiple of the patch or too small
            for the stages, or not as many depths as heads.
        """
        height, width = self.image_size
        if height % self.patch or width % self.patch:
            raise ValueError(
                f"image_size must be a multiple of patch = {self.patch}, got {self.image_size}"
            )
        if images.shape[1:] != (height, width, 3):
            raise ValueError(f"images must be [B, {height}, {width}, 3], got {images.shape}")
        if len(self.depths) != len(self.heads):
            raise ValueError(
                f"depths and heads must have a number a stage, got {self.depths} and {self.heads}"
            )
        grid = (height // self.patch, width // self.patch)
        if grid[0] < 2 ** (len(self.depths) - 1):
            raise ValueError(
                f"image_size {self.image_size} is too small for {len(self.depths)} stages and "
                f"patch = {self.patch}"
            )
        init = nn.initializers.normal(self.init_std)
        embed = nn.DenseGeneral(
            self.width, axis=(-3, -2, -1), dtype=self.dtype, kernel_init=init, name="patch_embed"
        )
        x = norm("patch_norm", _EPSILON)(embed(to_patches(images, self.patch)))
        x = x.astype(self.dtype).reshape(len(images), *grid, self.width)
        rates = drop_rates(self.drop_path, self.depths)
        for i, heads in enumerate(self.heads):
            stage = Stage(
                heads=heads,
                drop_path=rates[i],
                # By the height of a grid whose odd rows are cut; merging fills them up instead.
                side=min(self.window, grid[0] // 2**i),
                shift=self.window // 2 if grid[0] // 2**i > self.window else 0,
                merges=i < len(self.depths) - 1,
                mlp_ratio=self.mlp_ratio,
                remat=self.remat,
                init_std=self.init_std,
                dtype=self.dtype,
                name=f"stage_{i}",
            )
            x = stage(x, train)
        x = x.reshape(len(images), -1, x.shape[-1])
        return norm("norm", _EPSILON)(x)


class Stage(nn.Module):
    """Blocks of one width, every second with shifted windows, then the merging of patches.

    Parameters: blocks_0 .. (see `Block`), and but for the last stage merge (kernel [4 D, 2 D]) and
    merge_norm.
    """

    heads: int
    drop_path: tuple[float, ...]  # of each block
    side: int  # of a window
    shift: int
    merges: bool
    mlp_ratio: int
    remat: bool
    init_std: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [B, h, w, D] to [B, h / 2, w / 2, 2 D], upper halves, or to itself where last."""
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        for i, rate in enumerate(self.drop_path):
            x = block(
                heads=self.heads,
                drop_path=rate,
                side=self.side,
                shift=self.shift if i % 2 else 0,
                mlp_ratio=self.mlp_ratio,
                init_std=self.init_std,
                dtype=self.dtype,
                name=f"blocks_{i}",
            )(x, train)
        if not self.merges:
            return x
        _, h, w, D = x.shape
        x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
        corners = (x[:, row::2, column::2] for column in (0, 1) for row in (0, 1))
        x = jnp.concatenate(list(corners), axis=-1)
        init = nn.initializers.normal(self.init_std)
        reduce = nn.Dense(2 * D, use_bias=False, dtype=self.dtype, kernel_init=init, name="merge")
        return norm("merge_norm", _EPSILON)(reduce(x)).astype(self.dtype)


class Block(nn.Module):
    """x + norm1(attention(x)), then x + norm2(mlp(x)); either branch may be dropped.

    Parameters: attn (see `WindowAttention`), norm1, mlp (fc1, fc2), norm2.
    """

    heads: int
    drop_path: float
    side: int
    shift: int
    mlp_ratio: int
    init_std: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [B, h, w, D] to [B, h, w, D]."""
        _, h, w, D = x.shape
        init = nn.initializers.normal(self.init_std)

        def add(x: jax.Array, branch: jax.Array, name: str) -> jax.Array:
            drop = nn.Dropout(self.drop_path, broadcast_dims=(1, 2, 3), deterministic=not train)
            return x + drop(norm(name, _EPSILON)(branch).astype(self.dtype))

        s = self.side
        padded = jnp.pad(x, ((0, 0), (0, -h % s), (0, -w % s), (0, 0)))
        grid = padded.shape[1:3]
        windows = to_windows(jnp.roll(padded, (-self.shift, -self.shift), (1, 2)), s)
        apart = jnp.asarray(shifted_apart(grid, s, self.shift)) if self.shift else None
        attention = WindowAttention(self.heads, s, init, self.dtype, name="attn")
        out = from_windows(attention(windows, apart), grid)
        out = jnp.roll(out, (self.shift, self.shift), (1, 2))[:, :h, :w]
        x = add(x, out, "norm1")
        return add(x, Mlp(self.mlp_ratio * D, init, self.dtype, name="mlp")(x), "norm2")


class WindowAttention(nn.Module):
    """softmax(scale cos(Q, K) + position bias) V within windows, a scale a head.

    Parameters: query, value (kernel [D, H, d], bias [H, d]), key (kernel alone), out (kernel
    [H, d, D], bias), logit_scale [H], its logarithm, and position_fc1 (kernel [2, 512], bias) and
    position_fc2 (kernel [512, H]), which make the bias of an offset.
    """

    heads: int
    side: int
    kernel_init: Initializer
    dtype: Dtype

    @nn.compact
    def __call__(self, windows: jax.Array, apart: jax.Array | None) -> jax.Array:
        """Maps [B, W, side^2, D] to the same.

        Args:
          windows: [B, W, side^2, D], W windows of an image.
          apart: f32[W, side^2, side^2] added to the logits; None adds nothing.
        """
        D = windows.shape[-1]

        def project(name: str, bias: bool) -> jax.Array:
            return nn.DenseGeneral(
                (self.heads, D // self.heads), use_bias=bias, dtype=self.dtype,
                kernel_init=self.kernel_init, name=name,
            )(windows)  # fmt: skip

        query, key, value = project("query", True), project("key", False), project("value", True)
        start = nn.initializers.constant(np.log(_START_SCALE))
        scale = self.param("logit_scale", start, (self.heads,))
        scale = jnp.exp(jnp.minimum(scale, np.log(_LARGEST_SCALE)))
        logits = jnp.einsum(
            "bwlhd,bwshd->bwhls",
            unit(query.astype(jnp.float32)),
            unit(key.astype(jnp.float32)),
        )
        logits = logits * scale.reshape(1, 1, -1, 1, 1) + self._position_bias()[None, None]
        if apart is not None:
            logits = logits + apart[None, :, None]
        weights = jax.nn.softmax(logits, axis=-1).astype(self.dtype)
        out = jnp.einsum("bwhls,bwshd->bwlhd", weights, value)
        dense = nn.DenseGeneral(
            D, axis=(-2, -1), dtype=self.dtype, kernel_init=self.kernel_init, name="out"
        )
        return dense(out)

    def _position_bias(self) -> jax.Array:
        """f32[H, side^2, side^2]."""
        table, index = relative_offsets(self.side)
        table = jnp.asarray(table, jnp.float32)
        hidden = nn.Dense(_BIAS_HIDDEN, kernel_init=self.kernel_init, name="position_fc1")(table)
        bias = nn.Dense(
            self.heads, use_bias=False, kernel_init=self.kernel_init, name="position_fc2"
        )(nn.relu(hidden))
        return _BIAS_RANGE * jax.nn.sigmoid(bias)[index].transpose(2, 0, 1)


def drop_rates(last: float, depths: tuple[int, ...]) -> list[tuple[float, ...]]:
    """Returns for each stage how likely each block is dropped: from 0 to `last` in equal steps."""
    rates = np.linspace(0.0, last, sum(depths)).tolist()
    return [tuple(rates[sum(depths[:i]) :][:depth]) for i, depth in enumerate(depths)]


def relative_offsets(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns all offsets within a window, and which of them each pair of its patches has.

    Returns:
      f64[(2 side - 1)^2, 2] of row and column, sign(x) log2(1 + |x|) / 3 of offsets scaled to
      -8 .. 8; i32[side^2, side^2], row of it of a patch less another.
    """
    offsets = np.stack(np.mgrid[1 - side : side, 1 - side : side], axis=-1).reshape(-1, 2)
    scaled = offsets * _COORDINATES / max(side - 1, 1)
    table = np.sign(scaled) * np.log2(np.abs(scaled) + 1.0) / np.log2(_COORDINATES)
    places = np.stack(np.mgrid[:side, :side], axis=-1).reshape(-1, 2)
    between = places[:, None] - places[None] + side - 1
    index = between[..., 0] * (2 * side - 1) + between[..., 1]
    return table, index.astype(np.int32)


def shifted_apart(grid: tuple[int, int], side: int, shift: int) -> np.ndarray:
    """Returns f32[W, side^2, side^2], below 0 for patches of a shifted window that are far apart.

    Args:
      grid: height and width in patches, multiples of `side`.
      side: of a window.
      shift: by which the grid was rolled, > 0.
    """
    rows, columns = (
        (np.arange(n) >= n - side).astype(int) + (np.arange(n) >= n - shift) for n in grid
    )
    region = (rows[:, None] * 3 + columns)[None, ..., None]
    region = np.asarray(to_windows(region, side))[0, ..., 0]  # [W, side^2]
    return np.where(region[:, None] == region[..., None], 0.0, _APART).astype(np.float32)


def to_windows(x: jax.Array | np.ndarray, side: int) -> jax.Array | np.ndarray:
    """Returns [B, W, side^2, D] of [B, h, w, D], multiples of `side`; row by row."""
    B, h, w, D = x.shape
    x = x.reshape(B, h // side, side, w // side, side, D).swapaxes(2, 3)
    return x.reshape(B, -1, side * side, D)


def from_windows(windows: jax.Array, grid: tuple[int, int]) -> jax.Array:
    """Returns [B, *grid, D] of what `to_windows` made of it."""
    B, _, area, D = windows.shape
    side, (h, w) = int(area**0.5), grid
    x = windows.reshape(B, h // side, w // side, side, side, D).swapaxes(2, 3)
    return x.reshape(B, h, w, D)
