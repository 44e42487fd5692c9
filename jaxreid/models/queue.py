"""First-in first-out queues of embeddings and person ids, as in MoCo and ALBEF."""

import jax
import jax.numpy as jnp


def push(queue: jax.Array, rows: jax.Array) -> jax.Array:
    """Puts rows in front of the queue and drops as many of the oldest; the length stays.

    Newest first: there is no pointer to keep, to save or to wrap, and no need that B divides M.
    The copy is no extra cost, because the contrastive loss concatenates the same two arrays.

    Args:
      queue: [M] or [M, E].
      rows: [B] or [B, E], of the dtype of the queue, B <= M; row 0 ends up in front.

    Returns:
      The new queue, of the shape of `queue`.

    Raises:
      ValueError: rows do not fit the queue.
    """
    if rows.shape[1:] != queue.shape[1:] or rows.dtype != queue.dtype or len(rows) > len(queue):
        raise ValueError(
            f"rows of a queue {queue.dtype}{queue.shape} must be at most {len(queue)} of shape "
            f"{queue.shape[1:]}, got {rows.dtype}{rows.shape}"
        )
    return jnp.concatenate([rows, queue])[: len(queue)]
