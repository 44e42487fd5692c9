from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from asking_worlds import COUNTS, gain_by_hand, random_belief, random_channel, random_posteriors

from jaxreid.search.channel import Channel
from jaxreid.search.policies import (
    POLICIES,
    at_random,
    expected_gain,
    expected_gain_of_top,
    fixed_order,
    make_world,
    marginal_entropy,
    oracle,
    pick,
)


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    posteriors = jnp.asarray(random_posteriors(rng, 37))
    return make_world(posteriors, jnp.asarray(COUNTS), random_channel(rng))


@pytest.fixture(scope="module")
def belief():
    return random_belief(np.random.default_rng(1), 3, 37)


def by_hand(belief, world):
    return np.stack(
        [
            gain_by_hand(
                np.exp(np.asarray(row, np.float64)), world.posteriors, COUNTS, world.channel
            )
            for row in belief
        ]
    )


def test_expected_gain_equals_a_loop(world, belief):
    want = by_hand(belief, world)
    np.testing.assert_allclose(expected_gain(belief, world, None), want, atol=2e-6)
    assert want.min() > 1e-3  # each attribute tells something: the comparison is not of zeros


def test_gain_of_the_top_is_the_gain_of_those_alone(world, belief):
    for row in belief:
        kept = np.argsort(-np.asarray(row))[:9]
        p = np.exp(np.asarray(row, np.float64)[kept])
        want = gain_by_hand(p / p.sum(), world.posteriors[kept], COUNTS, world.channel)
        got = expected_gain_of_top(row[None], world, None, candidates=9)[0]
        np.testing.assert_allclose(got, want, atol=2e-6)


def test_top_of_all_is_all(world, belief):
    got = expected_gain_of_top(belief, world, None, candidates=1_000)
    np.testing.assert_allclose(got, expected_gain(belief, world, None), atol=2e-6)


def test_no_candidates_are_refused(world, belief):
    with pytest.raises(ValueError, match="number of candidates must be at least 1, got 0"):
        expected_gain_of_top(belief, world, None, candidates=0)


@pytest.mark.parametrize("policy", [expected_gain, marginal_entropy], ids=["eig", "entropy"])
def test_padding_of_values_is_inert(policy, world, belief):
    wide = jnp.pad(world.posteriors, ((0, 0), (0, 0), (0, 6)))
    padded = make_world(wide, world.counts, world.channel)
    np.testing.assert_allclose(policy(belief, padded, None), policy(belief, world, None), atol=1e-6)


def with_target(world, queries):
    """The oracle's view: each query searches images that are unlike the others'."""
    rng = np.random.default_rng(5)
    images, attributes, _ = world.posteriors.shape
    target = np.zeros((queries, images), bool)
    for q in range(queries):
        target[q, rng.choice(images, q + 1, replace=False)] = True
    truth = (rng.random((queries, attributes)) * COUNTS).astype(np.int32)
    truth[0, 1] = -1
    return world._replace(target=jnp.asarray(target), truth=jnp.asarray(truth))


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "random"])
def test_a_batch_is_its_searches_one_by_one(name, world, belief):
    seen = with_target(world, len(belief))
    policy = jax.jit(POLICIES[name])
    together = policy(belief, seen, None)
    for q in range(len(belief)):
        alone = seen._replace(target=seen.target[q : q + 1], truth=seen.truth[q : q + 1])
        one = policy(belief[q : q + 1], alone, None)
        np.testing.assert_allclose(together[q : q + 1], one, atol=1e-6)


def test_a_witness_who_never_knows_is_not_worth_asking(world, belief):
    channel = Channel(world.channel.wrong, world.channel.unknown.at[1].set(1 - 1e-6))
    gain = expected_gain(belief, make_world(world.posteriors, world.counts, channel), None)
    assert gain[:, 1].max() < 1e-5 < gain[:, 0].min()
    entropy = marginal_entropy(belief, make_world(world.posteriors, world.counts, channel), None)
    assert (entropy.argmax(axis=1) == 1).any()  # which entropy does not see


def test_entropy_is_that_of_the_marginal(world, belief):
    for row, got in zip(belief, marginal_entropy(belief, world, None), strict=True):
        p = np.exp(np.asarray(row, np.float64))
        for a, count in enumerate(COUNTS):
            mixed = [sum(p * np.asarray(world.posteriors[:, a, v])) for v in range(count)]
            assert got[a] == pytest.approx(-sum(x * np.log(x) for x in mixed if x > 0), abs=2e-6)


def test_the_oracle_asks_what_lifts_the_target_most(world, belief):
    seen = with_target(world, len(belief))
    got = np.asarray(jax.jit(oracle)(belief, seen, None))
    posteriors = np.asarray(world.posteriors, np.float64)
    for q in range(len(belief)):
        for a, count in enumerate(COUNTS):
            p = np.exp(np.asarray(belief[q], np.float64))
            value, eps = int(seen.truth[q, a]), float(world.channel.wrong[a])
            if value >= 0:
                p = p * ((1 - eps) * posteriors[:, a, value] + eps / count)
            p /= p.sum()
            target = np.asarray(seen.target[q])
            rank = 1 + (p > p[target].max() * (1 + 1e-5)).sum()
            assert got[q, a] == pytest.approx(1e-3 * p[target].sum() - np.log(rank), abs=1e-4)


def test_the_oracle_needs_to_see(world, belief):
    with pytest.raises(ValueError, match="oracle needs the target"):
        oracle(belief, world, None)


def test_fixed_order_is_that_of_the_scheme(world, belief):
    scores, is_open = fixed_order(belief, world, None), jnp.ones((3, 4), bool)
    for expected in range(4):
        asked = pick(scores, is_open)
        assert asked.tolist() == [expected] * 3
        is_open = is_open.at[:, expected].set(False)
    assert pick(scores, is_open).tolist() == [-1] * 3  # nothing left


def test_random_is_a_function_of_the_key(world, belief):
    one = at_random(belief, world, jax.random.key(3))
    assert (one == at_random(belief, world, jax.random.key(3))).all()
    assert not (one == at_random(belief, world, jax.random.key(4))).any()
    many = at_random(jnp.zeros((400, 37)), world, jax.random.key(5)).argmax(axis=1)
    assert np.bincount(many, minlength=4).min() > 60  # of 100 expected


def test_pick_leaves_out_what_is_closed():
    scores = jnp.array([[0.1, 0.9, 0.5], [0.3, 0.2, 0.1]])
    is_open = jnp.array([[True, False, True], [False, False, True]])
    assert pick(scores, is_open).tolist() == [2, 2]


def test_one_compilation_serves_all_beliefs(world):
    traced = []

    @jax.jit
    def gains(belief, world):
        traced.append(1)
        return expected_gain(belief, world, None)

    for seed in range(3):
        gains(random_belief(np.random.default_rng(seed), 1, 37), world)
    assert len(traced) == 1


def test_top_policy_of_the_table_keeps_100():
    assert isinstance(POLICIES["eig top 100"], partial)
    assert POLICIES["eig top 100"].keywords == {"candidates": 100}
