"""Llama as an encoder equals transformers', and can stand at the size of Llama 3.2 1B.

tests/goldens/llama.npz is made by tools/goldens_swin_llama.py; its names are converted by the table
of jaxreid.weights.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from tiny import QUICK

from jaxreid.models.llama import Llama, Rope, frequencies, rotate
from jaxreid.weights import names
from jaxreid.weights.convert import Target, to_ours, to_published

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "llama.npz"
FIELDS = {
    "vocabulary": 41, "width": 32, "depth": 3, "heads": 4, "key_heads": 2, "mlp": 48,
    "epsilon": 1e-5, "max_positions": 64, "rope": Rope(500.0, 32.0, 1.0, 4.0, 64),
}  # fmt: skip
FULL = {
    "vocabulary": 128_256, "width": 2048, "depth": 16, "heads": 32, "key_heads": 8, "mlp": 8192,
    "epsilon": 1e-5, "max_positions": 131_072, "rope": Rope(500_000.0, 32.0, 1.0, 4.0, 8192),
}  # fmt: skip


def llama(**fields) -> Llama:
    return Llama(**({"remat": False} | FIELDS | fields))


def made(model: Llama):
    """Shapes of the parameters that a model makes."""
    tokens = jnp.zeros((1, 8), jnp.int32)
    return jax.eval_shape(model.init, jax.random.key(0), tokens, tokens == 0)["params"]


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
        name: leaf.shape for name, leaf in flatten_dict({"text": made(llama())}, sep="/").items()
    }
    arrays, report = to_ours(
        state, names.find("llama"), Target(shapes), source="llama.npz", dtype=dtype
    )
    assert not report.unused
    back, _ = to_published(arrays, names.find("llama"))
    assert back.keys() == state.keys()
    for name, array in back.items():
        np.testing.assert_array_equal(array, state[name].astype(dtype))
    return unflatten_dict(arrays, sep="/")["text"]


def compiled():
    """Parameters, tokens, mask, probe -> ((scalar, hidden states), gradients)."""
    model = llama(remat=True)

    def scalar(params, tokens, mask, probe):
        hidden = model.apply({"params": params}, tokens, mask)
        return (hidden * probe).sum(-1).mean(), hidden

    return jax.jit(jax.value_and_grad(scalar, has_aux=True), compiler_options=QUICK)


@pytest.fixture(scope="module")
def run():
    return compiled()


def differences(dtype) -> dict[str, float]:
    """Largest differences of outputs and gradients, for a process in which float32 is `dtype`."""
    golden = stored()
    inputs = [golden["input/tokens"], golden["input/mask"], golden["input/probe"].astype(dtype)]
    (_, hidden), gradients = compiled()(tree(golden, "weight", dtype), *inputs)
    found = {"hidden": np.abs(hidden * inputs[1][..., None] - golden["output/hidden"]).max()}
    want = flatten_dict(tree(golden, "gradient", dtype), sep="/")
    for name, gradient in flatten_dict(gradients, sep="/").items():
        found[name] = np.abs(gradient - want[name]).max()
    return {name: float(difference) for name, difference in found.items()}


@pytest.fixture(scope="module")
def params(golden):
    return jax.tree.map(jnp.asarray, tree(golden, "weight"))


@pytest.fixture(scope="module")
def result(golden, params, run):
    return run(params, *(golden[f"input/{name}"] for name in ("tokens", "mask", "probe")))


def test_hidden_states_equal_transformers(golden, result):
    mask = golden["input/mask"]
    np.testing.assert_allclose(
        result[0][1] * mask[..., None], golden["output/hidden"], rtol=0, atol=1e-5
    )


def test_gradients_equal_transformers(golden, result):
    expected = tree(golden, "gradient")
    assert jax.tree.structure(result[1]) == jax.tree.structure(expected)
    for (path, got), want in zip(
        jax.tree_util.tree_leaves_with_path(result[1]), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5, err_msg=jax.tree_util.keystr(path))


def test_a_token_sees_those_before_it_alone(golden, params, run, result):
    """Other tokens behind it, or in the padding, change nothing."""
    tokens, mask, probe = (golden[f"input/{name}"] for name in ("tokens", "mask", "probe"))
    later = np.where(np.arange(19) > 6, (tokens + 5) % 41, tokens)
    hidden = run(params, later, mask, probe)[0][1]
    np.testing.assert_allclose(hidden[:, :7], result[0][1][:, :7], rtol=0, atol=1e-6)
    assert np.abs(hidden[0, 7:] - result[0][1][0, 7:]).max() > 0.1
    padding = run(params, np.where(mask, tokens, 7), mask, probe)[0][1]
    np.testing.assert_allclose(padding[mask], result[0][1][mask], rtol=0, atol=1e-6)


def test_the_product_of_rotated_vectors_depends_on_their_distance_alone():
    rng = np.random.default_rng(0)
    query, key = (np.broadcast_to(rng.normal(size=8), (1, 20, 1, 8)) for _ in range(2))
    angles = np.outer(np.arange(20), frequencies(8, FIELDS["rope"]))
    rotation = jnp.asarray([np.cos(angles), np.sin(angles)], jnp.float32)
    query, key = (rotate(jnp.asarray(x, jnp.float32), rotation)[0, :, 0] for x in (query, key))
    products = np.asarray(query @ key.T)
    np.testing.assert_allclose(products[5:, 5:], products[:-5, :-5], rtol=0, atol=1e-5)
    assert np.abs(products[0] - products[0, 0])[1:].min() > 1e-3


def test_long_waves_alone_are_stretched():
    rope = Rope(500.0, 32.0, 1.0, 4.0, 64)
    plain, found = 500.0 ** (-np.arange(0, 8, 2) / 8), frequencies(8, rope)
    fit = 64 * plain / (2 * np.pi)  # waves in 64 tokens
    assert fit[0] > 4
    assert 1 < fit[1] < 4
    assert fit[2] < 1
    np.testing.assert_allclose(found[0], plain[0])
    assert plain[1] / 32 < found[1] < plain[1]
    np.testing.assert_allclose(found[2:], plain[2:] / 32)


def test_full_size_is_llama_3_2_1b():
    """1.236 B parameters, kept in float32, computed in bfloat16."""
    model = llama(dtype=jnp.bfloat16, **FULL)
    shapes = made(model)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 1_235_814_400
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(shapes))
    tokens = jax.ShapeDtypeStruct((2, 400), np.int32)
    mask = jax.ShapeDtypeStruct((2, 400), bool)
    hidden = jax.eval_shape(lambda p, *x: model.apply({"params": p}, *x), shapes, tokens, mask)
    assert (hidden.shape, hidden.dtype) == ((2, 400, 2048), np.float32)


@pytest.mark.parametrize(
    ("fields", "shape", "message"),
    [
        ({}, (1, 65), "at most max_positions = 64 tokens, got 65"),
        ({"heads": 3}, (1, 8), "width must be a multiple of 2 heads"),
        ({"key_heads": 3}, (1, 8), "got 32, 4 and 3"),
    ],
)
def test_sizes_that_cannot_be_are_refused(fields, shape, message):
    tokens = jnp.zeros(shape, jnp.int32)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(llama(**fields).init, jax.random.key(0), tokens, tokens == 0)


def test_tokens_and_mask_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"must both be \[B, L\], got \(1, 8\) and \(1, 7\)"):
        jax.eval_shape(
            llama().init, jax.random.key(0), jnp.zeros((1, 8), jnp.int32), jnp.ones((1, 7), bool)
        )
