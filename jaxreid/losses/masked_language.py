"""Masked language modelling: which tokens are masked, and the loss on them."""

import jax
import jax.numpy as jnp


def one_word_of_each(rng: jax.Array, words: jax.Array) -> jax.Array:
    """Returns bool[..., L]: the tokens of one word a row, every word equally likely.

    Args:
      rng: key.
      words: i32[..., L], running number of the word that a token belongs to, from 0; -1 for
        tokens of no word. A row without words gets no True.
    """
    count = words.max(axis=-1) + 1
    chosen = jnp.floor(jax.random.uniform(rng, count.shape) * count).astype(jnp.int32)
    return (words == chosen[..., None]) & (words >= 0)


def random_tokens(rng: jax.Array, eligible: jax.Array, probability: float) -> jax.Array:
    """Returns bool of the shape of `eligible`: each eligible token with the probability."""
    return (jax.random.uniform(rng, eligible.shape) < probability) & eligible


def whole_spans(rng: jax.Array, spans: jax.Array, rate: float) -> jax.Array:
    """Returns bool[..., L]: all tokens of a span or none, each span with the probability `rate`.

    Args:
      rng: key.
      spans: i32[..., L], number of the span that a token belongs to, in 0..L-1; -1 for none.
      rate: in [0, 1].
    """
    chosen = jax.random.uniform(rng, spans.shape) < rate  # by number of the span
    return jnp.take_along_axis(chosen, jnp.maximum(spans, 0), axis=-1) & (spans >= 0)


def corrupt(
    rng: jax.Array, tokens: jax.Array, masked: jax.Array, *, mask_id: int, vocabulary: int
) -> jax.Array:
    """Returns tokens with BERT's 80/10/10: of the masked, 80 % [MASK], 10 % random, 10 % kept.

    Args:
      rng: key.
      tokens: i32[..., L].
      masked: bool[..., L], the tokens to be predicted.
      mask_id: id of [MASK].
      vocabulary: V; random ids are uniform in [0, V).
    """
    kind_rng, word_rng = jax.random.split(rng)
    kind = jax.random.uniform(kind_rng, tokens.shape)
    word = jax.random.randint(word_rng, tokens.shape, 0, vocabulary, tokens.dtype)
    changed = jnp.where(kind < 0.8, mask_id, jnp.where(kind < 0.9, word, tokens))
    return jnp.where(masked, changed, tokens)


def token_log_likelihood(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """Returns f32[..., L], log softmax(logits) at the true token; logits are [..., L, V]."""
    chosen = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
    return chosen - jax.nn.logsumexp(logits, axis=-1)


def masked_mean(values: jax.Array, mask: jax.Array, axis=None) -> jax.Array:
    """Returns the mean of values where mask is True, 0 where it is True nowhere."""
    weight = mask.astype(values.dtype)
    return (values * weight).sum(axis=axis) / jnp.maximum(weight.sum(axis=axis), 1)


def masked_language_loss(logits: jax.Array, tokens: jax.Array, masked: jax.Array) -> jax.Array:
    """Returns the mean cross entropy over masked tokens (LAIP Eq. 11), f32[], nats.

    Args:
      logits: f32[..., L, V].
      tokens: i32[..., L], the true tokens.
      masked: bool[..., L]; a batch without masked tokens gives 0.
    """
    return -masked_mean(token_log_likelihood(logits, tokens), masked)
