import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.losses.masked_feature import draw_masks, masked_feature_loss
from jaxreid.models.feature_predictor import FeaturePredictor


@pytest.fixture(scope="module")
def case():
    """Features f64[2, 4, 5], masks with unequal counts, weights of a linear predictor."""
    rng = np.random.default_rng(0)
    masks = rng.random((2, 4, 5)) < np.array([0.3, 0.6]).reshape(2, 1, 1)
    return rng.normal(size=(2, 4, 5)), masks, rng.normal(size=(10, 5))


def loss(case, predict=None):
    features, masks, weight = case
    predict = predict or (lambda x: x @ jnp.float32(weight))
    return masked_feature_loss(*jnp.float32(features), *jnp.array(masks), predict)


def test_loss_equals_its_equation(case):
    features, masks, weight = case
    total = 0.0
    for x, other, mask in ((*features, masks[0]), (*features[::-1], masks[1])):
        error = 0.0
        for row in range(4):
            seen = [0.0 if mask[row, k] else x[row, k] for k in range(5)]
            predicted = np.concatenate([seen, other[row]]) @ weight
            error += sum((predicted - x[row])[mask[row]] ** 2)
        total += error / mask.sum() / 2
    np.testing.assert_allclose(loss(case), total, rtol=1e-5)


def test_predictor_does_not_see_what_is_masked(case):
    features, masks, _ = case
    seen = []
    loss(case, lambda x: (seen.append(np.asarray(x)), x[:, :5])[1])
    for x, whole, other, mask in zip(seen, features, features[::-1], masks, strict=True):
        np.testing.assert_allclose(x[:, :5], np.where(mask, 0, whole), rtol=1e-6)
        np.testing.assert_allclose(x[:, 5:], other, rtol=1e-6)


def test_what_is_predicted_has_a_gradient_too(case):
    """A predictor that is no function of its input leaves the gradient of the target."""
    features, masks, _ = case
    gradient = jax.grad(
        lambda x: masked_feature_loss(*x, *jnp.array(masks), lambda seen: jnp.zeros((4, 5)))
    )(jnp.float32(features))
    counts = masks.sum(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(gradient, features * masks / counts, rtol=1e-5)


def test_nothing_masked_costs_nothing(case):
    features, masks, weight = case
    assert loss((features, np.zeros_like(masks), weight)) == 0


def test_masks_are_independent_and_of_the_rate():
    masks = np.array(draw_masks(jax.random.key(0), (60, 50), 0.3))
    np.testing.assert_allclose(masks.mean(axis=(1, 2)), 0.3, atol=0.03)
    np.testing.assert_allclose((masks[0] & masks[1]).mean(), 0.09, atol=0.02)


def test_predictor_maps_two_features_to_one_through_512_values():
    model = FeaturePredictor(768)
    x = jnp.zeros((2, 1536))
    out, params = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    assert out.shape == (2, 768)
    sizes = jax.tree.map(lambda x: x.size, params["params"])
    assert sizes["fc1"] == {"kernel": 1536 * 512, "bias": 512}
    assert sizes["fc2"] == {"kernel": 512 * 768, "bias": 768}
    with pytest.raises(ValueError, match=r"features must be \[B, 1536\], got \(2, 768\)"):
        model.init(jax.random.key(0), x[:, :768])


def test_shapes_that_disagree_are_refused(case):
    features, masks, weight = case
    with pytest.raises(ValueError, match=r"must all be \[B, D\], got .*\(4, 4\)"):
        loss((features, masks[:, :, :4], weight))
