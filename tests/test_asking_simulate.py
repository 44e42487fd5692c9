import jax
import jax.numpy as jnp
import numpy as np
import pytest
from asking_worlds import COUNTS, chances_by_hand, random_belief, random_channel, random_posteriors

from jaxreid.search.channel import Channel, draw_answers
from jaxreid.search.policies import POLICIES, expected_gain, fixed_order, make_world
from jaxreid.search.simulate import Searches, compare, first_rank, run, summary

IMAGES, QUERIES = 40, 6


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Little is optimised: most time here is compilation."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def searches():
    rng = np.random.default_rng(0)
    target = np.zeros((QUERIES, IMAGES), bool)
    for q in range(QUERIES):
        target[q, rng.choice(IMAGES, 1 + q % 3, replace=False)] = True
    truth = (rng.random((QUERIES, len(COUNTS))) * COUNTS).astype(np.int32)
    truth[2, 0] = -1
    closing = np.zeros((4, 5, 4), bool)
    closing[1, 0, 2] = True  # answered by value 0, attribute 1 leaves no sense in attribute 2
    truth[:3, 1] = 0
    arrays = target, truth, random_posteriors(rng, IMAGES), COUNTS, closing
    return Searches(random_belief(rng, QUERIES, IMAGES), *map(jnp.asarray, arrays))


def answered(searches, channel, seed):
    return draw_answers(jax.random.key(seed), searches.truth, searches.counts, channel)


def test_a_search_equals_a_loop(searches):
    rng = np.random.default_rng(1)
    channel = random_channel(rng)
    answers = np.asarray(draw_answers(jax.random.key(0), searches.truth, COUNTS, channel))
    world = make_world(searches.posteriors, searches.counts, channel)
    world = world._replace(target=searches.target)
    trace = run(
        fixed_order, 4, searches.log_prior, world, jnp.asarray(answers), searches.closing,
        jax.random.key(0),
    )  # fmt: skip
    chances = chances_by_hand(searches.posteriors, COUNTS, channel)
    for q in range(QUERIES):
        p = np.exp(np.asarray(searches.log_prior[q], np.float64))
        target = np.flatnonzero(searches.target[q])
        closed, ranks, asked = set(), [], []
        for t in range(5):
            best = max(target, key=lambda g: (p[g], -g))
            ranks.append(1 + sum(p[g] > p[best] * (1 + 1e-6) for g in range(IMAGES)))
            if t == 4:
                break
            a = next((a for a in range(4) if a not in closed), None)
            asked.append(-1 if a is None else a)
            if a is None:
                continue
            closed.add(a)
            if answers[q, a] >= 0:
                p = p * chances[:, a, answers[q, a]]
                p /= p.sum()
            if a == 1 and answers[q, a] == 0:
                closed.add(2)
        assert np.asarray(trace.asked)[:, q].tolist() == asked
        assert np.asarray(trace.ranks)[:, q].tolist() == ranks


@pytest.mark.parametrize("name", list(POLICIES))
def test_nothing_is_asked_twice(name, searches):
    witness = Channel(jnp.zeros(4), jnp.zeros(4))
    answers = answered(searches, witness, 3)
    trace = compare(
        searches, {name: POLICIES[name]}, answers=answers, assumed=witness, rounds=4, seed=3
    )[name]
    for q in range(QUERIES):
        asked = [a for a in np.asarray(trace.asked)[:, q].tolist() if a >= 0]
        assert len(set(asked)) == len(asked)
        if 1 in asked and q < 3:  # its true answer closes attribute 2
            assert 2 not in asked[asked.index(1) :]
        else:
            assert len(asked) == 4
    assert trace.ranks.shape == (5, QUERIES)


def test_witnesses_are_the_same_for_all_policies(searches):
    """With every attribute asked, all policies end at the same belief."""
    rng = np.random.default_rng(1)
    channel = random_channel(rng)
    everything = searches._replace(closing=jnp.zeros_like(searches.closing))
    answers = answered(everything, channel, 5)
    traces = compare(everything, POLICIES, answers=answers, assumed=channel, rounds=4, seed=5)
    ends = {name: np.asarray(trace.ranks)[-1].tolist() for name, trace in traces.items()}
    assert all(end == ends["eig"] for end in ends.values()), ends
    assert len({tuple(np.asarray(t.ranks)[1].tolist()) for t in traces.values()}) > 1


def test_rank_of_the_best_target_with_ties_by_index():
    belief = jnp.array([[0.1, 0.4, 0.4, 0.1], [0.1, 0.4, 0.4, 0.1]])
    target = jnp.array([[False, False, True, True], [True, True, False, False]])
    assert first_rank(belief, target).tolist() == [2, 1]


def hard_world(seed, people=200, attributes=6):
    """People of whom some attributes are told and seen well, others hardly at all.

    All attributes have four values, so that neither count nor entropy says which are worth asking.
    """
    rng = np.random.default_rng(seed)
    counts = np.full(attributes, 4, np.int32)
    truth = rng.integers(0, 4, (people, attributes)).astype(np.int32)
    seen = np.tile([0.97, 0.4], attributes // 2)  # probability of the true value in a posterior
    posteriors = np.repeat(((1 - seen) / 3)[None, :, None], people, axis=0).repeat(4, axis=2)
    shown = truth.copy()
    blurred = rng.random(truth.shape) > seen
    shown[blurred] = rng.integers(0, 4, blurred.sum())
    np.put_along_axis(posteriors, shown[..., None], seen[None, :, None], axis=2)
    known = jnp.asarray(np.tile([0.05, 0.5], attributes // 2), jnp.float32)
    return Searches(
        jnp.full((people, people), -np.log(people), jnp.float32),
        jnp.eye(people, dtype=bool),
        jnp.asarray(truth),
        jnp.asarray(posteriors, jnp.float32),
        jnp.asarray(counts),
        jnp.zeros((attributes, 4, attributes), bool),
    ), Channel(known, known)


def test_expected_gain_beats_random_where_attributes_differ():
    world, witness = hard_world(0)
    policies = {name: POLICIES[name] for name in ("random", "eig")}
    answers = answered(world, witness, 7)
    found = [
        {
            name: summary(trace)["BRI"]
            for name, trace in compare(
                world, policies, answers=answers, assumed=assumed, rounds=3, seed=7
            ).items()
        }
        for assumed in (witness, Channel(jnp.full(6, 0.1), jnp.full(6, 0.1)))
    ]
    for scores in found:
        assert scores["eig"] < scores["random"] - 0.15, found


def test_gain_is_the_entropy_that_falls(searches):
    """On average over many witnesses, what is told is what was expected."""
    many = 2_000
    rng = np.random.default_rng(2)
    one = np.log(rng.dirichlet(np.ones(IMAGES)))
    channel = random_channel(rng)
    posteriors = searches.posteriors
    world = make_world(posteriors, searches.counts, channel)
    belief = jnp.asarray(one[None], jnp.float32)
    best = float(expected_gain(belief, world, None).max())
    target = rng.choice(IMAGES, many, p=np.exp(one))
    uniform = rng.random((many, 4, 1))
    cumulative = np.cumsum(np.asarray(posteriors), axis=2)[target]
    truth = np.minimum((uniform > cumulative).sum(axis=2), COUNTS - 1).astype(np.int32)
    many_searches = searches._replace(
        log_prior=jnp.tile(belief, (many, 1)),
        target=jnp.asarray(np.eye(IMAGES, dtype=bool)[target]),
        truth=jnp.asarray(truth),
    )
    trace = compare(
        many_searches, {"eig": expected_gain}, answers=answered(many_searches, channel, 1),
        assumed=channel, rounds=1, seed=1,
    )["eig"]  # fmt: skip
    assert float(trace.gain.mean()) == pytest.approx(best, rel=0.15)


@pytest.mark.parametrize("rounds", [0, 5])
def test_rounds_are_checked(rounds, searches):
    channel = random_channel(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"rounds must be in 1\.\.4"):
        compare(searches, {}, answers=None, assumed=channel, rounds=rounds, seed=0)


def test_a_search_for_nobody_is_refused(searches):
    channel = random_channel(np.random.default_rng(0))
    nobody = searches._replace(target=searches.target.at[4].set(False))
    with pytest.raises(ValueError, match="search 4 has no image of its person"):
        compare(nobody, {}, answers=None, assumed=channel, rounds=2, seed=0)
