"""Interpolated positions equal torch.nn.functional.interpolate (tests/goldens/positions.npz)."""

import pathlib

import numpy as np
import pytest

from jaxreid.weights.positions import resize_positions

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "positions.npz"
GRIDS = ("16x16/24x8", "16x16/24x24", "14x14/24x8", "24x8/16x16", "4x3/3x7", "2x2/5x1", "1x1/2x3")


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
@pytest.mark.parametrize("grids", GRIDS)
def test_positions_equal_pytorch(method, grids):
    old, new = (tuple(int(n) for n in grid.split("x")) for grid in grids.split("/"))
    with np.load(GOLDEN) as golden:
        positions, expected = (golden[f"{method}/{grids}/{name}"] for name in ("old", "new"))
    resized = resize_positions(positions, old, new, method)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, expected, rtol=0, atol=1e-5)


def test_the_file_holds_no_grid_beyond_those_tested():
    with np.load(GOLDEN) as golden:
        assert {key.split("/", 1)[1].rsplit("/", 1)[0] for key in golden} == set(GRIDS)


def test_leading_tokens_are_copied_and_equal_grids_change_nothing():
    positions = np.random.default_rng(0).normal(size=(1, 2 + 6, 4)).astype(np.float32)
    resized = resize_positions(positions, (2, 3), (4, 2), "bicubic", cls_tokens=2)
    assert resized.shape == (1, 2 + 8, 4)
    np.testing.assert_array_equal(resized[:, :2], positions[:, :2])
    same = resize_positions(positions, (2, 3), (2, 3), "bicubic", cls_tokens=2)
    np.testing.assert_array_equal(same, positions)
    assert not np.shares_memory(same, positions)


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
def test_a_constant_stays_constant(method):
    positions = np.full((1, 1 + 12, 2), 3.0, np.float32)
    resized = resize_positions(positions, (4, 3), (7, 5), method)
    np.testing.assert_allclose(resized, 3.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"method": "cubic"}, "bicubic.*got 'cubic'"),
        ({"old_grid": (3, 5)}, r"\[1, 16, D\]"),
        ({"new_grid": (0, 4)}, "at least 1 by 1"),
        ({"cls_tokens": 0}, r"\[1, 12, D\]"),
    ],
)
def test_wrong_arguments_are_named(changed, message):
    arguments = {"old_grid": (4, 3), "new_grid": (2, 2), "method": "bicubic", "cls_tokens": 1}
    with pytest.raises(ValueError, match=message):
        resize_positions(np.zeros((1, 13, 2), np.float32), **arguments | changed)
