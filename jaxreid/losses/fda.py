"""Fine-grained dynamic alignment (FDA) of FAFA (Liu et al., arXiv 2311.16515)."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxreid.losses.distribution import check_positive, divergence

# Keeps log(target) finite where the target is 0; the value of the authors' release.
_EPSILON = 1e-8


def token_similarity(query: jax.Array, tokens: jax.Array, top: int) -> jax.Array:
    """Returns the mean of the `top` largest dot products of a query with the tokens of an image.

    Holds N Q G numbers at a time: take queries in chunks where the gallery is large.

    Args:
      query: [Q, E], unit L2 norm, so that dot products are cosines.
      tokens: [G, N, E], unit L2 norm.
      top: in 1..N; FAFA 6 of 32.

    Returns:
      f32[Q, G], cosines in [-1, 1].

    Raises:
      ValueError: shapes disagree, or `top` is not in 1..N.
    """
    if query.ndim != 2 or tokens.ndim != 3 or query.shape[1] != tokens.shape[2]:
        raise ValueError(
            f"query must be [Q, E] and tokens [G, N, E], got {query.shape} and {tokens.shape}"
        )
    count = tokens.shape[1]
    if not 1 <= top <= count:
        raise ValueError(f"top must be in 1..{count}, the tokens of an image, got {top}")
    cosines = jnp.einsum(
        "qe,gne->nqg",
        query.astype(jnp.float32),
        tokens.astype(jnp.float32),
        precision=jax.lax.Precision.HIGHEST,
    )
    return _top_mean(cosines, top)


def fda_loss(
    similarity: jax.Array,
    person_id: jax.Array,
    *,
    temperature: jax.Array | float,
    alpha: float,
) -> jax.Array:
    """Returns the divergence of matching probabilities from labels, mean of both ways.

    With z = similarity / temperature and labels of 1 for the pair itself, alpha for other pairs of
    the same instance, else 0, scaled to rows of sum 1 (Y),

        L_fda = 1/2 [ mean_i KL(softmax_j z_ij || Y_i) + mean_j KL(softmax_i z_ij || Y_j) ]

    The paper has alpha 0.5; in the release (compute_sdm, factor=1) it is 1, whatever its
    attribute `fda_alpha` says.

    Args:
      similarity: f32[B, B] of `token_similarity`, queries by target images; row i pairs with
        column i.
      person_id: i32[B]; pairs of equal id belong to one instance.
      temperature: > 0, divides; FAFA starts from 0.07.
      alpha: label of another pair of the same instance, in [0, 1].

    Returns:
      f32[], nats.

    Raises:
      ValueError: shapes disagree, or a constant is out of range.
    """
    if similarity.ndim != 2 or person_id.shape * 2 != similarity.shape:
        raise ValueError(
            "similarity must be [B, B] and person_id [B], got "
            f"{similarity.shape} and {person_id.shape}"
        )
    check_positive(temperature=temperature)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}")
    same = (person_id[:, None] == person_id[None, :]).astype(jnp.float32)
    labels = jnp.where(jnp.eye(len(person_id), dtype=bool), 1.0, alpha * same)
    target = labels / labels.sum(axis=1, keepdims=True)  # symmetric, as rows of one id sum alike
    logits = similarity.astype(jnp.float32) / temperature
    both = divergence(logits, target, _EPSILON) + divergence(logits.T, target, _EPSILON)
    return both / 2


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _top_mean(x: jax.Array, top: int) -> jax.Array:
    """Mean of the `top` largest along axis 0; equal numbers share the gradient."""
    return sum(_largest(x, top, passes=1)) / top


def _largest(x: jax.Array, top: int, *, passes: int) -> tuple[jax.Array, ...]:
    """The `top` largest along axis 0, largest first, in so many steps of a loop.

    Each row is sifted down through the running maxima: elementwise minima and maxima, which XLA
    fuses, where `lax.top_k` sorts each pair for itself.
    """

    def sift(best: tuple[jax.Array, ...], row: jax.Array):
        kept = []
        for value in best:
            kept.append(jnp.maximum(value, row))
            row = jnp.minimum(value, row)
        return tuple(kept), None

    start = (jnp.full_like(x[0], -jnp.inf),) * top
    return jax.lax.scan(sift, start, x, unroll=-(-len(x) // passes))[0]


def _forward(x: jax.Array, top: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """The mean, and what the gradient needs: the numbers and the least that counts."""
    # XLA would put a program without a loop into the one over x that reads its result, and run it
    # once a number there.
    best = _largest(x, top, passes=2)
    return sum(best) / top, (x, best[-1])


def _backward(top: int, kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array]:
    """1 / top for each number above the least that counts; numbers equal to it share the rest."""
    x, least = kept
    above, equal = x > least[None], x == least[None]
    share = (top - above.sum(axis=0)) / equal.sum(axis=0)
    weight = jnp.where(above, 1.0, jnp.where(equal, share[None], 0.0))
    return (weight * (gradient / top)[None],)


_top_mean.defvjp(_forward, _backward)
