import jax
import jax.numpy as jnp
import numpy as np
import pytest
from asking_worlds import COUNTS, chances_by_hand, random_belief, random_channel, random_posteriors

from jaxreid.search.belief import posterior, prior, top_candidates, update
from jaxreid.search.channel import UNKNOWN, answer_chances, draw_answers, estimate_channel

IMAGES = 23


@pytest.fixture(scope="module")
def gallery():
    rng = np.random.default_rng(0)
    return random_posteriors(rng, IMAGES), random_channel(rng), random_belief(rng, 1, IMAGES)


def mask(values, width=5):
    out = np.zeros(width, bool)
    out[list(values)] = True
    return out


def told(gallery, answers, start=None):
    """Belief after {attribute: values}, in their order."""
    posteriors, channel, belief = gallery
    asked = np.zeros(len(COUNTS), np.int32)
    said = np.zeros((len(COUNTS), 5), bool)
    for i, (a, values) in enumerate(answers.items()):
        asked[i], said[i] = a, mask(values)
    start = belief if start is None else start
    return posterior(
        start, jnp.asarray(posteriors), jnp.asarray(COUNTS), channel.wrong,
        jnp.asarray(asked), jnp.asarray(said), len(answers),
    )  # fmt: skip


def bayes(gallery, answers):
    """p(g) prod_a sum_v C_a[g, v] / Z, a number at a time."""
    posteriors, channel, belief = gallery
    chances = chances_by_hand(posteriors, COUNTS, channel)
    p = []
    for g in range(IMAGES):
        mass = float(np.exp(np.float64(belief[0, g])))
        for a, values in answers.items():
            columns = values if values else [5]  # the column of "I don't know"
            mass *= sum(chances[g, a, v] for v in columns)
        p.append(mass)
    return np.array(p) / sum(p)


@pytest.mark.parametrize(
    "answers",
    [{1: [3]}, {1: [3], 0: [1], 3: [0]}, {2: [0, 2]}, {3: []}, {1: [0, 1, 2], 2: [], 0: [0]}],
    ids=["one", "three", "either of two", "unknown", "mixed"],
)
def test_answers_join_by_the_rule_of_bayes(gallery, answers):
    np.testing.assert_allclose(
        np.exp(told(gallery, answers)[0]), bayes(gallery, answers), rtol=1e-4
    )


def test_chances_equal_a_loop(gallery):
    posteriors, channel, _ = gallery
    got = answer_chances(jnp.asarray(posteriors), jnp.asarray(COUNTS), channel)
    want = chances_by_hand(posteriors, COUNTS, channel)
    np.testing.assert_allclose(got, want, atol=1e-6)
    np.testing.assert_allclose(want.sum(axis=2), 1, atol=1e-6)


@pytest.mark.parametrize("values", [[], [0, 1, 2]], ids=["unknown", "any value"])
def test_what_says_nothing_leaves_the_belief(gallery, values):
    np.testing.assert_allclose(told(gallery, {2: values}), gallery[2], atol=2e-6)


def test_the_order_of_answers_does_not_matter(gallery):
    one, other = {1: [3], 0: [1], 3: [0, 2]}, {3: [0, 2], 0: [1], 1: [3]}
    np.testing.assert_allclose(told(gallery, one), told(gallery, other), atol=1e-5)


def test_updates_one_by_one_equal_the_whole(gallery):
    posteriors, channel, belief = gallery
    answers = {1: [3], 0: [1], 3: [0]}
    for a, values in answers.items():
        belief = jax.jit(update)(
            belief, jnp.asarray(posteriors), jnp.asarray(COUNTS), channel.wrong,
            jnp.array([a]), jnp.asarray(mask(values))[None],
        )  # fmt: skip
    np.testing.assert_allclose(belief, told(gallery, answers), atol=1e-5)


def test_an_answer_that_nobody_fits_is_left_to_the_channel(gallery):
    """Where every posterior excludes a value, wrong answers are all that explain it."""
    posteriors, channel, belief = gallery
    without = posteriors.copy()
    without[:, 1] = [0.5, 0.5, 0, 0, 0]
    got = told((without, channel, belief), {1: [4]})
    assert np.isfinite(np.asarray(got)).all()
    np.testing.assert_allclose(got, belief, atol=2e-6)


def test_a_batch_is_its_searches_one_by_one(gallery):
    posteriors, channel, _ = gallery
    rng = np.random.default_rng(3)
    belief = random_belief(rng, 4, IMAGES)
    attribute = jnp.array([0, 1, 3, 2])
    said = jnp.asarray(np.stack([mask([1]), mask([0, 4]), mask([]), mask([2])]))
    world = jnp.asarray(posteriors), jnp.asarray(COUNTS), channel.wrong
    step = jax.jit(update)
    together = step(belief, *world, attribute, said)
    for q in range(4):
        part = slice(q, q + 1)
        one = step(belief[part], *world, attribute[part], said[part])
        np.testing.assert_allclose(together[part], one, atol=1e-6)


def test_prior_is_the_softmax_of_the_scores():
    scores = np.array([[0.9, 0.1, -0.4], [0.0, 0.0, 3.0]], np.float32)
    want = np.exp(scores / 0.3) / np.exp(scores / 0.3).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(prior(jnp.asarray(scores), 0.3)), want, rtol=1e-5)


def test_top_candidates_are_renormalised(gallery):
    index, log_p = top_candidates(gallery[2], 4)
    p = np.exp(np.asarray(gallery[2][0]))
    order = np.argsort(-p)[:4]
    assert index[0].tolist() == order.tolist()
    np.testing.assert_allclose(np.exp(log_p[0]), p[order] / p[order].sum(), rtol=1e-5)


def test_witnesses_answer_as_the_channel_says():
    rng = np.random.default_rng(2)
    counts = np.array([4, 2], np.int32)
    channel = random_channel(rng, 2)
    truth = np.tile(np.array([[2, 1]], np.int32), (20_000, 1))
    truth[:100] = -1
    answers = np.asarray(draw_answers(jax.random.key(0), jnp.asarray(truth), counts, channel))
    assert (answers[:100] == UNKNOWN).all()
    answers = answers[100:]
    for a, count in enumerate(counts):
        eps, delta = float(channel.wrong[a]), float(channel.unknown[a])
        for v in range(count):
            want = (1 - delta) * ((1 - eps) * (v == truth[-1, a]) + eps / count)
            assert (answers[:, a] == v).mean() == pytest.approx(want, abs=0.012)
        assert (answers[:, a] == UNKNOWN).mean() == pytest.approx(delta, abs=0.012)


def test_a_channel_is_found_again_from_its_answers():
    rng = np.random.default_rng(4)
    channel = random_channel(rng)
    truth = (rng.random((40_000, len(COUNTS))) * COUNTS).astype(np.int32)
    answers = np.asarray(draw_answers(jax.random.key(1), jnp.asarray(truth), COUNTS, channel))
    right, unknown = (answers == truth).sum(axis=0), (answers == UNKNOWN).sum(axis=0)
    got = estimate_channel(right, len(truth) - right - unknown, unknown, COUNTS)
    np.testing.assert_allclose(got.wrong, channel.wrong, atol=0.02)
    np.testing.assert_allclose(got.unknown, channel.unknown, atol=0.01)


def test_an_estimate_of_nothing_is_the_prior():
    got = estimate_channel(np.zeros(2, int), np.zeros(2, int), np.zeros(2, int), np.array([2, 4]))
    np.testing.assert_allclose(got.unknown, [0.5, 0.5])
    np.testing.assert_allclose(got.wrong, [1.0, 0.5 * 4 / 3])
    with pytest.raises(ValueError, match=r"wrong must be 2 counts >= 0, got \[2\] from -1"):
        estimate_channel(np.zeros(2, int), np.array([-1, 0]), np.zeros(2, int), np.array([2, 4]))
