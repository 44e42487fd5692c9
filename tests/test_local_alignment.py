"""Patch weights of Eq. 7 and pair losses of Eq. 10 equal loops in float64, option by option."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.losses.local_alignment import (
    ALIGNMENTS,
    COMBINES,
    DIRECTIONS,
    NORMALISES,
    alignment_loss,
    patch_weights,
)

OPTIONS = list(itertools.product(DIRECTIONS, COMBINES, NORMALISES))


@pytest.fixture(scope="module")
def attentions():
    """f32[4, 3, 5] forward rows that sum to 1 with a left-out [CLS], and signed backward rows."""
    rng = np.random.default_rng(0)
    forward = rng.dirichlet(np.ones(6), size=(4, 3))[..., 1:]
    backward = rng.normal(size=(4, 3, 5)) * np.array([1, 1e-3, 1e-6, 2])[:, None, None]
    return np.float32(forward), np.float32(backward)


def loop_weights(forward, backward, direction, combine, normalise) -> np.ndarray:
    """Eq. 7 patch by patch, in float64."""
    phrases, heads, patches = forward.shape
    weights = np.zeros((phrases, patches))
    for p in range(phrases):
        raw = np.zeros(patches)
        for j in range(patches):
            a = sum(float(forward[p, h, j]) for h in range(heads)) / heads
            g = max(0.0, sum(float(backward[p, h, j]) for h in range(heads)) / heads)
            both = a * g if combine == "product" else a + g
            raw[j] = {"forward": a, "backward": g, "bidirectional": both}[direction]
        if normalise == "softmax":
            raw = np.exp(raw)
        elif normalise == "minmax":
            raw = raw - raw.min()
        weights[p] = raw / raw.sum() if raw.sum() > 0 else 1 / patches
    return weights


@pytest.mark.parametrize(("direction", "combine", "normalise"), OPTIONS)
def test_weights_equal_a_loop_in_float64(attentions, direction, combine, normalise):
    options = {"direction": direction, "combine": combine, "normalise": normalise}
    weights = patch_weights(*attentions, **options)
    # minmax subtracts near-equal float32 values.
    np.testing.assert_allclose(weights, loop_weights(*attentions, **options), rtol=0, atol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert (weights >= 0).all()


@pytest.mark.parametrize("normalise", NORMALISES)
@pytest.mark.parametrize("direction", ["backward", "bidirectional"])
def test_no_positive_gradient_gives_uniform_weights(attentions, direction, normalise):
    forward, backward = attentions
    weights = patch_weights(
        forward, -np.abs(backward), direction=direction, combine="product", normalise=normalise
    )
    np.testing.assert_allclose(weights, 0.2, atol=1e-7)


@pytest.mark.parametrize("normalise", ["l1", "minmax"])
def test_tiny_gradients_are_not_lost(attentions, normalise):
    forward, backward = attentions
    options = {"direction": "bidirectional", "combine": "product", "normalise": normalise}
    full = patch_weights(forward, backward, **options)
    tiny = patch_weights(forward, backward * np.float32(1e-12), **options)
    np.testing.assert_allclose(tiny, full, atol=1e-5)
    assert full.max() > 0.3


@pytest.mark.parametrize("normalise", NORMALISES)
def test_gradient_is_finite_where_no_gradient_is_positive(attentions, normalise):
    forward, backward = (jnp.asarray(x) for x in attentions)
    backward = backward.at[0].set(0.0).at[1].multiply(1e-6)
    probe = jnp.arange(20.0).reshape(4, 5) ** 2

    def total(forward, backward):
        weights = patch_weights(
            forward, backward, direction="bidirectional", combine="product", normalise=normalise
        )
        return (weights * probe).sum()

    gradients = jax.grad(total, argnums=(0, 1))(forward, backward)
    assert all(np.isfinite(g).all() for g in gradients)
    assert np.any(gradients[0][3])


def test_the_gradient_of_the_weights_is_that_of_the_plain_quotient(attentions):
    forward, backward = (jnp.abs(x) for x in attentions)
    probe = jnp.arange(20.0).reshape(4, 5) ** 2

    def plain(forward):
        raw = forward.mean(axis=1) * backward.mean(axis=1)
        return (raw / raw.sum(axis=1, keepdims=True) * probe).sum()

    def ours(forward):
        options = {"direction": "bidirectional", "combine": "product", "normalise": "l1"}
        return (patch_weights(forward, backward, **options) * probe).sum()

    np.testing.assert_allclose(jax.grad(ours)(forward), jax.grad(plain)(forward), rtol=1e-4)


def test_forward_needs_no_backward_and_unknown_options_are_named(attentions):
    forward, backward = attentions
    good = {"direction": "forward", "combine": "product", "normalise": "l1"}
    with_backward = patch_weights(forward, backward, **good)
    np.testing.assert_array_equal(patch_weights(forward, None, **good), with_backward)
    for field, allowed in (
        ("direction", "forward, backward, bidirectional"),
        ("combine", "product, sum"),
        ("normalise", "l1, softmax, minmax"),
    ):
        with pytest.raises(ValueError, match=f"{field} must be one of {allowed}, got 'x'"):
            patch_weights(forward, backward, **(good | {field: "x"}))
    with pytest.raises(ValueError, match="'backward' needs the backward attention"):
        patch_weights(forward, None, **(good | {"direction": "backward"}))


@pytest.fixture(scope="module")
def pairs():
    """Arguments of `alignment_loss`: two pairs of one person, one phrase twice, one absent."""
    rng = np.random.default_rng(1)
    image, phrase = rng.normal(size=(2, 5, 4))
    phrase[3] = phrase[0]
    person, word = np.array([0, 0, 1, 2, 3]), np.array([7, 8, 9, 7, 0])
    return {
        "image": np.float32(image / np.linalg.norm(image, axis=1, keepdims=True)),
        "phrase": np.float32(phrase / np.linalg.norm(phrase, axis=1, keepdims=True)),
        "temperature": np.float32(0.1),
        "positive": (person[:, None] == person) | (word[:, None] == word),
        "present": np.array([True, True, True, True, False]),
    }


def loop_alignment(pairs: dict, form: str) -> list[float]:
    """Eq. 10 of each present pair, in float64."""
    image, phrase = pairs["image"].astype(np.float64), pairs["phrase"].astype(np.float64)
    tau, result = float(pairs["temperature"]), []
    for p in np.flatnonzero(pairs["present"]):
        s = image[p] @ phrase[p]
        if form == "cosine":
            result.append(1 - s)
        elif form == "sigmoid":
            result.append(np.log(1 + np.exp(-s / tau)))
        else:
            share, total = 0.0, 0.0
            for q in np.flatnonzero(pairs["present"]):
                term = np.exp(image[p] @ phrase[q] / tau)
                total += term
                share += term * pairs["positive"][p, q]
            result.append(-np.log(share / total))
    return result


@pytest.mark.parametrize("form", ALIGNMENTS)
def test_pair_losses_equal_a_loop_in_float64(pairs, form):
    losses = alignment_loss(**pairs, form=form)
    assert losses.shape == (5,)
    np.testing.assert_allclose(losses[:4], loop_alignment(pairs, form), rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", ALIGNMENTS)
def test_an_absent_row_changes_nothing_and_its_gradient_is_finite(pairs, form):
    def total(image, phrase):
        losses = alignment_loss(**(pairs | {"image": image, "phrase": phrase}), form=form)
        return jnp.where(pairs["present"], losses, 0).sum()

    def changed(x):
        return jnp.asarray(x).at[4].set(jnp.array([0.5, -0.5, 0.5, -0.5]))

    image, phrase = jnp.asarray(pairs["image"]), jnp.asarray(pairs["phrase"])
    assert total(image, phrase) == total(changed(image), changed(phrase))
    gradients = jax.grad(total, argnums=(0, 1))(image, phrase)
    for gradient in gradients:
        assert np.isfinite(gradient).all()
        assert not np.any(gradient[4])
        assert np.all(np.abs(gradient[:3]).max(axis=1) > 0)


def test_an_unknown_form_is_named(pairs):
    with pytest.raises(ValueError, match="form must be one of cosine, sigmoid, contrastive, got"):
        alignment_loss(**pairs, form="hinge")
