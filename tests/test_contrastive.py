"""Momentum ITC with queues equals PyTorch's and a loop in float64."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.losses.contrastive import identity_target, momentum_itc, soft_cross_entropy

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "losses.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return {k.removeprefix("itc/"): arrays[k] for k in arrays if k.startswith("itc/")}


def arguments(golden) -> dict:
    """Arguments of `momentum_itc` from the golden file."""
    ids = golden["person_id"]
    return {
        "image": golden["image"],
        "text": golden["text"],
        "image_keys": np.concatenate([golden["image_momentum"], golden["image_queue"]]),
        "text_keys": np.concatenate([golden["text_momentum"], golden["text_queue"]]),
        "target": identity_target(ids, np.concatenate([ids, golden["id_queue"]])),
        "temperature": golden["temperature"],
        "alpha": golden["alpha"],
    }


def loop_target(person_id, keys) -> np.ndarray:
    """The identity target, entry by entry, in float64."""
    target = np.zeros((len(person_id), len(keys)))
    for i, person in enumerate(person_id):
        positives = [j for j, key in enumerate(keys) if key == person]
        for j in positives:
            target[i, j] = 1 / len(positives)
    return target


def loop_itc(a: dict, target: np.ndarray) -> float:
    """Eqs. 16-17 with soft targets, row by row, in float64."""
    a = {name: np.asarray(value, np.float64) for name, value in a.items()}
    size, total = len(a["image"]), 0.0

    def softmax(x):
        e = np.exp(np.array(x) - max(x))
        return e / e.sum()

    for queries, momentum, keys in (
        (a["image"], a["image_keys"][:size], a["text_keys"]),
        (a["text"], a["text_keys"][:size], a["image_keys"]),
    ):
        for i in range(size):
            p = softmax([queries[i] @ key / a["temperature"] for key in keys])
            soft = softmax([momentum[i] @ key / a["temperature"] for key in keys])
            goal = a["alpha"] * soft + (1 - a["alpha"]) * target[i]
            total += -(goal * np.log(p)).sum() / size / 2
    return total


def test_loss_and_gradients_equal_pytorch(golden):
    a = arguments(golden)

    @jax.jit
    def step(image, text, temperature):
        return jax.value_and_grad(
            lambda *x: momentum_itc(**{**a, "image": x[0], "text": x[1], "temperature": x[2]}),
            argnums=(0, 1, 2),
        )(image, text, temperature)

    loss, gradients = step(a["image"], a["text"], a["temperature"])
    np.testing.assert_allclose(loss, golden["loss"], rtol=0, atol=1e-5)
    for name, gradient in zip(("image", "text", "temperature"), gradients, strict=True):
        expected = golden[f"gradient/{name}"]
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_loss_equals_a_loop_in_float64(golden, alpha):
    a = arguments(golden) | {"alpha": np.float32(alpha)}
    ids = golden["person_id"]
    target = loop_target(ids, [*ids, *golden["id_queue"]])
    np.testing.assert_allclose(momentum_itc(**a), loop_itc(a, target), rtol=0, atol=1e-5)


def test_target_is_uniform_over_the_positives_of_batch_and_queue():
    person_id, queue = np.array([3, 1, 3, 0]), np.array([1, 1, 5, -1, 3, -1])
    keys = np.concatenate([person_id, queue])
    target = identity_target(person_id, keys)
    np.testing.assert_allclose(target, loop_target(person_id, keys), atol=1e-7)
    np.testing.assert_array_equal((np.asarray(target) > 0).sum(axis=1), [3, 3, 3, 1])
    assert (np.asarray(target)[:, queue.tolist().index(-1) + 4] == 0).all()


def test_targets_pass_no_gradient_and_keys_do(golden):
    a = arguments(golden)
    names = ("image", "text", "image_keys", "text_keys", "temperature")

    def goal(query_keys, keys):
        soft = jax.nn.softmax(query_keys @ keys.T / a["temperature"], axis=1)
        return a["alpha"] * soft + (1 - a["alpha"]) * a["target"]

    goals = goal(a["image_keys"][:6], a["text_keys"]), goal(a["text_keys"][:6], a["image_keys"])

    def constant_targets(image, text, image_keys, text_keys, temperature):
        i2t = soft_cross_entropy(image @ text_keys.T / temperature, goals[0])
        return (i2t + soft_cross_entropy(text @ image_keys.T / temperature, goals[1])) / 2

    def ours(*values):
        return momentum_itc(**(a | dict(zip(names, values, strict=True))))

    values = [jnp.asarray(a[name]) for name in names]
    gradients, expected = (
        jax.jit(jax.grad(f, argnums=range(5)))(*values) for f in (ours, constant_targets)
    )
    for gradient, wanted in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-6)
    assert np.any(gradients[2])


def test_keys_that_are_not_used_are_as_if_they_were_not_there(golden):
    a = arguments(golden)
    used = np.arange(16) < 6
    ids = golden["person_id"]
    a["target"] = identity_target(ids, np.concatenate([ids, np.full(10, -1)]))
    alone = {name: a[name][:6] for name in ("image_keys", "text_keys")}
    alone["target"] = a["target"][:, :6]
    np.testing.assert_allclose(
        momentum_itc(**a, used=used), momentum_itc(**(a | alone)), rtol=0, atol=1e-6
    )
    assert abs(momentum_itc(**a, used=used) - momentum_itc(**a)) > 0.1


def test_soft_cross_entropy_is_least_where_softmax_is_the_target():
    logits = jnp.array([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
    target = jax.nn.softmax(logits, axis=1)
    loss, gradient = jax.value_and_grad(soft_cross_entropy)(logits, target)
    p = np.asarray(target, np.float64)
    np.testing.assert_allclose(loss, -(p * np.log(p)).sum() / 2, rtol=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-7)


def test_wrong_shapes_are_named(golden):
    a = arguments(golden)
    for change, message in (
        ({"text": a["text"][:2]}, r"must both be \[B, E\], got \(6, 8\) and \(2, 8\)"),
        ({"target": a["target"][:, :6]}, r"disagree: \(16, 8\), \(16, 8\), \(6, 6\)"),
        ({"image_keys": a["image_keys"][:7]}, r"disagree: \(7, 8\)"),
    ):
        with pytest.raises(ValueError, match=message):
            momentum_itc(**(a | change))
