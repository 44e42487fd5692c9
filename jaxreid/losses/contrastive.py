"""Image-text contrastive losses (ITC)."""

import jax
import jax.numpy as jnp

# Added to the logit of a key that is left out: its probability is 0 in float32, its log finite.
_LEFT_OUT = -1e4


def soft_cross_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Returns the mean over rows of -sum_j target_j log softmax(logits)_j.

    Args:
      logits: f32[B, C].
      target: f32[B, C], rows sum to 1.

    Returns:
      f32[], nats.
    """
    return -(target * jax.nn.log_softmax(logits, axis=1)).sum(axis=1).mean()


def identity_target(person_id: jax.Array, key_person_id: jax.Array) -> jax.Array:
    """Returns f32[B, C] whose row i is uniform over the keys that show person i.

    Every row must have at least one key of its own person, as it has when the keys begin with
    the batch itself.

    Args:
      person_id: i32[B].
      key_person_id: i32[C]; an id that no person has (an unwritten queue slot) is no positive.
    """
    same = (person_id[:, None] == key_person_id[None, :]).astype(jnp.float32)
    return same / same.sum(axis=1, keepdims=True)


def momentum_itc(
    image: jax.Array,
    text: jax.Array,
    image_keys: jax.Array,
    text_keys: jax.Array,
    target: jax.Array,
    *,
    temperature: jax.Array,
    alpha: jax.Array,
    used: jax.Array | None = None,
) -> jax.Array:
    """Returns the contrastive loss against momentum keys with soft labels (LAIP Eqs. 16-17).

    With S_i2t = q_v [k_t; Q_t]^T / temperature and y the identity target,

        target_i2t = alpha softmax(S'_i2t) + (1 - alpha) y
        L_itc = (CE(S_i2t, target_i2t) + CE(S_t2i, target_t2i)) / 2

    where S' is S with the key of the query in its place; no gradient flows through targets, and
    none through keys of momentum encoders, which have none. Form of the ALBEF release
    (models/model_retrieval.py).

    Args:
      image: f32[B, E] unit rows, with gradient.
      text: f32[B, E] unit rows; row i pairs with image row i.
      image_keys: f32[B + M, E] momentum embeddings: the batch first, then the queue.
      text_keys: f32[B + M, E], likewise.
      target: f32[B, B + M] identity target, the same for both directions.
      temperature: > 0, divides.
      alpha: share of the soft labels, in [0, 1].
      used: bool[B + M], False for keys to leave out; they must be no one's target. None uses all.

    Returns:
      f32[], nats.

    Raises:
      ValueError: shapes disagree.
    """
    size = image.shape[0]
    if image.shape != text.shape or image.ndim != 2:
        raise ValueError(f"image and text must both be [B, E], got {image.shape} and {text.shape}")
    if image_keys.shape != text_keys.shape or target.shape != (size, image_keys.shape[0]):
        raise ValueError(
            f"image_keys, text_keys [B + M, E] and target [B, B + M] disagree: "
            f"{image_keys.shape}, {text_keys.shape}, {target.shape}"
        )

    left_out = 0.0 if used is None else jnp.where(used, 0.0, _LEFT_OUT)[None, :]

    def one_way(query, query_key, keys):
        soft = jax.lax.stop_gradient(query_key @ keys.T / temperature) + left_out
        logits = query @ keys.T / temperature + left_out
        return soft_cross_entropy(logits, alpha * jax.nn.softmax(soft) + (1 - alpha) * target)

    return (
        one_way(image, image_keys[:size], text_keys) + one_way(text, text_keys[:size], image_keys)
    ) / 2
