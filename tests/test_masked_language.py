"""Which words are masked, how, and the loss on them."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.losses.masked_language import (
    corrupt,
    masked_language_loss,
    masked_mean,
    one_word_of_each,
    random_tokens,
    token_log_likelihood,
)

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "losses.npz"
# Words of 1, 3 and 2 pieces; one word; a row without words; four words.
WORDS = np.array(
    [
        [-1, 0, 1, 1, 1, 2, 2, -1],
        [-1, 0, 0, -1, -1, -1, -1, -1],
        [-1, -1, -1, -1, -1, -1, -1, -1],
        [-1, 0, 1, 2, 2, 3, -1, -1],
    ]
)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return {k.removeprefix("mlm/"): arrays[k] for k in arrays if k.startswith("mlm/")}


@pytest.fixture(scope="module")
def choices():
    """bool[6000, 4, 8], draws of one word of each row of WORDS."""
    keys = jax.random.split(jax.random.key(0), 6000)
    return np.asarray(jax.jit(jax.vmap(one_word_of_each, (0, None)))(keys, WORDS))


def test_all_pieces_of_exactly_one_word_are_chosen(choices):
    for row, words in enumerate(WORDS):
        patterns = {tuple(p) for p in choices[:, row]}
        count = words.max() + 1
        expected = {tuple(words == word) for word in range(count)} or {(False,) * 8}
        assert patterns == expected


def test_every_word_is_equally_likely(choices):
    for row, words in enumerate(WORDS):
        for word in range(words.max() + 1):
            share = choices[:, row, list(words).index(word)].mean()
            chance = 1 / (words.max() + 1)
            assert abs(share - chance) <= 4 * np.sqrt(chance * (1 - chance) / 6000)


def test_rows_choose_independently(choices):
    first = choices[:, 0, 1]  # word 0 of row 0
    other = choices[:, 3, 1]  # word 0 of row 3
    both = (first & other).mean()
    assert abs(both - 1 / 12) < 4 * np.sqrt(1 / 12 / 6000)


def test_random_tokens_are_eligible_and_of_the_share():
    eligible = np.arange(30_000) % 3 > 0
    chosen = np.asarray(random_tokens(jax.random.key(1), eligible, 0.15))
    assert not chosen[~eligible].any()
    assert abs(chosen[eligible].mean() - 0.15) < 4 * np.sqrt(0.15 * 0.85 / 20_000)


def test_corrupt_masks_80_changes_10_and_keeps_10_percent():
    size, vocabulary = 40_000, 50
    tokens = np.full(size, 7, np.int32)
    masked = np.arange(size) % 2 == 0
    changed = corrupt(jax.random.key(2), tokens, masked, mask_id=4, vocabulary=vocabulary)
    changed = np.asarray(changed)
    np.testing.assert_array_equal(changed[~masked], 7)
    share = np.bincount(changed[masked], minlength=vocabulary) / masked.sum()
    assert changed.dtype == np.int32
    chance = np.full(vocabulary, 0.1 / vocabulary)
    chance[[4, 7]] += 0.8, 0.1
    assert (np.abs(share - chance) <= 4.5 * np.sqrt(chance * (1 - chance) / masked.sum())).all()
    assert share.min() > 0


def test_loss_and_gradient_equal_pytorch(golden):
    loss, gradient = jax.value_and_grad(masked_language_loss)(
        jnp.asarray(golden["logits"]), golden["label"], golden["masked"]
    )
    np.testing.assert_allclose(loss, golden["loss"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(gradient, golden["gradient/logits"], rtol=0, atol=1e-5)


def test_loss_equals_a_loop_in_float64(golden):
    logits, terms = golden["logits"].astype(np.float64), []
    for i, j in np.argwhere(golden["masked"]):
        terms.append(np.log(np.exp(logits[i, j]).sum()) - logits[i, j, golden["label"][i, j]])
    loss = masked_language_loss(golden["logits"], golden["label"], golden["masked"])
    np.testing.assert_allclose(loss, np.mean(terms), rtol=0, atol=1e-6)


def test_log_likelihood_is_finite_for_huge_logits():
    logits = jnp.array([[1e4, -1e4, 0.0]])
    likelihood = [token_log_likelihood(logits, jnp.array([i]))[0] for i in range(3)]
    np.testing.assert_allclose(likelihood, [0, -2e4, -1e4])


def test_nothing_masked_gives_zero_with_zero_gradient(golden):
    nothing = jnp.zeros((3, 6), bool)
    loss, gradient = jax.value_and_grad(masked_language_loss)(
        jnp.asarray(golden["logits"]), golden["label"], nothing
    )
    assert loss == 0
    assert not gradient.any()


def test_masked_mean_of_each_row():
    values = jnp.array([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]])
    mask = jnp.array([[True, False, True], [False, False, False]])
    np.testing.assert_array_equal(masked_mean(values, mask, axis=1), [3.5, 0.0])
