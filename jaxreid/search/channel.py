"""The way from what is true of a person to what a witness answers, per attribute."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.search.attributes import Scheme

UNKNOWN = -1  # the answer "I don't know"


class Channel(NamedTuple):
    """How witnesses answer: with `unknown` not at all, else with `wrong` at random."""

    wrong: jax.Array  # f32[A] in [0, 1], eps; a random answer may be the right one
    unknown: jax.Array  # f32[A] in [0, 1), delta


def scheme_channel(scheme: Scheme) -> Channel:
    """Returns the channel that the file of a scheme tells."""
    attributes = scheme.attributes
    return Channel(
        jnp.array([attribute.wrong for attribute in attributes], jnp.float32),
        jnp.array([attribute.unknown for attribute in attributes], jnp.float32),
    )


def answered_chances(posteriors: jax.Array, counts: jax.Array, wrong: jax.Array) -> jax.Array:
    """Returns the chance of each answer of a witness who answers, C' = (1 - eps) P + eps / V_a.

    Args:
      posteriors: f32[N, A, V], P_a(v | image); 0 on padding.
      counts: i32[A], V_a.
      wrong: f32[A], eps.

    Returns:
      f32[N, A, V], rows summing to 1; 0 on padding.
    """
    return (1 - wrong)[None, :, None] * posteriors + random_answer(counts, wrong, posteriors)[None]


def random_answer(counts: jax.Array, wrong: jax.Array, posteriors: jax.Array) -> jax.Array:
    """Returns f32[A, V], eps / V_a: the part of C' that is the same for all images."""
    real = jnp.arange(posteriors.shape[2])[None, :] < counts[:, None]
    return jnp.where(real, (wrong / counts)[:, None], 0.0)


def answer_chances(posteriors: jax.Array, counts: jax.Array, channel: Channel) -> jax.Array:
    """Returns the chance of every answer, f32[N, A, V + 1]; the last one is "I don't know".

    C_a = (1 - delta_a) [(1 - eps_a) P_a + eps_a / V_a], and a column of delta_a.
    """
    told = answered_chances(posteriors, counts, channel.wrong)
    known = (1 - channel.unknown)[None, :, None] * told
    silent = jnp.broadcast_to(channel.unknown[None, :, None], (*told.shape[:2], 1))
    return jnp.concatenate([known, silent], axis=2)


def draw_answers(
    rng: jax.Array, truth: jax.Array, counts: jax.Array, channel: Channel
) -> jax.Array:
    """Returns what each witness answers to each question, i32[Q, A]; UNKNOWN is a value of it.

    Args:
      rng: key.
      truth: i32[Q, A], the value that is true; -1 where the witness cannot know it.
      counts: i32[A], V_a.
      channel: of the witnesses.
    """
    silent_rng, wrong_rng, value_rng = jax.random.split(rng, 3)
    silent = jax.random.uniform(silent_rng, truth.shape) < channel.unknown[None]
    random = jax.random.uniform(wrong_rng, truth.shape) < channel.wrong[None]
    drawn = jax.random.uniform(value_rng, truth.shape) * counts[None]
    drawn = jnp.minimum(drawn.astype(jnp.int32), counts[None] - 1)
    return jnp.where(silent | (truth < 0), UNKNOWN, jnp.where(random, drawn, truth))


def estimate_channel(
    right: np.ndarray, wrong: np.ndarray, unknown: np.ndarray, counts: np.ndarray
) -> Channel:
    """Returns the channel of counted answers.

    A random answer is right by chance in one of V_a cases, so of the answers that were given the
    share eps (V_a - 1) / V_a is wrong. Shares are posterior means under a uniform prior,
    (k + 1) / (n + 2), so that an answer never heard is not impossible.

    Args:
      right, wrong, unknown: i[A], how many answers were so.
      counts: i32[A], V_a.

    Raises:
      ValueError: shapes disagree or a count is negative.
    """
    tables = [np.asarray(x) for x in (right, wrong, unknown)]
    for name, table in zip(("right", "wrong", "unknown"), tables, strict=True):
        if table.shape != np.shape(counts) or (table < 0).any():
            raise ValueError(
                f"{name} must be {len(counts)} counts >= 0, got {list(table.shape)} from "
                f"{table.min(initial=0)}"
            )
    right, wrong, unknown = tables
    answered = right + wrong
    silent = (unknown + 1) / (answered + unknown + 2)
    error = (wrong + 1) / (answered + 2)
    eps = np.minimum(error * counts / (counts - 1), 1.0)
    return Channel(jnp.asarray(eps, jnp.float32), jnp.asarray(silent, jnp.float32))
