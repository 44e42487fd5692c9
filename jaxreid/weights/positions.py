"""Position embeddings of one image grid interpolated to another, exactly as PyTorch does it.

`jax.image.resize` cannot stand in: its cubic kernel has a = -0.5 and it smooths when it shrinks,
where `torch.nn.functional.interpolate(align_corners=False)` has a = -0.75 and never smooths.
"""

import numpy as np

_CUBIC_A = -0.75
METHODS = ("bicubic", "bilinear")


def resize_positions(
    positions: np.ndarray,
    old_grid: tuple[int, int],
    new_grid: tuple[int, int],
    method: str,
    cls_tokens: int = 1,
) -> np.ndarray:
    """Interpolates the patch positions of `old_grid` to `new_grid`; [CLS] stays.

    ALBEF and BLIP interpolate bicubic, IRRA bilinear. The grids need not be square.

    Args:
      positions: f32[1, cls_tokens + h * w, D], patches row by row.
      old_grid: (h, w) in patches.
      new_grid: (h, w) in patches.
      method: "bicubic" or "bilinear".
      cls_tokens: number of leading tokens that have no place in the grid.

    Returns:
      f32[1, cls_tokens + h' * w', D]; an equal copy if the grids are equal.

    Raises:
      ValueError: the shape does not fit `old_grid`, a grid is empty, or the method is unknown.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    if min(*old_grid, *new_grid) < 1:
        raise ValueError(f"grids must be at least 1 by 1, got {old_grid} and {new_grid}")
    expected = cls_tokens + old_grid[0] * old_grid[1]
    if positions.ndim != 3 or positions.shape[0] != 1 or positions.shape[1] != expected:
        raise ValueError(
            f"positions must be [1, {expected}, D] for grid {old_grid} and {cls_tokens} [CLS], "
            f"got {positions.shape}"
        )
    if tuple(old_grid) == tuple(new_grid):
        return np.array(positions)
    cls, patches = positions[0, :cls_tokens], positions[0, cls_tokens:]
    patches = patches.reshape(*old_grid, -1)
    rows = _weights(old_grid[0], new_grid[0], method)
    columns = _weights(old_grid[1], new_grid[1], method)
    resized = np.einsum("yh,xw,hwd->yxd", rows, columns, patches.astype(np.float64), optimize=True)
    resized = resized.reshape(-1, positions.shape[-1]).astype(positions.dtype)
    return np.concatenate([cls, resized])[None]


def _weights(old: int, new: int, method: str) -> np.ndarray:
    """f64[new, old] interpolation matrix of one axis; rows sum to 1."""
    centre = (np.arange(new) + 0.5) * old / new - 0.5  # of new cells, counted in old cells
    offsets = (-1, 0, 1, 2) if method == "bicubic" else (0, 1)
    first = np.floor(centre).astype(int)
    matrix = np.zeros((new, old))
    for offset in offsets:
        distance = np.abs(centre - (first + offset))
        weight = _cubic(distance) if method == "bicubic" else 1.0 - distance
        # Cells beyond the border repeat it, so several weights may meet in one cell.
        np.add.at(matrix, (np.arange(new), np.clip(first + offset, 0, old - 1)), weight)
    return matrix


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' convolution kernel at distances 0 <= x <= 2."""
    a = _CUBIC_A
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, far)
