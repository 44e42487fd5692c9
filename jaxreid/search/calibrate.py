"""Temperatures that make scores into probabilities, fitted by maximum likelihood on val."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

_STEPS = 61  # temperatures a round of the search looks at
_ROUNDS = 3  # each looks between the neighbours of the best one before
_RANGE = (1e-4, 1e3)


def prior_temperature(
    similarity: np.ndarray, query_ids: np.ndarray, gallery_ids: np.ndarray
) -> float:
    """Returns the temperature under which softmax(similarity / temperature) finds the person best.

    It maximises sum_q log sum_{g of the person of q} softmax_g(s(q, g) / temperature).

    Args:
      similarity: f32[Q, N].
      query_ids: i32[Q]; each has an image in the gallery.
      gallery_ids: i32[N].

    Raises:
      ValueError: shapes disagree, or a query has no image of its person.
    """
    query_ids, gallery_ids = np.asarray(query_ids), np.asarray(gallery_ids)
    if np.shape(similarity) != (len(query_ids), len(gallery_ids)):
        raise ValueError(
            f"similarity must be [{len(query_ids)}, {len(gallery_ids)}] for its query_ids and "
            f"gallery_ids, got {list(np.shape(similarity))}"
        )
    right = query_ids[:, None] == gallery_ids[None, :]
    if not right.any(axis=1).all():
        query = int((~right.any(axis=1)).argmax())
        raise ValueError(f"query {query} has no image of its person {query_ids[query]}")
    scores, right = jnp.asarray(similarity, jnp.float32), jnp.asarray(right)
    return float(_search(partial(_prior_loss, scores, right), ())[()])


def attribute_temperatures(
    scores: jax.Array, bias: jax.Array, labels: jax.Array, counts: jax.Array
) -> jax.Array:
    """Returns the temperature of each attribute under which its posteriors fit the labels best.

    Args:
      scores: f32[n, A, V] of images to the values, any scale.
      bias: f32[A, V], see `probabilities`.
      labels: i32[n, A], true values; -1 where unknown, and then not used.
      counts: i32[A].

    Returns:
      f32[A].

    Raises:
      ValueError: shapes disagree, or no image tells an attribute.
    """
    if scores.shape[:2] != labels.shape or scores.shape[1] != len(counts):
        raise ValueError(
            f"scores [n, A, V], labels [n, A] and counts [A] disagree: {list(scores.shape)}, "
            f"{list(labels.shape)} and {list(counts.shape)}"
        )
    told = (labels >= 0).sum(axis=0)
    if not (told > 0).all():
        raise ValueError(f"no image tells attribute {int((told == 0).argmax())}")
    loss = partial(_attribute_loss, scores, bias, labels, counts)
    return _search(loss, (scores.shape[1],))


def value_bias(labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns the log share of each value, f32[A, V]; 0 on padding.

    A value never seen counts as seen once.

    Args:
      labels: i32[n, A]; -1 where unknown.
      counts: i32[A].
    """
    bias = np.zeros((len(counts), counts.max()), np.float32)
    for a, count in enumerate(counts):
        seen = np.bincount(labels[labels[:, a] >= 0, a], minlength=count)
        bias[a, :count] = np.log(np.maximum(seen, 1) / np.maximum(seen, 1).sum())
    return bias


def probabilities(
    scores: jax.Array, bias: jax.Array, temperature: jax.Array, counts: jax.Array
) -> jax.Array:
    """Returns softmax(scores / temperature + bias) over the values of each attribute; 0 on padding.

    Args:
      scores: f32[N, A, V].
      bias: f32[A, V], of what the scores do not know: how frequent a value is.
      temperature: f32[A].
      counts: i32[A].
    """
    return jnp.exp(_log_probabilities(scores, bias, temperature, counts))


def _log_probabilities(scores, bias, temperature, counts):
    """Log of `probabilities`; -inf on padding."""
    real = jnp.arange(scores.shape[2])[None, None, :] < counts[None, :, None]
    logits = scores / temperature[None, :, None] + bias[None]
    return jax.nn.log_softmax(jnp.where(real, logits, -jnp.inf), axis=2)


def _attribute_loss(scores, bias, labels, counts, temperature):
    """f32[A], mean negative log likelihood of the labels in nats."""
    log_p = _log_probabilities(scores, bias, temperature, counts)
    told = labels >= 0
    chosen = jnp.take_along_axis(log_p, jnp.maximum(labels, 0)[..., None], axis=2)[..., 0]
    return -jnp.where(told, chosen, 0.0).sum(axis=0) / told.sum(axis=0)


def _prior_loss(similarity, right, temperature):
    """f32[], mean negative log mass of the right images in nats."""
    log_p = jax.nn.log_softmax(similarity / temperature, axis=1)
    return -jax.nn.logsumexp(jnp.where(right, log_p, -jnp.inf), axis=1).mean()


def _search(loss, shape: tuple[int, ...]) -> np.ndarray:
    """The temperatures of least loss, each on a grid of its own that narrows."""
    low, high = (np.full(shape, np.log(limit)) for limit in _RANGE)
    of_all = jax.jit(lambda temperatures: jax.lax.map(loss, temperatures))
    for _ in range(_ROUNDS):
        grid = np.linspace(low, high, _STEPS)  # [steps, ..]
        losses = np.asarray(of_all(jnp.asarray(np.exp(grid), jnp.float32)))
        best = losses.argmin(axis=0)
        low = np.take_along_axis(grid, np.maximum(best - 1, 0)[None], axis=0)[0]
        high = np.take_along_axis(grid, np.minimum(best + 1, _STEPS - 1)[None], axis=0)[0]
    return np.exp((low + high) / 2).astype(np.float32)
