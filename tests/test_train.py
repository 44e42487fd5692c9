"""The train step: what one step changes, and what a batch that is not finite does not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreid.mesh import make_mesh, put_batch, replicated
from jaxreid.methods import Method
from jaxreid.train import (
    NONFINITE_LIMIT,
    init_on_mesh,
    init_state,
    jit_train_step,
    restart_optimizer,
    train_step,
)


def toy(traces=None) -> Method:
    """A linear fit with a memory; rows of NaN make its loss NaN, `bad_gradient` its gradient."""

    def init(rng):
        return {"w": jax.random.normal(rng, (3,)), "b": jnp.zeros(()), "c": jnp.zeros(())}

    def loss(params, memory, batch, rng, step, stage):
        if traces is not None:
            traces.append(stage)
        noise = jax.random.normal(rng, ())
        error = batch["x"] @ params["w"] + params["b"] - batch["y"]
        bad = batch["bad_gradient"].max()
        # c stays 0, where sqrt(c^2) has a value and no gradient.
        root = jnp.sqrt(bad * jnp.square(params["c"]) + 1 - bad)
        value = jnp.square(error).mean() + root - 1 + bad
        after = {"mean": 0.9 * memory["mean"] + 0.1 * batch["x"].mean(axis=0), "seen": step}
        return value * (stage + 1), (after, {"noise": noise})

    return Method(
        tokenize=None,
        transform=None,
        init=init,
        loss=loss,
        encode_image=None,
        encode_query=None,
        similarity=None,
        init_memory=lambda rng, params: {"mean": params["w"] * 0, "seen": jnp.int32(-1)},
    )


def batch(seed, rows=16):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3)).astype(np.float32)
    y = (x @ np.float32([1, -2, 0.5]) + 0.3).astype(np.float32)
    return {"x": x, "y": y, "bad_gradient": np.zeros(rows, np.float32)}


def spoiled(name, seed=0):
    broken = batch(seed)
    if name == "gradient":
        broken["bad_gradient"] += 1
    else:
        broken["x"][3, 1] = {"nan": np.nan, "inf": np.inf}[name]
    return broken


def numbers(tree):
    return jax.tree.map(np.asarray, tree)


def equal(one, two):
    jax.tree.map(np.testing.assert_array_equal, numbers(one), numbers(two))


@pytest.fixture(scope="module")
def step():
    """(method, optimiser, jitted step on one device without donation)."""
    method, tx = toy(), optax.adam(0.1)
    run = jax.jit(lambda state, batch: train_step(state, batch, method=method, tx=tx, stage=0))
    return method, tx, run


def start(step):
    method, tx, _ = step
    return init_state(method, tx, jax.random.key(0))


def test_a_step_lowers_the_loss_and_moves_params_memory_and_optimiser(step):
    state = start(step)
    losses = []
    for seed in range(40):
        state, metrics = step[2](state, batch(seed))
        losses.append(float(metrics["loss"]))
        assert np.isfinite(losses[-1])
    assert np.mean(losses[-5:]) < 0.1 * np.mean(losses[:5])
    assert int(state.step) == 40
    assert int(state.memory["seen"]) == 39
    assert int(state.opt_state[0].count) == 40
    assert int(state.nonfinite) == int(state.skipped) == 0


def test_metrics_are_those_of_the_method_with_loss_and_gradient_norm(step):
    state = start(step)
    one = batch(5)
    _, metrics = step[2](state, one)
    assert set(metrics) == {"noise", "loss", "grad_norm", "nonfinite", "skipped"}
    w, b = np.float64(state.params["w"]), np.float64(state.params["b"])
    error = one["x"] @ w + b - one["y"]
    np.testing.assert_allclose(metrics["loss"], (error**2).mean(), rtol=1e-5)
    gradient = np.append(2 * error @ one["x"], 2 * error.sum()) / len(error)
    np.testing.assert_allclose(metrics["grad_norm"], np.linalg.norm(gradient), rtol=1e-5)


@pytest.mark.parametrize("name", ["nan", "inf", "gradient"])
def test_a_batch_that_is_not_finite_changes_the_counters_only(step, name):
    state, _ = step[2](start(step), batch(0))
    after, metrics = step[2](state, spoiled(name))
    if name == "gradient":
        assert np.isfinite(metrics["loss"])
    assert not np.isfinite(metrics["grad_norm"])
    for field in ("params", "memory", "opt_state", "rng"):
        equal(getattr(after, field), getattr(state, field))
    assert (int(after.step), int(after.nonfinite), int(after.skipped)) == (2, 1, 1)
    assert (int(metrics["nonfinite"]), int(metrics["skipped"])) == (1, 1)


@pytest.mark.parametrize("bad", [1, 2])
def test_fewer_than_the_limit_are_forgotten_by_a_good_batch_but_counted(step, bad):
    state = start(step)
    for _ in range(bad):
        state, _ = step[2](state, spoiled("nan"))
    before = state
    state, _ = step[2](state, batch(1))
    assert (int(state.nonfinite), int(state.skipped)) == (0, bad)
    assert (np.asarray(state.params["w"]) != np.asarray(before.params["w"])).all()


def test_the_limit_in_a_row_freezes_the_state(step):
    state, _ = step[2](start(step), batch(0))
    before = state
    for _ in range(NONFINITE_LIMIT):
        state, _ = step[2](state, spoiled("nan"))
    for seed in range(3):
        state, metrics = step[2](state, batch(seed))
        assert np.isfinite(metrics["loss"])
    for field in ("params", "memory", "opt_state"):
        equal(getattr(state, field), getattr(before, field))
    assert int(state.nonfinite) == int(state.skipped) == NONFINITE_LIMIT + 3
    assert NONFINITE_LIMIT == 3


def test_each_step_has_its_own_key_which_a_resumed_run_has_again(step):
    first = start(step)
    second, one = step[2](first, batch(0))
    _, two = step[2](second, batch(0))
    _, again = step[2](jax.tree.map(jnp.array, numbers(second)), batch(0))
    assert float(one["noise"]) != float(two["noise"])
    assert float(two["noise"]) == float(again["noise"])


def test_a_stage_is_passed_to_the_loss_and_compiled_once():
    traces = []
    method, tx, mesh = toy(traces), optax.sgd(0.1), make_mesh()
    state = init_on_mesh(method, tx, mesh, 0)
    for stage in (0, 1):
        run = jit_train_step(method, tx, mesh, stage)
        for seed in range(3):
            state, _ = run(state, put_batch(mesh, batch(seed)))
        assert run._cache_size() == 1
    assert traces == [0, 1]


def test_the_buffers_of_the_old_state_are_given_to_the_new():
    method, tx, mesh = toy(), optax.adam(0.1), make_mesh()
    old = init_on_mesh(method, tx, mesh, 0)
    new, _ = jit_train_step(method, tx, mesh, 0)(old, put_batch(mesh, batch(0)))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(old))
    assert all(leaf.sharding == replicated(mesh) for leaf in jax.tree.leaves(new))


def test_the_state_is_the_same_for_a_seed_on_any_mesh():
    method, tx = toy(), optax.adam(0.1)
    one = init_on_mesh(method, tx, make_mesh(jax.devices()[:1]), 3)
    eight = init_on_mesh(method, tx, make_mesh(), 3)
    other = init_on_mesh(method, tx, make_mesh(), 4)
    equal(one, eight)
    assert (np.asarray(other.params["w"]) != np.asarray(one.params["w"])).all()


def test_start_weights_are_in_before_memory_and_optimiser_are_made():
    def start(params):
        return jax.tree.map(lambda p: p * 0 + 7, params)

    method = toy()._replace(init_memory=lambda rng, params: {"mean": params["w"] + 1})
    mesh = make_mesh()
    state = init_on_mesh(method, optax.adam(0.1), mesh, 0, start)
    np.testing.assert_array_equal(state.params["w"], np.full(3, 7, np.float32))
    np.testing.assert_array_equal(state.memory["mean"], np.full(3, 8, np.float32))
    assert all(leaf.sharding == replicated(mesh) for leaf in jax.tree.leaves(state))


def test_restarting_the_optimiser_leaves_the_rest():
    method, tx, mesh = toy(), optax.adam(0.1), make_mesh()
    fresh = numbers(init_on_mesh(method, tx, mesh, 0).opt_state)
    state, _ = jit_train_step(method, tx, mesh, 0)(
        init_on_mesh(method, tx, mesh, 0), put_batch(mesh, batch(0))
    )
    before = numbers(state)
    after = restart_optimizer(state, tx, mesh)
    equal(after.opt_state, fresh)
    equal(after.replace(opt_state=None), before.replace(opt_state=None))
