"""Who it may be: the posterior over the images of a gallery, given what a witness said.

Images are candidates, not people: the images of one person share the mass of that person.
"""

import jax
import jax.numpy as jnp

from jaxreid.search.channel import random_answer


def prior(similarity: jax.Array, temperature: float | jax.Array) -> jax.Array:
    """Returns log softmax(similarity / temperature) over the gallery, f32[Q, N].

    Args:
      similarity: f32[Q, N] of the words to the images.
      temperature: > 0; see `calibrate.prior_temperature`.
    """
    return jax.nn.log_softmax(similarity.astype(jnp.float32) / temperature, axis=1)


def update(
    log_belief: jax.Array,
    posteriors: jax.Array,
    counts: jax.Array,
    wrong: jax.Array,
    attribute: jax.Array,
    said: jax.Array,
) -> jax.Array:
    """Returns the belief after an answer: p(g) C'_a[g, said] / Z.

    An answer may leave several values open ("black or navy"): their chances add. All values, or
    none, say nothing: "I don't know" leaves the belief, since every image has the same delta_a.

    Args:
      log_belief: f32[Q, N], nats.
      posteriors: f32[N, A, V], 0 on padding.
      counts: i32[A].
      wrong: f32[A], eps of the channel.
      attribute: i32[Q], asked; in 0..A-1.
      said: bool[Q, V], the values that the answer leaves.

    Returns:
      f32[Q, N], normalised.
    """
    floor = random_answer(counts, wrong, posteriors)  # [A, V]

    def chance(a: jax.Array, values: jax.Array) -> jax.Array:
        """f32[N], chance of one answer."""
        open_values = values.astype(jnp.float32)
        table = jax.lax.dynamic_index_in_dim(posteriors, a, axis=1, keepdims=False)  # [N, V]
        kept = jnp.einsum("nv,v->n", table, open_values, precision=jax.lax.Precision.HIGHEST)
        return (1 - wrong[a]) * kept + (floor[a] * open_values).sum()

    silent = ~said.any(axis=1) | (said.sum(axis=1) >= counts[attribute])
    chances = jax.vmap(chance)(attribute, said)  # [Q, N]
    likelihood = jnp.where(silent[:, None], 0.0, jnp.log(jnp.maximum(chances, 1e-30)))
    return jax.nn.log_softmax(log_belief + likelihood, axis=1)


@jax.jit
def posterior(
    log_prior: jax.Array,
    posteriors: jax.Array,
    counts: jax.Array,
    wrong: jax.Array,
    asked: jax.Array,
    said: jax.Array,
    number: jax.Array,
) -> jax.Array:
    """Returns the belief after all answers of a search; a corrected answer is simply another one.

    Args:
      log_prior: f32[1, N] of the words.
      posteriors, counts, wrong: as in `update`.
      asked: i32[A], the attributes in the order of their answers; what follows is not read.
      said: bool[A, V], the values that each of these answers leaves.
      number: i32[], how many answers there are.

    Returns:
      f32[1, N], nats.
    """

    def one(i: jax.Array, belief: jax.Array) -> jax.Array:
        return update(belief, posteriors, counts, wrong, asked[i][None], said[i][None])

    return jax.lax.fori_loop(0, number, one, log_prior)


def top_candidates(log_belief: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Returns the likeliest images, i32[Q, M], and their renormalised belief, f32[Q, M].

    Args:
      log_belief: f32[Q, N].
      count: M, at least 1; all images where the gallery has fewer.
    """
    if count < 1:
        raise ValueError(f"the number of candidates must be at least 1, got {count}")
    values, index = jax.lax.top_k(log_belief, min(count, log_belief.shape[1]))
    return index, jax.nn.log_softmax(values, axis=1)
