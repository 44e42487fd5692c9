import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.losses.fda import fda_loss, token_similarity


def unit(rng, *shape):
    x = rng.normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    return unit(rng, 5, 6), unit(rng, 4, 9, 6)


def naive(query, tokens, top):
    """Mean of the `top` last of sorted cosines."""
    cosines = np.einsum("qe,gne->qgn", query, tokens)
    return np.sort(cosines, axis=-1)[..., -top:].mean(-1)


# Similarity


@pytest.mark.parametrize("top", [1, 2, 6, 9])
def test_similarity_is_the_mean_of_the_largest_cosines(features, top):
    query, tokens = features
    scores = token_similarity(jnp.float32(query), jnp.float32(tokens), top)
    assert scores.dtype == jnp.float32
    np.testing.assert_allclose(scores, naive(query, tokens, top), rtol=0, atol=1e-6)


def test_similarity_and_its_gradient_equal_lax_top_k(features):
    query, tokens = (jnp.float32(x) for x in features)
    probe = jnp.float32(np.random.default_rng(1).normal(size=(5, 4)))

    def sorted_(query, tokens):
        cosines = jnp.einsum("qe,gne->qgn", query, tokens)
        return (jax.lax.top_k(cosines, 4)[0].mean(-1) * probe).sum()

    def ours(query, tokens):
        return (token_similarity(query, tokens, 4) * probe).sum()

    value, gradients = jax.jit(jax.value_and_grad(ours, argnums=(0, 1)))(query, tokens)
    expected, wanted = jax.jit(jax.value_and_grad(sorted_, argnums=(0, 1)))(query, tokens)
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-6)
    for gradient, want in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(gradient, want, rtol=0, atol=1e-6)


def test_equal_cosines_count_once_each_and_share_the_gradient():
    """Cosines .8, .6, .6, .6, 0 of which three count: two of the equal three."""
    query = jnp.array([[1.0, 0.0]])
    tokens = jnp.array([[[0.6, 0.8], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0], [0.6, 0.8]]])
    value, gradient = jax.value_and_grad(lambda t: token_similarity(query, t, 3)[0, 0])(tokens)
    np.testing.assert_allclose(value, 2.0 / 3, rtol=1e-6)
    shares = gradient[0, :, 0]  # the derivative by a cosine, as the query is (1, 0)
    np.testing.assert_allclose(shares, np.array([2 / 3, 1, 2 / 3, 0, 2 / 3]) / 3, rtol=1e-6)


def test_similarity_of_rounded_features_is_computed_in_float32(features):
    rounded = [jnp.asarray(x, jnp.bfloat16) for x in features]
    scores = token_similarity(*rounded, 3)
    expected = naive(*(np.asarray(x, np.float64) for x in rounded), 3)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)


# Loss


def reference(similarity, person_id, temperature, alpha):
    """Pair by pair, in float64."""
    count = len(person_id)
    labels = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            same = person_id[i] == person_id[j]
            labels[i, j] = 1.0 if i == j else alpha * same
    target = np.array([row / row.sum() for row in labels])
    total = 0.0
    for logits in (similarity / temperature, similarity.T / temperature):
        for row, wanted in zip(logits, target, strict=True):
            p = np.exp(row - row.max())
            p /= p.sum()
            total += sum(p * (np.log(p) - np.log(wanted + 1e-8))) / count / 2
    return total


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_loss_equals_its_equation(alpha):
    similarity = np.random.default_rng(2).uniform(-1, 1, size=(6, 6))
    person_id = np.array([3, 7, 3, 0, 7, 3])
    loss = fda_loss(jnp.float32(similarity), jnp.array(person_id), temperature=0.2, alpha=alpha)
    np.testing.assert_allclose(loss, reference(similarity, person_id, 0.2, alpha), rtol=1e-5)


def test_released_form_has_its_known_value():
    """sin(1 + 3 i + 7 j), times 5: value in float64 of the release's compute_sdm."""
    i, j = np.meshgrid(np.arange(4), np.arange(4), indexing="ij")
    similarity = jnp.float32(5 * np.sin(1 + 3 * i + 7 * j))
    loss = fda_loss(similarity, jnp.array([0, 1, 1, 2]), temperature=1.0, alpha=1.0)
    np.testing.assert_allclose(loss, 9.155639724133142, rtol=1e-6)


def test_loss_is_zero_and_flat_where_probabilities_are_the_labels():
    person_id = jnp.zeros(5, int)
    logits = jnp.where(jnp.eye(5, dtype=bool), 0.0, np.log(0.5))
    loss, gradient = jax.value_and_grad(fda_loss)(logits, person_id, temperature=1.0, alpha=0.5)
    np.testing.assert_allclose(loss, 0, atol=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_order_of_the_batch_changes_nothing():
    similarity = np.random.default_rng(3).uniform(-1, 1, size=(5, 5)).astype(np.float32)
    person_id, order = np.array([4, 4, 2, 0, 4]), np.array([3, 0, 4, 2, 1])
    run = jax.jit(lambda s, p: fda_loss(s, p, temperature=0.1, alpha=0.5))
    moved = run(similarity[order][:, order], person_id[order])
    np.testing.assert_allclose(moved, run(similarity, person_id), rtol=1e-6)


# Errors


@pytest.mark.parametrize(
    ("query", "tokens", "top", "message"),
    [
        ((5, 6), (4, 9, 7), 3, r"got \(5, 6\) and \(4, 9, 7\)"),
        ((5, 6), (9, 6), 3, r"got \(5, 6\) and \(9, 6\)"),
        ((5, 6), (4, 9, 6), 0, "top must be in 1..9, the tokens of an image, got 0"),
        ((5, 6), (4, 9, 6), 10, "top must be in 1..9, the tokens of an image, got 10"),
    ],
)
def test_similarity_refuses_what_cannot_be(query, tokens, top, message):
    with pytest.raises(ValueError, match=message):
        token_similarity(jnp.zeros(query), jnp.zeros(tokens), top)


@pytest.mark.parametrize(
    ("shape", "temperature", "alpha", "message"),
    [
        ((3, 4), 0.1, 0.5, r"got \(3, 4\) and \(3,\)"),
        ((3, 3), 0.0, 0.5, "temperature must be > 0, got 0.0"),
        ((3, 3), 0.1, 1.5, r"alpha must be in \[0, 1\], got 1.5"),
    ],
)
def test_loss_refuses_what_cannot_be(shape, temperature, alpha, message):
    with pytest.raises(ValueError, match=message):
        fda_loss(jnp.zeros(shape), jnp.arange(3), temperature=temperature, alpha=alpha)
