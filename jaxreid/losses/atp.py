"""Association of text Tokens to image Patches (ATP) of CADA (Lin et al., 2023), Eqs. 3-5."""

import jax
import jax.numpy as jnp

from jaxreid.losses.matching import Negatives


def group_count(tokens: int, size: int, stride: int) -> int:
    """Returns how many groups of `size` tokens, `stride` apart, lie within so many tokens.

    Tokens after the last whole group belong to none: 72 tokens in groups of 36 with stride 36 are
    2 groups, with stride 18 they are 3 (Table V).

    Raises:
      ValueError: size or stride is below 1, or the first group is longer than the tokens.
    """
    if size < 1 or stride < 1:
        raise ValueError(f"size and stride must be at least 1, got {size} and {stride}")
    if size > tokens:
        raise ValueError(f"size must be at most the {tokens} tokens, got {size}")
    return (tokens - size) // stride + 1


def group_means(
    hidden: jax.Array, counted: jax.Array, *, size: int, stride: int
) -> tuple[jax.Array, jax.Array]:
    """Returns the mean of each token group (Eq. 3), and which groups hold a token at all.

    Group k has the tokens k * stride .. k * stride + size - 1. In the paper's form only words
    count; the release takes the mean over all positions, padding too: `counted` True everywhere.

    Args:
      hidden: [P, T, D], decoder outputs after [CLS].
      counted: bool[P, T], the tokens that the means are over.
      size: tokens of a group.
      stride: tokens from the start of a group to that of the next.

    Returns:
      f32[P, M, D], 0 for a group without tokens; bool[P, M], False for such a group.

    Raises:
      ValueError: shapes disagree, or see `group_count`.
    """
    if hidden.ndim != 3 or counted.shape != hidden.shape[:2]:
        raise ValueError(
            f"hidden must be [P, T, D] and counted [P, T], got {hidden.shape} and {counted.shape}"
        )
    groups = group_count(hidden.shape[1], size, stride)
    index = jnp.arange(groups)[:, None] * stride + jnp.arange(size)[None, :]  # [M, size]
    weight = counted[:, index].astype(jnp.float32)  # [P, M, size]
    total = jnp.einsum("pms,pmsd->pmd", weight, hidden.astype(jnp.float32)[:, index])
    number = weight.sum(axis=-1)
    return total / jnp.maximum(number, 1)[..., None], number > 0


def group_matching_losses(logits: jax.Array, match: jax.Array, counted: jax.Array) -> jax.Array:
    """Returns the cross entropy of matching (Eq. 4) of each group, the mean over its pairs.

    The paper adds the groups up (Eq. 5). The release adds [ENC] to the mean of the others.

    Args:
      logits: f32[P, M, 2]; column 1 is "match".
      match: bool[P], whether text and image of a pair show one person.
      counted: bool[P, M]; a group without tokens, or a pair that is no pair, does not count.

    Returns:
      f32[M], nats; 0 for a group that counts in no pair.

    Raises:
      ValueError: shapes disagree.
    """
    if logits.shape != (*counted.shape, 2) or match.shape != counted.shape[:1]:
        raise ValueError(
            "logits [P, M, 2], match [P] and counted [P, M] disagree: "
            f"{logits.shape}, {match.shape}, {counted.shape}"
        )
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    loss = -jnp.where(match[:, None], log_p[..., 1], log_p[..., 0])
    weight = counted.astype(jnp.float32)
    return (weight * loss).sum(axis=0) / jnp.maximum(weight.sum(axis=0), 1)


def hardest_negatives(similarity: jax.Array, same_person: jax.Array) -> Negatives:
    """Returns for each row the most similar candidate of another person (CADA, Section III-B).

    Args:
      similarity: f32[B, B], of row i to candidate j; passes no gradient.
      same_person: bool[B, B], True where the candidate shows the person of the row.
    """
    score = jnp.where(same_person, -jnp.inf, similarity)
    return Negatives(score.argmax(axis=1), ~same_person.all(axis=1))
