"""AdamW by name and its schedule, against loops in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreid.optim import Adam, Group, Schedule, adamw, assign_groups, learning_rate

ADAM = Adam(beta1=0.9, beta2=0.99, epsilon=1e-6, clip_norm=0.0, accumulate=1)
GROUPS = (
    Group(r"head/.*bias", 10.0, 0.0),
    Group(r"head/.*", 10.0, 0.05),
    Group(r"body/.*", 1.0, 0.05),
)
FACTORS = {"head/bias": (10.0, 0.0), "head/kernel": (10.0, 0.05), "body/kernel": (1.0, 0.05)}


def parameters(seed=0):
    rng = np.random.default_rng(seed)

    def make(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return {"head": {"bias": make(3), "kernel": make(2, 3)}, "body": {"kernel": make(4, 2)}}


def named(tree):
    return {
        "/".join(key.key for key in path): np.asarray(leaf, np.float64)
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }


def rate(step):
    return 0.01 / (1 + step)


def run(tx, params, gradients):
    """Parameters after a step on each gradient."""

    @jax.jit
    def step(params, state, gradient):
        updates, state = tx.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    state = jax.jit(tx.init)(params)
    for gradient in gradients:
        params, state = step(params, state, gradient)
    return named(params)


def reference(params, gradients, clip=0.0):
    """AdamW with decoupled decay as PyTorch writes it, one parameter at a time, in float64."""
    values, gradients = named(params), [named(g) for g in gradients]
    first = {name: np.zeros_like(p) for name, p in values.items()}
    second = {name: np.zeros_like(p) for name, p in values.items()}
    for t, gradient in enumerate(gradients, 1):
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradient.values()))
        scale = min(1.0, clip / norm) if clip else 1.0
        for name, (factor, decay) in FACTORS.items():
            lr, g, p = rate(t - 1) * factor, gradient[name] * scale, values[name]
            p = p - lr * decay * p
            first[name] = ADAM.beta1 * first[name] + (1 - ADAM.beta1) * g
            second[name] = ADAM.beta2 * second[name] + (1 - ADAM.beta2) * g**2
            m = first[name] / (1 - ADAM.beta1**t)
            v = second[name] / (1 - ADAM.beta2**t)
            values[name] = p - lr * m / (np.sqrt(v) + ADAM.epsilon)
    return values


def close(got, want):
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=2e-6, atol=2e-7, err_msg=name)


def test_adamw_equals_a_float64_loop_with_rates_and_decay_by_group():
    params, gradients = parameters(), [parameters(seed) for seed in range(1, 6)]
    close(run(adamw(ADAM, GROUPS, rate), params, gradients), reference(params, gradients))


def test_clipping_scales_the_whole_gradient_to_the_norm_and_not_below():
    params = parameters()
    large = [parameters(seed) for seed in (1, 2)]
    small = [jax.tree.map(lambda g: g / 100, gradient) for gradient in large]
    tx = adamw(ADAM._replace(clip_norm=1.5), GROUPS, rate)
    close(run(tx, params, large + small), reference(params, large + small, clip=1.5))


def test_accumulated_batches_equal_one_step_on_the_mean_gradient():
    params, gradients = parameters(), [parameters(seed) for seed in range(1, 7)]
    means = [jax.tree.map(lambda *g: sum(g) / 3, *gradients[i : i + 3]) for i in range(0, 6, 3)]
    tx = adamw(ADAM._replace(accumulate=3, clip_norm=1.0), GROUPS, rate)
    close(run(tx, params, gradients), reference(params, means, clip=1.0))


def test_parameters_stay_until_the_last_batch_of_an_accumulation():
    params = parameters()
    tx = adamw(ADAM._replace(accumulate=3), GROUPS, rate)
    after = run(tx, params, [parameters(1), parameters(2)])
    for name, value in named(params).items():
        np.testing.assert_array_equal(after[name], value)


def test_a_rate_of_zero_freezes_a_group():
    frozen = (Group(r"head/.*", 0.0, 0.1), Group(r".*", 1.0, 0.1))
    params = parameters()
    before, after = named(params), run(adamw(ADAM, frozen, rate), params, [parameters(1)])
    np.testing.assert_array_equal(after["head/kernel"], before["head/kernel"])
    np.testing.assert_array_equal(after["head/bias"], before["head/bias"])
    assert (after["body/kernel"] != before["body/kernel"]).all()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_a_stage_does_not_train_stays_and_counts_in_no_norm(accumulate):
    params, gradient = parameters(), parameters(1)
    huge = gradient | {"head": jax.tree.map(lambda g: g * 1e6, gradient["head"])}
    adam = ADAM._replace(clip_norm=1.5, accumulate=accumulate)
    tx = adamw(adam, GROUPS, rate, trained="body/.*")
    before, after = named(params), run(tx, params, [huge] * accumulate)
    alone = run(adamw(adam, GROUPS[2:], rate), {"body": params["body"]}, [
        {"body": gradient["body"]}] * accumulate)  # fmt: skip
    for name, value in after.items():
        expected = alone[name] if name.startswith("body/") else before[name]
        np.testing.assert_allclose(value, expected, rtol=1e-7, err_msg=name)
    assert not any("head" in str(path) for path, _ in jax.tree_util.tree_leaves_with_path(
        tx.init(params)))  # fmt: skip


def test_a_stage_that_trains_nothing_is_refused():
    with pytest.raises(ValueError, match=r"optim\.trained: 'neck' matches no parameter"):
        adamw(ADAM, GROUPS, rate, trained="neck").init(parameters())


def test_the_first_pattern_that_matches_the_whole_name_counts():
    groups = (Group(r"head", 7.0, 0.0), *GROUPS)
    with pytest.raises(ValueError, match="'head' covers no parameter"):
        assign_groups(parameters(), groups)
    assigned = assign_groups(parameters(), GROUPS)
    assert assigned["head"]["bias"] is GROUPS[0]
    assert assigned["head"]["kernel"] is GROUPS[1]


def test_a_parameter_without_a_pattern_is_named_with_the_patterns():
    with pytest.raises(ValueError, match=r"no pattern covers parameter 'body/kernel'.*'head/\.\*'"):
        adamw(ADAM, GROUPS[:2], rate).init(parameters())


def test_a_pattern_that_covers_nothing_is_named():
    with pytest.raises(ValueError, match=r"pattern 'neck/\.\*' covers no parameter"):
        adamw(ADAM, (*GROUPS, Group(r"neck/.*", 1.0, 0.0)), rate).init(parameters())


PUBLISHED = Schedule(
    learning_rate=1e-5, min_learning_rate=0.0, warmup_learning_rate=1e-6, warmup_epochs=5,
    period="epoch",
)  # fmt: skip


def test_rate_by_epoch_has_the_values_of_the_published_schedule():
    steps = 133
    now = jax.jit(learning_rate(PUBLISHED, 60, steps))
    expected = {1: 1e-6, 2: 2.8e-6, 5: 8.2e-6, 10: 9.87e-6, 30: 5.99e-6, 60: 8.15e-9}
    for epoch, value in expected.items():
        np.testing.assert_allclose(now((epoch - 1) * steps), value, rtol=1e-3)


def test_rate_by_epoch_changes_at_the_first_step_of_each_epoch_only():
    for steps in (1, 7, 93, 1001):  # quotients that rounding could put into the epoch before
        values = np.asarray(jax.vmap(learning_rate(PUBLISHED, 60, steps))(jnp.arange(60 * steps)))
        by_epoch = values.reshape(60, steps)
        assert (by_epoch == by_epoch[:, :1]).all()
        assert len(np.unique(by_epoch[:, 0])) == 60


def test_rate_by_step_equals_the_formula_and_ends_at_the_minimum():
    schedule = Schedule(1e-3, 1e-5, 1e-4, 0.5, "step")
    now = jax.jit(learning_rate(schedule, 4, 20))

    def formula(step):
        epoch = step / 20
        if epoch < 0.5:
            return 1e-4 + (1e-3 - 1e-4) * epoch / 0.5
        return 1e-5 + (1e-3 - 1e-5) * (1 + math.cos(math.pi * (epoch - 0.5) / 3.5)) / 2

    for step in range(80):
        np.testing.assert_allclose(now(step), formula(step), rtol=1e-5)
    np.testing.assert_allclose(now(10), 1e-3, rtol=1e-6)
    for step in (80, 81, 1000):
        np.testing.assert_allclose(now(step), 1e-5, rtol=1e-6)


def test_rate_without_warm_up_starts_at_the_top():
    now = learning_rate(PUBLISHED._replace(warmup_epochs=0), 60, 10)
    np.testing.assert_allclose(now(0), 1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"period": "batch"}, "optim.period must be one of step, epoch, got 'batch'"),
        ({"warmup_epochs": 60}, r"optim.warmup_epochs must be in \[0, 60\).* got 60"),
        ({"warmup_epochs": -1}, "got -1"),
    ],
)
def test_a_schedule_out_of_range_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        learning_rate(PUBLISHED._replace(**change), 60, 10)
