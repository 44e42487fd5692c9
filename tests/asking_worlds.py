"""Small worlds to ask in: attributes of unequal numbers of values, posteriors of unequal trust."""

import jax.numpy as jnp
import numpy as np

from jaxreid.search.channel import Channel

COUNTS = np.array([2, 5, 3, 4], np.int32)


def random_posteriors(rng, images, counts=COUNTS, values=None):
    """f32[N, A, V], rows summing to 1, 0 on padding; some rows sharp, some flat."""
    values = counts.max() if values is None else values
    out = np.zeros((images, len(counts), values), np.float32)
    for a, count in enumerate(counts):
        spread = np.where(rng.random(images) < 0.5, 0.2, 3.0)
        rows = np.stack([rng.dirichlet(np.full(count, s)) for s in spread])
        out[:, a, :count] = rows / rows.sum(axis=1, keepdims=True)
    return out


def random_channel(rng, attributes=4):
    """Unequal rates."""
    return Channel(
        jnp.asarray(rng.uniform(0.05, 0.5, attributes), jnp.float32),
        jnp.asarray(rng.uniform(0.0, 0.6, attributes), jnp.float32),
    )


def random_belief(rng, queries, images):
    """f32[Q, N], log probabilities; some images all but out of question."""
    p = np.stack([rng.dirichlet(np.full(images, 0.3)) for _ in range(queries)])
    return jnp.asarray(np.log(np.maximum(p, 1e-12)), jnp.float32)


def chances_by_hand(posteriors, counts, channel):
    """f64[N, A, V + 1], one number at a time; the last column is "I don't know"."""
    posteriors = np.asarray(posteriors, np.float64)
    images, attributes, values = posteriors.shape
    out = np.zeros((images, attributes, values + 1))
    for g in range(images):
        for a in range(attributes):
            eps, delta = float(channel.wrong[a]), float(channel.unknown[a])
            for v in range(counts[a]):
                told = (1 - eps) * posteriors[g, a, v] + eps / counts[a]
                out[g, a, v] = (1 - delta) * told
            out[g, a, values] = delta
    return out


def gain_by_hand(p, posteriors, counts, channel):
    """f64[A], H(p C) - sum_g p_g H(C[g]) for one belief."""
    chances = chances_by_hand(posteriors, counts, channel)

    def entropy(row):
        return -sum(x * np.log(x) for x in row if x > 0)

    out = []
    for a in range(len(counts)):
        mixed = [
            sum(p[g] * chances[g, a, v] for g in range(len(p))) for v in range(chances.shape[2])
        ]
        out.append(entropy(mixed) - sum(p[g] * entropy(chances[g, a]) for g in range(len(p))))
    return np.array(out)
