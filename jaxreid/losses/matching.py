"""Image-text matching (ITM): sampled hard negatives and the binary loss."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Negatives(NamedTuple):
    """For each row of a batch, a negative of the other modality."""

    index: jax.Array  # i32[B], row in the batch
    valid: jax.Array  # bool[B], False where the batch holds no other person


def sample_negatives(
    rng: jax.Array, logits: jax.Array, same_person: jax.Array, *, hardness: jax.Array | float = 1.0
) -> Negatives:
    """Draws one negative of another person a row, with probability softmax(hardness * logits).

    hardness = 1 is ALBEF's sampling (multinomial over the softmax of the contrastive
    similarity); 0 draws uniformly, so a ramp from 0 to 1 goes from random to hard negatives.
    Where the releases stop with "sum of probabilities <= 0" since the batch holds one person
    only, the row is marked as not valid here.

    Args:
      rng: key.
      logits: f32[B, B], similarity / temperature of row i to candidate j.
      same_person: bool[B, B], True where the candidate shows the person of the row.
      hardness: >= 0, dimensionless.
    """
    score = jnp.where(same_person, -jnp.inf, hardness * jax.lax.stop_gradient(logits))
    return Negatives(jax.random.categorical(rng, score, axis=1), ~same_person.all(axis=1))


def matching_loss(positive: jax.Array, negative: jax.Array, negative_valid: jax.Array) -> jax.Array:
    """Returns the two-way cross entropy of matching logits (LAIP Eq. 19).

    Args:
      positive: f32[B, 2] logits of true pairs; column 1 is "match".
      negative: f32[C, 2] logits of pairs of different people.
      negative_valid: bool[C]; rows that are False do not count.

    Returns:
      f32[], nats, the mean over the B + sum(negative_valid) pairs (3B in the releases).
    """
    loss_positive = -jax.nn.log_softmax(positive, axis=1)[:, 1]
    loss_negative = -jax.nn.log_softmax(negative, axis=1)[:, 0]
    weight = negative_valid.astype(jnp.float32)
    total = loss_positive.sum() + (weight * loss_negative).sum()
    return total / (len(positive) + weight.sum())
