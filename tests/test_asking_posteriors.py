import jax
import jax.numpy as jnp
import numpy as np
import pytest
from asking_worlds import COUNTS

from jaxreid.search.attributes import read_scheme, value_counts, value_mask
from jaxreid.search.calibrate import (
    attribute_temperatures,
    prior_temperature,
    probabilities,
    value_bias,
)
from jaxreid.search.posteriors import (
    HeadTraining,
    head_scores,
    prompt_scores,
    prompts_of,
    quality,
    train_head,
)

ZERO = np.zeros((4, 5), np.float32)


def log_softmax(row):
    row = np.asarray(row, np.float64)
    return row - row.max() - np.log(np.exp(row - row.max()).sum())


def drawn(seed, images=3_000):
    """Scores, and labels drawn from their softmax at known temperatures."""
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((images, 4, 5)).astype(np.float32)
    temperature = np.array([0.2, 1.0, 3.0, 0.5])
    labels = np.zeros((images, 4), np.int32)
    for i in range(images):
        for a, count in enumerate(COUNTS):
            p = np.exp(log_softmax(scores[i, a, :count] / temperature[a]))
            labels[i, a] = rng.choice(count, p=p / p.sum())
    return scores, labels, temperature


def test_temperatures_are_found_again():
    scores, labels, temperature = drawn(0)
    labels[::3, 1] = -1  # unknown, and not used
    got = attribute_temperatures(*map(jnp.asarray, (scores, ZERO, labels, COUNTS)))
    np.testing.assert_allclose(got, temperature, rtol=0.25)


def test_no_other_temperature_is_likelier():
    scores, labels, _ = drawn(1, images=200)
    got = np.asarray(attribute_temperatures(*map(jnp.asarray, (scores, ZERO, labels, COUNTS))))

    def loss(a, temperature):
        rows = [log_softmax(scores[i, a, : COUNTS[a]] / temperature) for i in range(200)]
        return -np.mean([row[labels[i, a]] for i, row in enumerate(rows)])

    for a in range(4):
        assert loss(a, got[a]) <= min(loss(a, got[a] * f) for f in (0.8, 0.97, 1.03, 1.25)) + 1e-6


def test_prior_temperature_is_the_likeliest():
    rng = np.random.default_rng(2)
    gallery_ids = np.repeat(np.arange(20), 3)
    query_ids = rng.integers(0, 20, 60)
    similarity = rng.standard_normal((60, 60)).astype(np.float32) * 0.1
    similarity += 0.15 * (query_ids[:, None] == gallery_ids[None])
    got = prior_temperature(similarity, query_ids, gallery_ids)

    def loss(temperature):
        total = 0.0
        for q in range(60):
            p = np.exp(log_softmax(similarity[q] / temperature))
            total -= np.log(p[gallery_ids == query_ids[q]].sum())
        return total / 60

    assert loss(got) <= min(loss(got * f) for f in (0.5, 0.95, 1.05, 2.0)) + 1e-6
    assert loss(got) < np.log(20)  # of no prior at all


def test_probabilities_are_those_of_a_loop_and_0_on_padding():
    rng = np.random.default_rng(3)
    scores = rng.standard_normal((6, 4, 5)).astype(np.float32)
    bias = rng.standard_normal((4, 5)).astype(np.float32)
    temperature = np.array([0.3, 1.0, 2.0, 0.7], np.float32)
    got = np.asarray(probabilities(*map(jnp.asarray, (scores, bias, temperature, COUNTS))))
    for i in range(6):
        for a, count in enumerate(COUNTS):
            want = np.exp(log_softmax(scores[i, a, :count] / temperature[a] + bias[a, :count]))
            np.testing.assert_allclose(got[i, a, :count], want, rtol=1e-5)
            assert (got[i, a, count:] == 0).all()


def test_bias_is_the_log_share_and_nothing_is_impossible():
    labels = np.array([[0, 1], [0, 2], [1, -1], [0, 2]], np.int32)
    got = value_bias(labels, np.array([2, 4]))
    np.testing.assert_allclose(np.exp(got[0, :2]), [3 / 4, 1 / 4])
    np.testing.assert_allclose(np.exp(got[1]), np.array([1, 1, 2, 1]) / 5, rtol=1e-6)
    assert (got[0, 2:] == 0).all()


def test_similarity_of_prompts_finds_its_place():
    scheme = read_scheme()
    counts = value_counts(scheme)
    prompts = prompts_of(scheme)
    assert len(prompts) == counts.sum()
    similarity = np.arange(counts.sum() * 3, dtype=np.float32).reshape(-1, 3) + 1
    scores = prompt_scores(similarity, counts)
    assert scores.shape == (3, *value_mask(counts).shape)
    row = 0
    for a, attribute in enumerate(scheme.attributes):
        for v, value in enumerate(attribute.values):
            assert prompts[row] == value.prompt
            assert scores[:, a, v].tolist() == similarity[row].tolist()
            row += 1
        assert (scores[:, a, len(attribute.values) :] == 0).all()


def labelled(rng, images):
    """Embeddings that tell attribute 1 well, attribute 0 a little and the others not at all."""
    labels = (rng.random((images, 4)) * COUNTS).astype(np.int32)
    embedding = 0.5 * rng.standard_normal((images, 12)).astype(np.float32)
    embedding[np.arange(images), labels[:, 1]] += 2
    embedding[np.arange(images), 5 + labels[:, 0]] += 0.4
    return embedding, labels


def test_a_head_learns_what_is_to_be_seen_and_says_when_nothing_is():
    rng = np.random.default_rng(4)
    embedding, labels = labelled(rng, 600)
    val, test = labelled(rng, 200), labelled(rng, 400)
    labels[:100, 1] = -1
    head = train_head(embedding, labels, *val, COUNTS, HeadTraining(steps=100))
    scores = head_scores(head, jnp.asarray(val[0]))
    fitted = attribute_temperatures(*map(jnp.asarray, (scores, ZERO, val[1], COUNTS)))
    shown = np.asarray(
        probabilities(
            head_scores(head, jnp.asarray(test[0])), jnp.asarray(ZERO), fitted, jnp.asarray(COUNTS)
        )
    )
    found = quality(shown, test[1])
    assert found.right[1] > 0.95 > 0.8 > found.right[0] > found.majority[0] + 0.05
    np.testing.assert_allclose(found.confidence, found.right, atol=0.08)  # it knows how often
    assert (found.loss[2:] < np.log(COUNTS[2:]) + 0.1).all()


def test_padding_of_values_learns_nothing():
    rng = np.random.default_rng(5)
    head = train_head(*labelled(rng, 60), *labelled(rng, 60), COUNTS, HeadTraining(steps=40))
    for a, count in enumerate(COUNTS):
        assert (np.asarray(head.bias)[a, count:] == 0).all()
        assert (np.asarray(head.kernel)[:, a, count:] == 0).all()
        assert (np.asarray(head.bias)[a, :count] != 0).all()


def test_the_best_step_on_val_is_kept():
    """Twelve images can be learnt by heart, which is of no use on others."""
    rng = np.random.default_rng(6)
    train, val = labelled(rng, 12), labelled(rng, 300)
    head = train_head(*train, *val, COUNTS, HeadTraining(steps=400, learning_rate=0.2))
    scores = head_scores(head, jnp.asarray(val[0]))
    shown = probabilities(scores, jnp.asarray(ZERO), jnp.ones(4), jnp.asarray(COUNTS))
    assert quality(np.asarray(shown), val[1]).loss.mean() <= np.log(COUNTS).mean() + 1e-4


def test_quality_equals_a_count():
    shown = np.array([[[0.7, 0.3]], [[0.4, 0.6]], [[0.2, 0.8]], [[0.5, 0.5]]], np.float32)
    found = quality(shown, np.array([[0], [0], [1], [-1]]))
    assert found.right[0] == pytest.approx(2 / 3)
    assert found.majority[0] == pytest.approx(2 / 3)
    assert found.loss[0] == pytest.approx(-np.log([0.7, 0.4, 0.8]).mean(), abs=1e-6)
    assert found.confidence[0] == pytest.approx(np.mean([0.7, 0.6, 0.8]), abs=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: prior_temperature(np.ones((2, 2)), [1, 3], [1, 2]),
            "query 1 has no image of its person 3",
        ),
        (lambda: prior_temperature(np.ones((2, 3)), [1, 3], [1, 2]), r"must be \[2, 2\]"),
        (
            lambda: attribute_temperatures(
                jnp.ones((3, 2, 4)), jnp.zeros((2, 4)), jnp.full((3, 2), -1), jnp.array([2, 4])
            ),
            "no image tells attribute 0",
        ),
        (lambda: prompt_scores(np.ones((3, 7)), COUNTS), "must have 14 prompts, got 3"),
        (
            lambda: train_head(
                np.ones((3, 2)), np.ones((2, 4)), np.ones((3, 2)), np.ones((3, 4)), COUNTS,
                HeadTraining(),
            ),
            "train labels must be",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_calibration_compiles():
    assert jax.jit(probabilities)(
        jnp.ones((2, 4, 5)), jnp.asarray(ZERO), jnp.ones(4), jnp.asarray(COUNTS)
    ).sum() == pytest.approx(8)
