import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.losses.feature_diversity import (
    feature_diversity_loss,
    released_feature_diversity_loss,
)


@pytest.fixture(scope="module")
def tokens():
    """[2, 3, 5] of unequal norms."""
    i, j = np.meshgrid(np.arange(6), np.arange(5), indexing="ij")
    return jnp.float32(np.sin(1 + 3 * i + 7 * j)).reshape(2, 3, 5)


def test_loss_of_an_image_has_its_known_value(tokens):
    loss = feature_diversity_loss(tokens, margin=0.5)
    np.testing.assert_allclose(loss, 0.15174868578014067, rtol=1e-5)


def test_loss_of_a_batch_has_the_known_value_of_the_release(tokens):
    loss = released_feature_diversity_loss(jax.random.key(0), tokens, margin=0.5)
    np.testing.assert_allclose(loss, 0.13721659536694292, rtol=1e-5)


def test_only_the_release_compares_tokens_of_different_images():
    """Two images of the same two orthogonal tokens."""
    tokens = jnp.broadcast_to(jnp.eye(4)[None, :2], (2, 2, 4))
    assert feature_diversity_loss(tokens, margin=0.5) == 0
    batch = released_feature_diversity_loss(jax.random.key(0), tokens, margin=0.5)
    np.testing.assert_allclose(batch, 4 * 0.5 / 16, rtol=1e-6)


@pytest.mark.parametrize("margin", [-1.0, 0.3, 1.0])
def test_norms_do_not_matter_and_the_margin_bounds_the_loss(tokens, margin):
    scale = jnp.array([0.1, 7.0, 2.0, 1.0, 30.0, 0.5]).reshape(2, 3, 1)
    loss = feature_diversity_loss(tokens, margin=margin)
    np.testing.assert_allclose(
        feature_diversity_loss(tokens * scale, margin=margin), loss, rtol=1e-5
    )
    assert 0 <= loss <= 1 - margin
    same = jnp.ones((2, 3, 5))
    np.testing.assert_allclose(
        feature_diversity_loss(same, margin=margin), 1 - margin, rtol=0, atol=1e-6
    )


def test_sample_is_drawn_without_replacement_and_follows_its_key(tokens):
    apart = jnp.eye(6).reshape(2, 3, 6)  # a token drawn twice would be like itself
    for seed in range(5):
        key = jax.random.key(seed)
        assert released_feature_diversity_loss(key, apart, margin=0.5, sample=5) == 0
    values = {
        float(released_feature_diversity_loss(jax.random.key(s), tokens, margin=0.5, sample=3))
        for s in (1, 1, 2, 3)
    }
    assert 1 < len(values) <= 3


def test_gradient_pushes_alike_tokens_apart_and_is_finite_at_zero():
    tokens = jnp.array([[[1.0, 0.2], [1.0, -0.2], [0.0, 0.0]]])
    gradient = jax.grad(feature_diversity_loss)(tokens, margin=0.5)
    assert np.isfinite(gradient).all()
    moved = tokens - 0.1 * gradient
    assert feature_diversity_loss(moved, margin=0.5) < feature_diversity_loss(tokens, margin=0.5)


@pytest.mark.parametrize(
    ("shape", "margin", "message"),
    [
        ((4, 5), 0.5, r"\[B, N, E\] with N >= 2, got \(4, 5\)"),
        ((4, 1, 5), 0.5, r"\[B, N, E\] with N >= 2, got \(4, 1, 5\)"),
        ((4, 3, 5), 1.5, r"margin must be in \[-1, 1\], got 1.5"),
    ],
)
def test_what_cannot_be_is_refused(shape, margin, message):
    with pytest.raises(ValueError, match=message):
        feature_diversity_loss(jnp.zeros(shape), margin=margin)
    with pytest.raises(ValueError, match=message):
        released_feature_diversity_loss(jax.random.key(0), jnp.zeros(shape), margin=margin)
