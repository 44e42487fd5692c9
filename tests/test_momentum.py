"""Momentum weights follow PyTorch's; queues are first in, first out; projections are unit."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.models.momentum import ema
from jaxreid.models.projection import Projection, unit
from jaxreid.models.queue import push

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "losses.npz"


def test_three_momentum_updates_equal_pytorch():
    with np.load(GOLDEN) as golden:
        old, new, decay, expected = (
            golden[f"momentum/{name}"] for name in ("old", "new", "decay", "result")
        )
    params = {"a": jnp.asarray(old)}
    for step in new:
        params = ema(params, {"a": jnp.asarray(step)}, float(decay))
    np.testing.assert_allclose(params["a"], expected, rtol=0, atol=1e-6)


def test_momentum_keeps_the_dtype_and_refuses_other_trees_and_decays():
    old = {"a": jnp.ones(2, jnp.bfloat16)}
    new = {"a": jnp.zeros(2)}
    assert ema(old, new, 0.5)["a"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(ema(old, new, 1.0)["a"], old["a"])
    np.testing.assert_array_equal(ema(old, new, 0.0)["a"], new["a"])
    with pytest.raises(ValueError):
        ema(old, {"b": jnp.zeros(2)}, 0.5)
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\], got 1.5"):
        ema(old, new, 1.5)


def test_queue_drops_the_oldest_and_keeps_its_length():
    queue, ids = np.arange(14.0).reshape(7, 2), np.arange(7)
    held = list(range(7))  # a list that drops from its end
    step = jax.jit(push)
    for start in range(7, 28, 3):  # 3 does not divide 7
        new = np.arange(start, start + 3)
        rows = np.stack([2.0 * new, 2.0 * new + 1], axis=1)
        queue, ids = step(queue, rows), step(ids, new)
        held = [*new, *held][:7]
        np.testing.assert_array_equal(ids, held)
        np.testing.assert_array_equal(queue[:, 0], 2.0 * np.array(held))


def test_queue_of_batch_length_is_replaced_and_wrong_rows_are_refused():
    queue = jnp.zeros((4, 2))
    np.testing.assert_array_equal(push(queue, jnp.ones((4, 2))), jnp.ones((4, 2)))
    for rows in (jnp.ones((5, 2)), jnp.ones((2, 3)), jnp.ones((2, 2), int), jnp.ones(2)):
        with pytest.raises(ValueError, match="rows of a queue float32"):
            push(queue, rows)


def test_projection_is_the_normalised_affine_map_in_float32():
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    for dtype in (jnp.float32, jnp.bfloat16):
        model = Projection(4, dtype=dtype)
        params = model.init(jax.random.key(0), x)
        params = jax.tree.map(lambda p: p + 0.3, params)
        out = model.apply(params, x)
        assert out.dtype == jnp.float32
        dense = params["params"]["dense"]
        raw = x @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
        raw /= np.linalg.norm(raw, axis=1, keepdims=True)
        np.testing.assert_allclose(out, raw, atol=1e-6 if dtype == jnp.float32 else 0.03)
        np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1.0, atol=1e-6)


def test_unit_of_zero_is_zero_with_a_finite_gradient():
    zero = jnp.zeros((1, 3))
    np.testing.assert_array_equal(unit(zero), zero)
    assert np.isfinite(jax.grad(lambda x: unit(x).sum())(zero)).all()
