"""What each image of a gallery shows, as told by the encoders: P_a(v | image), never ground truth.

Two ways, both of any method whose `similarity` reads one embedding an image: prompts scored as
captions, or a linear head on the image embedding. Either has one temperature an attribute, fitted
on val, so that a value told with 70 % is right in 7 of 10 images.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxreid.search.attributes import Scheme, value_mask


class Head(NamedTuple):
    """A linear classifier of every attribute on the embedding of an image."""

    kernel: jax.Array  # f32[E, A, V]
    bias: jax.Array  # f32[A, V]
    mean: jax.Array  # f32[E], of the embeddings it was trained on
    scale: jax.Array  # f32[E], their inverse standard deviation


class HeadTraining(NamedTuple):
    """How a head is trained: Adam on all images at once, the best step on val kept."""

    steps: int = 400
    look_every: int = 20
    learning_rate: float = 0.02
    weight_decay: float = 1e-3


def prompts_of(scheme: Scheme) -> list[str]:
    """Returns the prompt of every value, attribute by attribute."""
    return [value.prompt for attribute in scheme.attributes for value in attribute.values]


def prompt_scores(similarity: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns the similarity of prompts to images as scores, f32[N, A, V]; 0 on padding.

    Args:
      similarity: f32[P, N], of the prompts of `prompts_of`.
      counts: i32[A].
    """
    if len(similarity) != counts.sum():
        raise ValueError(f"similarity must have {counts.sum()} prompts, got {len(similarity)}")
    scores = np.zeros((similarity.shape[1], *value_mask(counts).shape), np.float32)
    scores[:, value_mask(counts)] = similarity.T
    return scores


def head_scores(head: Head, embedding: jax.Array) -> jax.Array:
    """Returns the logits of a head, f32[N, A, V].

    Args:
      head: see Head.
      embedding: f32[N, E].
    """
    standard = (embedding - head.mean[None]) * head.scale[None]
    return jnp.einsum("ne,eav->nav", standard, head.kernel) + head.bias[None]


def train_head(
    embedding: np.ndarray,
    labels: np.ndarray,
    val_embedding: np.ndarray,
    val_labels: np.ndarray,
    counts: np.ndarray,
    training: HeadTraining,
) -> Head:
    """Returns a head trained by cross-entropy, at its best step on val.

    An image that does not show an attribute is trained with the value of its person all the same:
    the head then tells how often that value is so, given what is seen.

    Args:
      embedding: f32[n, E] of train images.
      labels: i32[n, A]; -1 where unknown.
      val_embedding, val_labels: of val images.
      counts: i32[A].
      training: see HeadTraining.

    Raises:
      ValueError: shapes disagree.
    """
    for name, x, y in (("train", embedding, labels), ("val", val_embedding, val_labels)):
        if y.shape != (len(x), len(counts)) or not len(x):
            raise ValueError(
                f"{name} labels must be [n, A] = [{len(x)}, {len(counts)}], got {list(y.shape)}"
            )
    scale = 1 / np.maximum(embedding.std(axis=0), 1e-6)
    shape = (embedding.shape[1], *value_mask(counts).shape)
    head = Head(
        jnp.zeros(shape), jnp.zeros(shape[1:]),
        jnp.asarray(embedding.mean(axis=0), jnp.float32), jnp.asarray(scale, jnp.float32),
    )  # fmt: skip
    real = jnp.asarray(value_mask(counts))

    def loss(weights, x, y):
        """Mean over the images and attributes that are told, in nats."""
        logits = head_scores(head._replace(kernel=weights[0], bias=weights[1]), x)
        log_p = jax.nn.log_softmax(jnp.where(real[None], logits, -jnp.inf), axis=2)
        chosen = jnp.take_along_axis(log_p, jnp.maximum(y, 0)[..., None], axis=2)[..., 0]
        return -jnp.where(y >= 0, chosen, 0.0).sum() / (y >= 0).sum()

    tx = optax.adamw(training.learning_rate, weight_decay=training.weight_decay)

    @jax.jit
    def some_steps(weights, state, x, y):
        def one(carry, _):
            weights, state = carry
            updates, state = tx.update(jax.grad(loss)(weights, x, y), state, weights)
            return (optax.apply_updates(weights, updates), state), None

        return jax.lax.scan(one, (weights, state), length=training.look_every)[0]

    look = jax.jit(loss)
    x, y, val_x, val_y = map(jnp.asarray, (embedding, labels, val_embedding, val_labels))
    weights = head.kernel, head.bias
    state, best = tx.init(weights), (float(look(weights, val_x, val_y)), weights)
    for _ in range(training.steps // training.look_every):
        weights, state = some_steps(weights, state, x, y)
        value = float(look(weights, val_x, val_y))
        if value < best[0]:
            best = value, weights
    return head._replace(kernel=best[1][0], bias=best[1][1])


class Told(NamedTuple):
    """How well posteriors tell the attributes of labelled images."""

    right: np.ndarray  # f64[A], share of images whose likeliest value is the true one
    majority: np.ndarray  # f64[A], share of the commonest value
    loss: np.ndarray  # f64[A], mean negative log likelihood in nats
    confidence: np.ndarray  # f64[A], mean probability of the likeliest value


def quality(posteriors: np.ndarray, labels: np.ndarray) -> Told:
    """Returns how well posteriors fit labels.

    Args:
      posteriors: f32[n, A, V].
      labels: i32[n, A]; -1 where unknown, and then not counted.
    """
    found = []
    for a in range(labels.shape[1]):
        known = np.flatnonzero(labels[:, a] >= 0)
        table, truth = posteriors[known, a].astype(np.float64), labels[known, a]
        found.append(
            (
                (table.argmax(axis=1) == truth).mean(),
                np.bincount(truth).max() / len(truth),
                -np.log(np.maximum(table[np.arange(len(truth)), truth], 1e-12)).mean(),
                table.max(axis=1).mean(),
            )
        )
    return Told(*map(np.array, zip(*found, strict=True)))
