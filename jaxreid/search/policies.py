"""What to ask next: a score for every attribute; the highest of those still open is asked.

Every policy is `policy(belief, world, rng) -> f32[Q, A]`, for Q searches at a time. `expected_gain`
is the one to use; the others are there to be compared with.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxreid.search.belief import top_candidates, update
from jaxreid.search.channel import Channel, answered_chances, random_answer

_EXACT = jax.lax.Precision.HIGHEST
_ORACLE_QUERIES = 8  # queries whose futures the oracle looks at together


class World(NamedTuple):
    """What policies know of a gallery; the last two fields are for the oracle alone."""

    posteriors: jax.Array  # f32[N, A, V], P_a(v | image); 0 on padding
    counts: jax.Array  # i32[A], V_a
    channel: Channel  # that the policy assumes
    noise: jax.Array  # f32[N, A], entropy of C'_a[g] in nats, see `answer_noise`
    target: jax.Array | None = None  # bool[Q, N], images of the person that is searched
    truth: jax.Array | None = None  # i32[Q, A], the values of that person; -1 unknown


Policy = Callable[[jax.Array, World, jax.Array], jax.Array]


def make_world(posteriors: jax.Array, counts: jax.Array, channel: Channel) -> World:
    """Returns the world of a gallery, with the entropies that no question changes."""
    return World(posteriors, counts, channel, answer_noise(posteriors, counts, channel.wrong))


@jax.jit
def answer_noise(posteriors: jax.Array, counts: jax.Array, wrong: jax.Array) -> jax.Array:
    """Returns H(C'_a[g]), f32[N, A] in nats: how unsure an answer is if it is image g."""
    return entropy(answered_chances(posteriors, counts, wrong))


def expected_gain(belief: jax.Array, world: World, rng: jax.Array) -> jax.Array:
    """Returns the expected information gain of asking each attribute, in nats, >= 0.

        EIG(a) = H(p C_a) - sum_g p_g H(C_a[g])

    The column of "I don't know" has the same delta_a for every image, which makes this
    (1 - delta_a) [H(p C'_a) - sum_g p_g H(C'_a[g])] with C' of `channel.answered_chances`; and as
    C' is affine in P, one product of p with P is all that depends on the belief.

    Args:
      belief: f32[Q, N], log p in nats.
      world: see World.
      rng: not used.

    Returns:
      f32[Q, A].
    """
    p = jnp.exp(belief)
    marginal = attribute_marginals(p, world.posteriors)
    known = jnp.einsum("qn,na->qa", p, world.noise, precision=_EXACT)
    return _gain(marginal, known, world)


def expected_gain_of_top(
    belief: jax.Array, world: World, rng: jax.Array, *, candidates: int
) -> jax.Array:
    """Returns `expected_gain` over the likeliest images alone, renormalised.

    Args:
      belief, world, rng: as there.
      candidates: M, how many.
    """
    index, log_p = top_candidates(belief, candidates)
    p = jnp.exp(log_p)
    marginal = jnp.einsum("qm,qmav->qav", p, world.posteriors[index], precision=_EXACT)
    known = jnp.einsum("qm,qma->qa", p, world.noise[index], precision=_EXACT)
    return _gain(marginal, known, world)


def marginal_entropy(belief: jax.Array, world: World, rng: jax.Array) -> jax.Array:
    """Returns H(p P_a), f32[Q, A] in nats: how unsure the attribute is, whoever may answer."""
    return entropy(attribute_marginals(jnp.exp(belief), world.posteriors))


def fixed_order(belief: jax.Array, world: World, rng: jax.Array) -> jax.Array:
    """Returns scores that ask in the order of the scheme."""
    order = -jnp.arange(len(world.counts), dtype=jnp.float32)
    return jnp.broadcast_to(order[None], (len(belief), len(world.counts)))


def at_random(belief: jax.Array, world: World, rng: jax.Array) -> jax.Array:
    """Returns scores drawn at random."""
    return jax.random.uniform(rng, (len(belief), len(world.counts)))


def oracle(belief: jax.Array, world: World, rng: jax.Array) -> jax.Array:
    """Returns minus the log rank that the target has after the true answer to each question.

    It looks at the target and takes every witness to answer, and truly: a greedy reference, not a
    bound where answers are noisy. Of equal ranks the one that leaves the target more mass is
    better. What is unknown of the target changes nothing.
    """

    def of_query(belief, target, truth):
        def after(attribute, value):
            said = (jnp.arange(world.posteriors.shape[2]) == value)[None]  # none for -1
            new = update(
                belief[None], world.posteriors, world.counts, world.channel.wrong,
                attribute[None], said,
            )[0]  # fmt: skip
            best = jnp.where(target, new, -jnp.inf).max()
            # The mass, in (0, 1), only decides between equal ranks: ln(r + 1) - ln r >= 1e-3
            # up to rank 1,000.
            mass = jnp.exp(jax.nn.logsumexp(jnp.where(target, new, -jnp.inf)))
            return 1e-3 * mass - jnp.log(1.0 + (new > best).sum())

        return jax.vmap(after)(jnp.arange(len(world.counts)), truth)

    if world.target is None or world.truth is None:
        raise ValueError("the oracle needs the target and the truth in its world")
    looked = (belief, world.target, world.truth)
    return jax.lax.map(lambda x: of_query(*x), looked, batch_size=_ORACLE_QUERIES)


POLICIES: dict[str, Policy] = {
    "random": at_random,
    "fixed": fixed_order,
    "entropy": marginal_entropy,
    "eig": expected_gain,
    "eig top 100": partial(expected_gain_of_top, candidates=100),
    "oracle": oracle,
}


def pick(scores: jax.Array, is_open: jax.Array) -> jax.Array:
    """Returns i32[Q], the open attribute of the highest score; -1 where none is open.

    Args:
      scores: f32[Q, A].
      is_open: bool[Q, A], not asked yet and worth asking.
    """
    best = jnp.where(is_open, scores, -jnp.inf).argmax(axis=1).astype(jnp.int32)
    return jnp.where(is_open.any(axis=1), best, -1)


def attribute_marginals(p: jax.Array, posteriors: jax.Array) -> jax.Array:
    """Returns f32[Q, A, V], sum_g p_g P_a(v | g)."""
    images, attributes, values = posteriors.shape
    flat = posteriors.reshape(images, attributes * values)
    return jnp.matmul(p, flat, precision=_EXACT).reshape(-1, attributes, values)


def entropy(p: jax.Array) -> jax.Array:
    """Returns the entropy in nats over the last axis; probabilities of 0 add nothing."""
    return -jax.scipy.special.xlogy(p, p).sum(axis=-1)


def _gain(marginal: jax.Array, known: jax.Array, world: World) -> jax.Array:
    """(1 - delta) [H((1 - eps) marginal + eps / V) - known], at least 0."""
    wrong, unknown = world.channel
    floor = random_answer(world.counts, wrong, world.posteriors)
    told = (1 - wrong)[None, :, None] * marginal + floor[None]
    return jnp.maximum((1 - unknown)[None] * (entropy(told) - known), 0.0)
