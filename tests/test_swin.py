"""Swin-V2 equals transformers', tokens and gradients, and can stand at the release's size.

tests/goldens/swin.npz is made by tools/goldens_swin_llama.py; its names are converted by the table
of jaxreid.weights.
"""

import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from tiny import QUICK

from jaxreid.models.swin import (
    Swin,
    drop_rates,
    from_windows,
    relative_offsets,
    shifted_apart,
    to_windows,
)
from jaxreid.weights import names
from jaxreid.weights.convert import Target, to_ours, to_published

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "swin.npz"
SIZES = ((48, 24), (28, 36))
FIELDS = {"patch": 4, "width": 16, "depths": (2, 2), "heads": (2, 4), "window": 6, "mlp_ratio": 2}
FULL = {
    "patch": 4, "width": 128, "depths": (2, 2, 18, 2), "heads": (4, 8, 16, 32), "window": 12,
    "mlp_ratio": 4,
}  # fmt: skip


def swin(size, **fields) -> Swin:
    return Swin(**({"image_size": size, "drop_path": 0.0, "remat": False} | FIELDS | fields))


def made(model: Swin):
    """Shapes of the parameters that a model makes."""
    images = jax.ShapeDtypeStruct((1, *model.image_size, 3), np.float32)
    return jax.eval_shape(model.init, jax.random.key(0), images)["params"]


def stored():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def golden():
    return stored()


def tree(golden, kind, dtype=np.float32):
    """Our parameters, or gradients of them."""
    state = {k.removeprefix(f"{kind}/"): x for k, x in golden.items() if k.startswith(f"{kind}/")}
    shapes = {
        name: leaf.shape
        for name, leaf in flatten_dict({"vit": made(swin(SIZES[0]))}, sep="/").items()
    }
    arrays, report = to_ours(
        state, names.find("swin"), Target(shapes), source="swin.npz", dtype=dtype
    )
    assert not report.unused
    back, _ = to_published(arrays, names.find("swin"))
    assert back.keys() == {f"swinv2.{name}" for name in state}
    for name, array in state.items():
        np.testing.assert_array_equal(back[f"swinv2.{name}"], array.astype(dtype))
    return unflatten_dict(arrays, sep="/")["vit"]


@pytest.fixture(scope="module")
def params(golden):
    return jax.tree.map(jnp.asarray, tree(golden, "weight"))


def run(golden, params, dtype=np.float32):
    """((scalar, tokens), gradients) of the first size, with blocks computed twice."""
    model = swin(SIZES[0], remat=True)
    images, probe = (golden[f"input/{name}"].astype(dtype) for name in ("images_0", "probe"))

    def scalar(params):
        tokens = model.apply({"params": params}, images)
        return (tokens * probe).sum(-1).mean(), tokens

    return jax.jit(jax.value_and_grad(scalar, has_aux=True), compiler_options=QUICK)(params)


@pytest.fixture(scope="module")
def result(golden, params):
    return run(golden, params)


def differences(dtype) -> dict[str, float]:
    """Largest differences of tokens and gradients, for a process in which float32 is `dtype`."""
    golden = stored()
    (_, tokens), gradients = run(golden, tree(golden, "weight", dtype), dtype)
    found = {"tokens": np.abs(tokens - golden["output/tokens_0"]).max()}
    want = flatten_dict(tree(golden, "gradient", dtype), sep="/")
    for name, gradient in flatten_dict(gradients, sep="/").items():
        found[name] = np.abs(gradient - want[name]).max()
    return {name: float(difference) for name, difference in found.items()}


def test_tokens_equal_transformers_where_the_last_grid_is_narrower_than_a_window(golden, result):
    np.testing.assert_allclose(result[0][1], golden["output/tokens_0"], rtol=0, atol=1e-5)


def test_tokens_equal_transformers_where_windows_shrink_and_grids_are_odd(golden, params):
    model = swin(SIZES[1])
    encode = jax.jit(lambda p, x: model.apply({"params": p}, x), compiler_options=QUICK)
    tokens = encode(params, golden["input/images_1"])
    np.testing.assert_allclose(tokens, golden["output/tokens_1"], rtol=0, atol=1e-5)


def test_gradients_equal_transformers(golden, result):
    """To 5e-5, by which transformers in float32 is away from the double precision it had here."""
    expected = tree(golden, "gradient")
    assert jax.tree.structure(result[1]) == jax.tree.structure(expected)
    for (path, got), want in zip(
        jax.tree_util.tree_leaves_with_path(result[1]), jax.tree.leaves(expected), strict=True
    ):
        scale = max(1.0, np.abs(want).max())
        np.testing.assert_allclose(
            got / scale, want / scale, rtol=0, atol=5e-5, err_msg=jax.tree_util.keystr(path)
        )


def test_a_scale_beyond_its_limit_does_not_learn(golden, result):
    scale = golden["weight/encoder.layers.1.blocks.1.attention.self.logit_scale"].reshape(-1)
    gradient = result[1]["stage_1"]["blocks_1"]["attn"]["logit_scale"]
    np.testing.assert_array_equal(scale > np.log(100), [True, False, False, False])
    np.testing.assert_array_equal(gradient == 0, scale > np.log(100))


def test_windows_are_put_back_where_they_were():
    x = np.arange(2 * 6 * 4 * 3).reshape(2, 6, 4, 3)
    windows = to_windows(x, 2)
    assert windows.shape == (2, 6, 4, 3)
    np.testing.assert_array_equal(windows[1, 3], x[1, 2:4, 2:4].reshape(4, 3))
    np.testing.assert_array_equal(from_windows(windows, (6, 4)), x)


def test_each_pair_of_patches_finds_its_offset():
    table, index = relative_offsets(4)
    for a in range(16):
        for b in range(16):
            offset = np.array([a // 4 - b // 4, a % 4 - b % 4]) * 8 / 3
            want = np.sign(offset) * np.log2(1 + np.abs(offset)) / 3
            np.testing.assert_allclose(table[index[a, b]], want, rtol=1e-6)


def test_patches_far_apart_in_the_image_do_not_see_each_other_in_a_shifted_window():
    """Of a 6 x 4 grid rolled by 1 in windows of 2 x 2, as transformers does it: -100, twice."""
    apart = shifted_apart((6, 4), 2, 1)
    rolled = np.roll(np.arange(24).reshape(6, 4), (-1, -1), (0, 1))
    for window, found in zip(to_windows(rolled[None, ..., None], 2)[0, ..., 0], apart, strict=True):
        for a, row in zip(window, found, strict=True):
            for b, value in zip(window, row, strict=True):
                near = max(abs(a // 4 - b // 4), abs(a % 4 - b % 4)) < 2
                assert value == (0 if near else -200)


def test_blocks_are_dropped_the_likelier_the_later_they_are():
    rates = drop_rates(0.6, (1, 2, 1))
    assert [len(stage) for stage in rates] == [1, 2, 1]
    np.testing.assert_allclose(np.concatenate(rates), [0, 0.2, 0.4, 0.6])


def test_blocks_after_the_first_are_dropped_in_training(params, golden):
    images = golden["input/images_0"]
    one = swin(SIZES[0], depths=(1,), heads=(2,), drop_path=0.9)
    some = swin(SIZES[0], drop_path=0.9)

    @partial(jax.jit, compiler_options=QUICK)
    def run(params, images, key):
        def tokens(model, train):
            variables = {"params": params}
            return model.apply(variables, images, train=train, rngs={"dropout": key})

        first = params | {"norm": params["stage_0"]["blocks_0"]["norm1"]}
        still, moved = (
            one.apply({"params": first}, images, train=train, rngs={"dropout": key})
            for train in (False, True)
        )
        return still, moved, tokens(some, False), tokens(some, True)

    still, moved, whole, dropped = run(params, images, jax.random.key(0))
    np.testing.assert_array_equal(still, moved)
    np.testing.assert_allclose(whole, golden["output/tokens_0"], rtol=0, atol=1e-5)
    assert np.abs(dropped - whole).max() > 0.1


def test_full_size_is_swin_v2_base():
    """86.9 M parameters; 12 x 6 tokens of 1,024 channels."""
    model = swin((384, 192), dtype=jnp.bfloat16, **FULL)
    shapes = made(model)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 86_893_816
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(shapes))
    images = jax.ShapeDtypeStruct((3, 384, 192, 3), np.float32)
    tokens = jax.eval_shape(lambda p, x: model.apply({"params": p}, x), shapes, images)
    assert (tokens.shape, tokens.dtype) == ((3, 72, 1024), np.float32)


@pytest.mark.parametrize(
    ("fields", "images", "message"),
    [
        ({}, (24, 48), r"images must be \[B, 48, 24, 3\], got \(1, 24, 48, 3\)"),
        ({"patch": 5}, (48, 24), r"image_size must be a multiple of patch = 5, got \(48, 24\)"),
        ({"heads": (2,)}, (48, 24), r"depths and heads must have a number a stage"),
        (
            {"depths": (1,) * 5, "heads": (2,) * 5},
            (48, 24),
            r"image_size \(48, 24\) is too small for 5 stages and patch = 4",
        ),
    ],
)
def test_sizes_that_cannot_be_are_refused(fields, images, message):
    model = swin(SIZES[0], **fields)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *images, 3)))
