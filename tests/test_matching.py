"""Sampled negatives are other people, drawn by the softmax; the ITM loss equals PyTorch's."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.losses.matching import matching_loss, sample_negatives

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "losses.npz"
DRAWS = 4000


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return {k.removeprefix("itm/"): arrays[k] for k in arrays if k.startswith("itm/")}


@pytest.fixture(scope="module")
def draw():
    """f64[B, B] how often row i draws j, in DRAWS draws."""

    @jax.jit
    def count(logits, same, hardness):
        keys = jax.random.split(jax.random.key(3), DRAWS)
        index = jax.vmap(lambda key: sample_negatives(key, logits, same, hardness=hardness).index)
        return jax.nn.one_hot(index(keys), len(logits)).sum(axis=0)

    return lambda *a: np.asarray(count(*a), np.float64)


def chi_square(counts: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Chi square of each row over the candidates of positive chance, per degree of freedom."""
    expected = DRAWS * np.asarray(chance, np.float64)
    parts = np.where(
        expected > 0, (counts - expected) ** 2 / np.where(expected > 0, expected, 1), 0
    )
    return parts.sum(axis=1) / ((expected > 0).sum(axis=1) - 1)


@pytest.mark.parametrize("way", ["i2t", "t2i"])
def test_frequencies_follow_the_chances_of_the_release(golden, draw, way):
    logits, ids = golden[f"similarity_{way}"][:, :5], golden["person_id"]
    same = ids[:, None] == ids[None, :]
    counts = draw(logits, same, 1.0)
    assert counts[same].sum() == 0
    assert (chi_square(counts, golden[f"chance_{way}"]) < 5).all()
    # The same check refuses the chances of other columns.
    wrong = np.roll(golden[f"chance_{way}"], 1, axis=1)
    wrong = np.where(same, 0, wrong + 1e-3)
    assert (chi_square(counts, wrong / wrong.sum(axis=1, keepdims=True)) > 5).all()


@pytest.mark.parametrize("hardness", [0.0, 0.5])
def test_hardness_scales_the_logits_and_0_is_uniform(golden, draw, hardness):
    logits, ids = golden["similarity_i2t"][:, :5], golden["person_id"]
    same = ids[:, None] == ids[None, :]
    weight = np.where(same, 0, np.exp(hardness * logits.astype(np.float64)))
    chance = weight / weight.sum(axis=1, keepdims=True)
    assert (chi_square(draw(logits, same, hardness), chance) < 5).all()


def test_extreme_logits_never_draw_the_same_person(draw):
    ids = np.array([0, 0, 1])
    logits = np.array([[1e4, 2e4, -1e4], [0.0, 0.0, -3e4], [1.0, 2.0, 9e4]], np.float32)
    counts = draw(logits, ids[:, None] == ids[None, :], 1.0)
    np.testing.assert_array_equal(counts[:2], DRAWS * np.array([[0, 0, 1], [0, 0, 1]]))
    assert counts[2, 2] == 0


def test_a_batch_of_one_person_has_no_valid_row_and_a_finite_loss():
    same = jnp.ones((3, 3), bool)
    negatives = sample_negatives(jax.random.key(0), jnp.zeros((3, 3)), same)
    assert not negatives.valid.any()
    assert ((negatives.index >= 0) & (negatives.index < 3)).all()
    logits = jnp.array([[0.3, 1.0], [2.0, -1.0], [0.0, 0.5]])
    loss, gradient = jax.value_and_grad(matching_loss, argnums=1)(logits, logits, negatives.valid)
    np.testing.assert_allclose(loss, -jax.nn.log_softmax(logits)[:, 1].mean(), rtol=1e-6)
    assert not gradient.any()


def test_one_row_alone_without_negative_is_invalid():
    ids = np.array([4, 4, 7])
    same = ids[:, None] == ids[None, :]
    same[0] = True
    negatives = sample_negatives(jax.random.key(0), jnp.zeros((3, 3)), same)
    np.testing.assert_array_equal(negatives.valid, [False, True, True])


def test_loss_and_gradient_equal_pytorch(golden):
    logits, valid = jnp.asarray(golden["logits"]), jnp.ones(10, bool)
    loss, gradient = jax.value_and_grad(lambda x: matching_loss(x[:5], x[5:], valid))(logits)
    np.testing.assert_allclose(loss, golden["loss"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(gradient, golden["gradient/logits"], rtol=0, atol=1e-5)


def test_invalid_rows_do_not_count(golden):
    positive, negative = golden["logits"][:5], golden["logits"][5:]
    valid = np.array([1, 0, 1, 1, 0, 0, 1, 1, 1, 0], bool)
    terms = [np.log(1 + np.exp(np.float64(a) - np.float64(b))) for a, b in positive]
    terms += [
        np.log(1 + np.exp(np.float64(b) - np.float64(a)))
        for (a, b), counts in zip(negative, valid, strict=True)
        if counts
    ]
    assert len(terms) == 11
    loss, gradient = jax.value_and_grad(matching_loss, argnums=1)(positive, negative, valid)
    np.testing.assert_allclose(loss, np.mean(terms), rtol=0, atol=1e-6)
    assert (np.asarray(gradient != 0).all(axis=1) == valid).all()


def test_sampling_passes_no_gradient():
    same = jnp.eye(3, dtype=bool)
    logits = jnp.arange(9.0).reshape(3, 3)

    def picked(logits):
        index = sample_negatives(jax.random.key(1), logits, same).index
        return jnp.take(jnp.arange(3.0), index).sum()

    assert not jax.grad(picked)(logits).any()
