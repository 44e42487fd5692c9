"""NDF: equal to loops in float64 and to PyTorch, in the form of the paper and of the release."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.losses.contrastive import identity_target, soft_cross_entropy
from jaxreid.losses.ndf import ndf_loss, released_ndf_loss

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "ndf.npz"
FORMS = {"": ndf_loss, "released/": released_ndf_loss}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def inputs(golden):
    return tuple(jnp.asarray(golden[name]) for name in ("image", "text", "person_id"))


def by_loops(image, text, person_id, temperature):
    """(Eq. 2, mean over B x B of the same terms, cross entropy), each the mean of both ways."""
    image, text = np.float64(image), np.float64(text)
    totals = np.zeros(3)
    for rows, columns in ((image, text), (text, image)):
        for i, row in enumerate(rows):
            cosine = [row @ c / np.linalg.norm(row) / np.linalg.norm(c) for c in columns]
            p = np.exp(np.array(cosine) / temperature)
            p /= p.sum()
            q = np.array([float(j == person_id[i]) for j in person_id])
            q /= q.sum()
            for j in range(len(p)):
                log_q = np.log(q[j] + 1e-8)
                term = p[j] * (np.log(p[j]) - log_q) + q[j] * (log_q - np.log(p[j]))
                totals += term / len(p), term / len(p) ** 2, -q[j] * np.log(p[j]) / len(p)
    return totals / 2


@pytest.fixture(scope="module", params=FORMS)
def step(request, golden):
    """(form, loss, gradients of image and text)."""
    image, text, person_id = inputs(golden)

    def loss(image, text):
        return FORMS[request.param](
            image, text, person_id, temperature=float(golden["temperature"])
        )

    value, grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(image, text)
    return request.param, value, grads


def test_loss_and_gradients_equal_pytorch(golden, step):
    form, value, grads = step
    np.testing.assert_allclose(value, golden[f"{form}loss"], rtol=1e-5)
    for name, grad in zip(("image", "text"), grads, strict=True):
        np.testing.assert_allclose(grad, golden[f"{form}gradient/{name}"], rtol=1e-4, atol=1e-5)


def test_loss_equals_loops_in_float64(golden, step):
    form, value, _ = step
    paper, mean, entropy = by_loops(*inputs(golden), golden["temperature"])
    np.testing.assert_allclose(value, mean + entropy if form else paper, rtol=1e-5)


def test_both_directions_count(golden):
    image, text, person_id = inputs(golden)
    i2t = ndf_loss(image, text, person_id, temperature=0.3)
    np.testing.assert_allclose(ndf_loss(text, image, person_id, temperature=0.3), i2t, rtol=1e-6)
    assert abs(ndf_loss(image, text[::-1], person_id, temperature=0.3) - i2t) > 0.1


def test_norms_and_order_do_not_matter(golden):
    image, text, person_id = inputs(golden)
    loss = ndf_loss(image, text, person_id, temperature=0.3)
    scaled = ndf_loss(image * 7, text / 3, person_id, temperature=0.3)
    order = jnp.array([3, 0, 6, 2, 5, 1, 4])
    turned = ndf_loss(image[order], text[order], person_id[order], temperature=0.3)
    np.testing.assert_allclose([scaled, turned], [loss, loss], rtol=1e-5)


def test_release_is_ours_over_b_plus_cross_entropy(golden):
    image, text, person_id = inputs(golden)
    z = (image / jnp.linalg.norm(image, axis=1, keepdims=True)) @ (
        text / jnp.linalg.norm(text, axis=1, keepdims=True)
    ).T  # fmt: skip
    target = identity_target(person_id, person_id)
    entropy = (soft_cross_entropy(z / 0.3, target) + soft_cross_entropy(z.T / 0.3, target)) / 2
    ours = ndf_loss(image, text, person_id, temperature=0.3)
    released = released_ndf_loss(image, text, person_id, temperature=0.3)
    np.testing.assert_allclose(released, ours / 7 + entropy, rtol=1e-5)


def test_zero_and_flat_where_the_labels_are_met():
    image = jnp.eye(4)
    value, grad = jax.value_and_grad(ndf_loss)(image, image, jnp.arange(4), temperature=0.02)
    np.testing.assert_allclose(value, 0, atol=1e-5)
    np.testing.assert_allclose(grad, 0, atol=1e-5)


def test_gradient_is_finite_at_a_zero_embedding(golden):
    image, text, person_id = inputs(golden)
    grad = jax.grad(ndf_loss)(image.at[2].set(0.0), text, person_id, temperature=0.02)
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("rows", "ids", "temperature", "message"),
    [
        (6, 7, 0.1, r"both be \[B, E\], got \(7, 5\) and \(6, 5\)"),
        (7, 6, 0.1, r"person_id must be \[7\], got \(6,\)"),
        (7, 7, 0.0, "temperature must be > 0, got 0.0"),
    ],
)
def test_what_does_not_fit_is_named(golden, form, rows, ids, temperature, message):
    image, text, person_id = inputs(golden)
    with pytest.raises(ValueError, match=message):
        FORMS[form](image, text[:rows], person_id[:ids], temperature=temperature)
