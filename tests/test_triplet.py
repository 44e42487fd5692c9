"""The fusion triplet loss equals PyTorch's and a loop in float64."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.losses.triplet import fusion_triplet_loss

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "losses.npz"
PARTS = ("positive", "negative_text", "negative_image")


def test_loss_and_gradients_on_probabilities_equal_pytorch():
    with np.load(GOLDEN) as arrays:
        golden = {k.removeprefix("triplet/"): arrays[k] for k in arrays if k[:8] == "triplet/"}
    valid = jnp.ones(7, bool)

    def loss(*logits):
        scores = (jax.nn.softmax(x, axis=1)[:, 1] for x in logits)
        return fusion_triplet_loss(
            *scores, margin=float(golden["margin"]), text_valid=valid, image_valid=valid
        )

    logits = [jnp.asarray(golden[name]) for name in PARTS]
    value, gradients = jax.value_and_grad(loss, argnums=(0, 1, 2))(*logits)
    np.testing.assert_allclose(value, golden["loss"], rtol=0, atol=1e-5)
    for name, gradient in zip(PARTS, gradients, strict=True):
        np.testing.assert_allclose(gradient, golden[f"gradient/{name}"], rtol=0, atol=1e-5)


def test_each_side_is_the_mean_over_its_valid_rows():
    positive, text, image = np.random.default_rng(0).normal(size=(3, 6))
    text_valid = np.array([1, 0, 1, 1, 0, 1], bool)
    image_valid = np.array([0, 1, 0, 1, 0, 0], bool)
    sides = []
    for negative, valid in ((text, text_valid), (image, image_valid)):
        rows = [max(0.0, 0.6 - positive[i] + negative[i]) for i in range(6) if valid[i]]
        sides.append(sum(rows) / len(rows))
    assert min(sides) > 0
    loss = fusion_triplet_loss(
        *np.float32([positive, text, image]), margin=0.6, text_valid=text_valid,
        image_valid=image_valid,
    )  # fmt: skip
    np.testing.assert_allclose(loss, sum(sides), rtol=0, atol=1e-6)


def test_no_valid_row_gives_zero_with_zero_gradient():
    nothing = jnp.zeros(3, bool)
    value, gradient = jax.value_and_grad(fusion_triplet_loss)(
        jnp.zeros(3), jnp.ones(3), jnp.ones(3), margin=0.6, text_valid=nothing, image_valid=nothing
    )
    assert value == 0
    assert not gradient.any()
