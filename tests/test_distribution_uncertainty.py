import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.models.distribution_uncertainty import distribution_uncertainty, random_uncertainty


@pytest.fixture(scope="module")
def tokens():
    """[2, 3, 5]."""
    i, j = np.meshgrid(np.arange(6), np.arange(5), indexing="ij")
    return jnp.float32(np.sin(1 + 3 * i + 7 * j)).reshape(2, 3, 5)


def noise(mean, deviation):
    return jnp.stack([jnp.full((3, 5), x, jnp.float32) for x in (mean, deviation)])


def test_no_noise_leaves_tokens_as_they_are(tokens):
    np.testing.assert_allclose(
        distribution_uncertainty(tokens, noise(0, 0)), tokens, rtol=0, atol=1e-6
    )


def test_mean_moves_by_its_deviation_over_the_tokens(tokens):
    """The first three of five channels have known values."""
    moved = np.array(distribution_uncertainty(tokens, noise(1, 0)) - tokens)
    np.testing.assert_allclose(moved, np.broadcast_to(moved[:1, :1], moved.shape), atol=1e-6)
    np.testing.assert_allclose(moved[0, 0, :3], [0.19421407, 0.05786698, 0.12081815], atol=1e-6)


def test_new_statistics_are_those_that_the_noise_says():
    rng = np.random.default_rng(0)
    x, drawn = rng.normal(size=(6, 4, 3)) * 2 + 1, rng.normal(size=(2, 4, 3))
    moved = np.array(distribution_uncertainty(jnp.float32(x), jnp.float32(drawn)))
    mean, deviation = x.mean(0), np.sqrt(x.var(0, ddof=1) + 1e-6)
    of_mean, of_deviation = (
        np.sqrt(s.var(0, ddof=1, keepdims=True) + 1e-6) for s in (mean, deviation)
    )
    np.testing.assert_allclose(moved.mean(0), mean + drawn[0] * of_mean, atol=1e-5)
    np.testing.assert_allclose(
        moved.std(0, ddof=1), np.abs(deviation + drawn[1] * of_deviation), atol=1e-5
    )


def test_probability_says_how_often_a_whole_batch_is_moved(tokens):
    keys = jax.random.split(jax.random.key(0), 200)
    moved = jax.jit(jax.vmap(lambda key: random_uncertainty(key, tokens, 0.8)))(keys)
    changed = np.array(moved != tokens[None]).reshape(200, -1)
    share = changed.mean(axis=1)
    assert ((share == 0) | (share > 0.9)).all()
    np.testing.assert_allclose((share > 0).mean(), 0.8, atol=0.08)
    never = random_uncertainty(jax.random.key(1), tokens, 0.0)
    np.testing.assert_array_equal(never, tokens)


def test_gradient_is_finite_where_all_rows_are_equal():
    x = jnp.ones((3, 3, 5))
    total = jax.jit(jax.grad(lambda x: (distribution_uncertainty(x, noise(1, -1)) ** 3).sum()))
    gradient = total(x)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("shape", "drawn", "message"),
    [
        ((1, 3, 5), (2, 3, 5), r"B and N >= 2, got \(1, 3, 5\)"),
        ((4, 1, 5), (2, 1, 5), r"B and N >= 2, got \(4, 1, 5\)"),
        ((4, 5), (2, 5), r"B and N >= 2, got \(4, 5\)"),
        ((4, 3, 5), (2, 3, 4), r"noise must be \(2, 3, 5\), got \(2, 3, 4\)"),
    ],
)
def test_what_cannot_be_is_refused(shape, drawn, message):
    with pytest.raises(ValueError, match=message):
        distribution_uncertainty(jnp.zeros(shape), jnp.zeros(drawn))
