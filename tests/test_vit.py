"""The ViT equals PyTorch's (tests/goldens/vit.npz, made by tools/goldens.py)."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from converted import converted, shapes, under

from jaxreid.models.vit import ViT, normalise

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "vit.npz"
SIZES = {"image_size": (48, 32), "patch": 8, "width": 32, "depth": 2, "heads": 4, "mlp": 64}


def tree(golden, kind: str) -> dict:
    """Our parameters from timm's names; `kind` is 'weight' or 'gradient'."""
    network = {"vit": shapes(ViT(**SIZES), np.zeros((1, *SIZES["image_size"], 3), np.float32))}
    return converted(under(golden, f"{kind}/"), "vit", network, (6, 4))["vit"]


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def result(golden):
    """Tokens, and gradients of the scalar of the parity file."""

    @jax.jit
    @jax.value_and_grad
    def scalar(params):
        tokens = ViT(**SIZES).apply({"params": params}, golden["input/images"])
        return (tokens * golden["input/probe"]).sum(-1).mean()

    params = tree(golden, "weight")
    tokens = jax.jit(ViT(**SIZES).apply)({"params": params}, golden["input/images"])
    return tokens, scalar(params)[1]


def test_tokens_equal_pytorch(golden, result):
    np.testing.assert_allclose(result[0], golden["output/tokens"], rtol=0, atol=1e-5)


def test_gradients_of_all_parameters_equal_pytorch(golden, result):
    expected = tree(golden, "gradient")
    assert jax.tree.structure(expected) == jax.tree.structure(result[1])
    jax.tree.map(
        lambda g, e: np.testing.assert_allclose(g, e, rtol=0, atol=1e-5), result[1], expected
    )


def test_init_makes_the_same_tree_and_shapes(golden):
    made = jax.eval_shape(ViT(**SIZES).init, jax.random.key(0), golden["input/images"])
    expected = jax.tree.map(jnp.shape, tree(golden, "weight"))
    assert jax.tree.map(jnp.shape, made["params"]) == expected


def test_bfloat16_is_close_and_comes_back_as_float32(golden, result):
    model = ViT(**SIZES, dtype=jnp.bfloat16)
    tokens = jax.jit(model.apply)({"params": tree(golden, "weight")}, golden["input/images"])
    assert tokens.dtype == jnp.float32
    error = np.abs(np.asarray(tokens - result[0]))
    assert 0 < error.max() < 0.15
    assert error.mean() < 0.02


def test_drop_path_drops_whole_images_in_the_last_block_only_at_train_time(golden):
    # The first block has rate 0; the only random block makes an image keep or lose two branches.
    model = ViT(**SIZES, drop_path=0.5)
    params = tree(golden, "weight")
    images = jnp.repeat(golden["input/images"][:1], 64, axis=0)
    apply = jax.jit(model.apply, static_argnames="train")
    still = apply({"params": params}, images)
    assert np.ptp(still, axis=0).max() < 1e-6
    rngs = {"dropout": jax.random.key(3)}
    tokens = np.asarray(apply({"params": params}, images, train=True, rngs=rngs))
    kinds = np.unique(tokens.round(4).reshape(64, -1), axis=0)
    assert len(kinds) == 4
    again = apply({"params": params}, images, train=True, rngs=rngs)
    np.testing.assert_array_equal(tokens, again)


def test_dropout_of_everything_leaves_the_bias_of_the_last_norm(golden):
    params = tree(golden, "weight")
    tokens = jax.jit(
        lambda params: ViT(**SIZES, dropout=1.0).apply(
            {"params": params},
            golden["input/images"],
            train=True,
            rngs={"dropout": jax.random.key(0)},
        )
    )(params)
    np.testing.assert_array_equal(tokens, np.broadcast_to(params["norm"]["bias"], tokens.shape))


def test_weights_start_normal_with_deviation_002_and_biases_at_zero(golden):
    made = jax.jit(ViT(**SIZES).init)(jax.random.key(0), golden["input/images"])["params"]
    for path, leaf in jax.tree.leaves_with_path(made):
        name = path[-1].key
        if name in ("kernel", "cls_token", "pos_embed"):
            assert 0.01 < leaf.std() < 0.03, path
        else:
            assert (leaf == (1.0 if name == "scale" else 0.0)).all(), path


def test_normalise_maps_bytes_to_standard_units():
    images = np.zeros((1, 1, 2, 3), np.uint8)
    images[0, 0, 1] = 255
    out = normalise(images, (0.5, 0.25, 0.1), (0.5, 0.25, 0.2))
    np.testing.assert_allclose(out[0, 0], [[-1, -1, -0.5], [1, 3, 4.5]], rtol=1e-6)
    with pytest.raises(ValueError, match="u8"):
        normalise(images.astype(np.float32), (0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    ("size", "shape", "message"),
    [((48, 30), (1, 48, 30, 3), "multiple of patch = 8"), ((48, 32), (1, 32, 48, 3), "48, 32, 3")],
)
def test_wrong_sizes_are_named(size, shape, message):
    model = ViT(**SIZES | {"image_size": size})
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))
