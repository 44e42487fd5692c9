"""Token groups, their matching losses, and the hardest negatives."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.losses.atp import (
    group_count,
    group_matching_losses,
    group_means,
    hardest_negatives,
)

RNG = np.random.default_rng(0)
HIDDEN = RNG.normal(size=(4, 11, 3))
# Real tokens: all, none beyond the first group, scattered, none at all.
COUNTED = np.zeros((4, 11), bool)
COUNTED[0] = True
COUNTED[1, :3] = True
COUNTED[2, [0, 4, 5, 9]] = True


@pytest.mark.parametrize(
    ("size", "stride", "groups"), [(36, 36, 2), (36, 18, 3), (24, 24, 3), (48, 24, 2), (72, 72, 1)]
)
def test_72_tokens_have_the_groups_of_table_v(size, stride, groups):
    assert group_count(72, size, stride) == groups


@pytest.mark.parametrize(("size", "stride"), [(4, 4), (4, 3), (5, 2), (11, 11), (1, 1), (3, 8)])
def test_means_equal_loops_in_float64(size, stride):
    means, present = group_means(
        jnp.asarray(HIDDEN), jnp.asarray(COUNTED), size=size, stride=stride
    )
    starts = [s for s in range(0, 11, stride) if s + size <= 11]
    assert means.shape == (4, len(starts), 3)
    for p in range(4):
        for k, start in enumerate(starts):
            rows = [HIDDEN[p, t] for t in range(start, start + size) if COUNTED[p, t]]
            assert present[p, k] == bool(rows)
            expected = np.mean(rows, axis=0) if rows else np.zeros(3)
            np.testing.assert_allclose(means[p, k], expected, rtol=1e-5, atol=1e-6)


def test_tokens_that_do_not_count_do_not_change_a_mean():
    changed = np.where(COUNTED[..., None], HIDDEN, 1e6)
    before, after = (
        group_means(jnp.asarray(h), jnp.asarray(COUNTED), size=4, stride=3)[0]
        for h in (HIDDEN, changed)
    )
    np.testing.assert_array_equal(before, after)


def test_matching_losses_equal_loops_in_float64():
    logits = RNG.normal(size=(5, 3, 2)) * 3
    match = np.array([True, False, False, True, False])
    counted = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0]], bool)
    losses = group_matching_losses(jnp.asarray(logits), jnp.asarray(match), jnp.asarray(counted))
    for k in range(2):
        terms = []
        for p in range(5):
            if counted[p, k]:
                chance = np.exp(logits[p, k]) / np.exp(logits[p, k]).sum()
                terms.append(-np.log(chance[int(match[p])]))
        np.testing.assert_allclose(losses[k], np.mean(terms), rtol=1e-5)
    assert losses[2] == 0  # no pair has this group


def test_hardest_negative_is_the_most_similar_other_person():
    person_id = np.array([1, 2, 1, 3])
    similarity = jnp.array(
        [
            [0.9, 0.1, 0.8, 0.3],
            [0.2, 0.7, 0.6, 0.5],
            [0.99, 0.4, 0.5, -0.1],
            [-0.5, -0.3, -0.4, 0.0],
        ]
    )
    same = jnp.asarray(person_id[:, None] == person_id[None])
    found = hardest_negatives(similarity, same)
    assert found.index.tolist() == [3, 2, 1, 1]
    assert found.valid.all()


def test_batch_of_one_person_has_no_negative():
    assert not hardest_negatives(jnp.zeros((3, 3)), jnp.ones((3, 3), bool)).valid.any()


@pytest.mark.parametrize(
    ("size", "stride", "message"),
    [
        (12, 1, "size must be at most the 11 tokens, got 12"),
        (0, 1, "size and stride must be at least 1, got 0 and 1"),
        (2, 0, "size and stride must be at least 1, got 2 and 0"),
    ],
)
def test_groups_that_cannot_be_are_refused(size, stride, message):
    with pytest.raises(ValueError, match=message):
        group_means(jnp.asarray(HIDDEN), jnp.asarray(COUNTED), size=size, stride=stride)


def test_shapes_that_disagree_are_refused():
    with pytest.raises(ValueError, match=r"got \(4, 11, 3\) and \(4, 10\)"):
        group_means(jnp.asarray(HIDDEN), jnp.asarray(COUNTED[:, 1:]), size=2, stride=2)
    with pytest.raises(ValueError, match=r"disagree: \(2, 3, 2\), \(3,\), \(2, 3\)"):
        group_matching_losses(jnp.zeros((2, 3, 2)), jnp.ones(3, bool), jnp.ones((2, 3), bool))
