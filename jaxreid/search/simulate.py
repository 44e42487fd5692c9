"""Searches without people: witnesses that answer through a channel, all policies on equal terms."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.round_metrics import best_rank_integral
from jaxreid.search.belief import update
from jaxreid.search.channel import Channel
from jaxreid.search.policies import Policy, World, make_world, pick


class Trace(NamedTuple):
    """What happened in Q searches of T questions."""

    ranks: jax.Array  # i32[T + 1, Q], of the best right image, from 1; row 0 is before any question
    asked: jax.Array  # i32[T, Q], -1 where nothing was left to ask
    gain: jax.Array  # f32[T, Q], nats by which the entropy of the belief fell


class Searches(NamedTuple):
    """Q searches in one gallery."""

    log_prior: jax.Array  # f32[Q, N], after the words
    target: jax.Array  # bool[Q, N], images of the person that is searched; at least one
    truth: jax.Array  # i32[Q, A], values of that person; -1 where the witness cannot know
    posteriors: jax.Array  # f32[N, A, V]
    counts: jax.Array  # i32[A]
    closing: jax.Array  # bool[A, V, A], see `attributes.closing`


def compare(
    searches: Searches,
    policies: dict[str, Policy],
    *,
    answers: jax.Array,
    assumed: Channel,
    rounds: int,
    seed: int,
) -> dict[str, Trace]:
    """Returns what each policy does in the same searches.

    A witness has one answer to each question, whenever it is asked and whoever asks: policies
    differ in what they ask alone.

    Args:
      searches: see Searches.
      policies: by name.
      answers: i32[Q, A], from `channel.draw_answers` or elsewhere; -1 is "I don't know".
      assumed: the channel that policies and belief take the answers to come by.
      rounds: T, at least 1.
      seed: of policies that draw.

    Raises:
      ValueError: rounds is not in 1..A, or a search has no target.
    """
    attributes = len(searches.counts)
    if not 1 <= rounds <= attributes:
        raise ValueError(
            f"rounds must be in 1..{attributes}, the number of attributes, got {rounds}"
        )
    without = np.flatnonzero(~np.asarray(searches.target).any(axis=1))
    if len(without):
        raise ValueError(f"search {without[0]} has no image of its person in the gallery")
    world = make_world(searches.posteriors, searches.counts, assumed)
    world = world._replace(target=searches.target, truth=searches.truth)
    prior, closing = searches.log_prior, searches.closing
    return {
        name: run(policy, rounds, prior, world, answers, closing, jax.random.key(seed))
        for name, policy in policies.items()
    }


@partial(jax.jit, static_argnames=("policy", "rounds"))
def run(
    policy: Policy,
    rounds: int,
    log_prior: jax.Array,
    world: World,
    answers: jax.Array,
    closing: jax.Array,
    rng: jax.Array,
) -> Trace:
    """Returns the trace of one policy.

    Args:
      policy: of `policies`.
      rounds: T.
      log_prior: f32[Q, N].
      world: with the target.
      answers: i32[Q, A], of `draw_answers`.
      closing: bool[A, V, A].
      rng: key.
    """
    queries, values = len(log_prior), world.posteriors.shape[2]

    def turn(carry, key):
        belief, is_open = carry
        asked = pick(policy(belief, world, key), is_open)
        attribute = jnp.maximum(asked, 0)
        answer = jnp.take_along_axis(answers, attribute[:, None], axis=1)[:, 0]
        answer = jnp.where(asked < 0, -1, answer)
        said = jnp.arange(values)[None, :] == answer[:, None]
        new = update(belief, world.posteriors, world.counts, world.channel.wrong, attribute, said)
        closed = (closing[attribute] & said[:, :, None]).any(axis=1)
        closed |= jnp.arange(len(world.counts))[None, :] == attribute[:, None]
        gain = _entropy(belief) - _entropy(new)
        return (new, is_open & ~closed), (first_rank(new, world.target), asked, gain)

    is_open = jnp.ones((queries, len(world.counts)), bool)
    _, (ranks, asked, gain) = jax.lax.scan(
        turn, (log_prior, is_open), jax.random.split(rng, rounds)
    )
    start = first_rank(log_prior, world.target)
    return Trace(jnp.concatenate([start[None], ranks]), asked, gain)


def first_rank(belief: jax.Array, target: jax.Array) -> jax.Array:
    """Returns i32[Q], the rank from 1 of the best target, ties by gallery index."""
    masked = jnp.where(target, belief, -jnp.inf)
    best, place = masked.max(axis=1), masked.argmax(axis=1)
    before = jnp.arange(belief.shape[1])[None, :] < place[:, None]
    ahead = (belief > best[:, None]) | ((belief == best[:, None]) & before)
    return 1 + ahead.sum(axis=1, dtype=jnp.int32)


def summary(trace: Trace) -> dict[str, float]:
    """Returns BRI in nats and R1 after the last question in percent, means over the searches."""
    ranks = np.asarray(trace.ranks)
    return {
        "BRI": float(best_rank_integral(ranks).mean()),
        "R1": float(100 * (ranks[-1] == 1).mean()),
    }


def _entropy(log_p: jax.Array) -> jax.Array:
    """f32[Q], nats."""
    p = jnp.exp(log_p)
    return -jnp.where(p > 0, p * log_p, 0.0).sum(axis=1)
