"""Decay of the kind "adam" is torch.optim.Adam's: a part of the gradient, which Adam scales."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreid.optim import Adam, Group, adamw

ADAM = Adam(beta1=0.9, beta2=0.99, epsilon=1e-3, clip_norm=0.0, accumulate=1)
GROUPS = (
    Group(r"a", 2.0, 0.1, "adam"),
    Group(r"b", 1.0, 0.3, "adamw"),
    Group(r"c", 1.0, 0.0, "adam"),
)


def draw(seed):
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.normal(size=4), jnp.float32) for name in "abc"}


def run(adam, groups, params, gradients):
    tx = adamw(adam, groups, lambda step: 0.01)
    step = jax.jit(tx.update)
    state = tx.init(params)
    for gradient in gradients:
        updates, state = step(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def reference(params, gradients, clip):
    """PyTorch's Adam and AdamW, one parameter at a time, in float64."""
    p = {name: np.asarray(x, np.float64) for name, x in params.items()}
    m, v = ({name: np.zeros(4) for name in p} for _ in range(2))
    for t, gradient in enumerate(gradients, 1):
        g = {name: np.asarray(x, np.float64) for name, x in gradient.items()}
        norm = np.sqrt(sum((x**2).sum() for x in g.values()))
        for group, name in zip(GROUPS, p, strict=True):
            value = g[name] * min(1.0, clip / norm) if clip else g[name]
            if group.kind == "adam":
                value = value + group.decay * p[name]
            m[name] = 0.9 * m[name] + 0.1 * value
            v[name] = 0.99 * v[name] + 0.01 * value**2
            rate = 0.01 * group.rate
            if group.kind == "adamw":
                p[name] = p[name] * (1 - rate * group.decay)
            scale = np.sqrt(v[name] / (1 - 0.99**t)) + ADAM.epsilon
            p[name] = p[name] - rate * m[name] / (1 - 0.9**t) / scale
    return p


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_kinds_equal_a_float64_loop_and_clipping_comes_before_decay(clip):
    params, gradients = draw(0), [draw(seed) for seed in range(1, 6)]
    got, _ = run(ADAM._replace(clip_norm=clip), GROUPS, params, gradients)
    for name, want in reference(params, gradients, clip).items():
        np.testing.assert_allclose(got[name], want, rtol=2e-6, atol=2e-7)


def test_state_of_a_run_without_l2_stays_as_it_was():
    decoupled = tuple(group._replace(kind="adamw") for group in GROUPS)
    _, state = run(ADAM, decoupled, draw(0), [draw(1)])
    plain = optax.scale_by_adam().init(draw(0))
    assert jax.tree.structure(state[0]) == jax.tree.structure(plain)
    assert len(state) == 2


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="kind must be one of adamw, adam, got 'sgd'"):
        adamw(ADAM, (Group(r".*", 1.0, 0.0, "sgd"),), lambda step: 0.01)
