"""Cross-Modal Projection Classification (CMPC; Zhang and Lu, ECCV 2018), Eqs. 10-13."""

import jax

from jaxreid.losses.distribution import check_pairs, unit_rows
from jaxreid.losses.identity import identity_loss


def cmpc_loss(
    image: jax.Array, text: jax.Array, person_id: jax.Array, weight: jax.Array
) -> jax.Array:
    """Returns the cross entropy of identities, told from what each feature shares with its pair.

    With v^_i = (v_i . t_i / |t_i|) t_i / |t_i|, the projection of the image on its text, t^_i
    likewise, and W with columns of unit norm, without bias,

        L_cmpc = mean_i CE(v^_i W, y_i) + mean_i CE(t^_i W, y_i)

    Args:
      image: [B, E], any norm; row i pairs with text row i.
      text: [B, E], any norm.
      person_id: i32[B], in [0, people).
      weight: f32[E, people], any norm.

    Returns:
      f32[], nats.

    Raises:
      ValueError: shapes disagree.
    """
    check_pairs(image, text, person_id)
    if weight.ndim != 2 or weight.shape[0] != image.shape[1]:
        raise ValueError(f"weight must be [{image.shape[1]}, people], got {weight.shape}")
    image_unit, text_unit = unit_rows(image), unit_rows(text)
    columns = unit_rows(weight.T).T
    on_text = (image * text_unit).sum(axis=1, keepdims=True) * text_unit
    on_image = (text * image_unit).sum(axis=1, keepdims=True) * image_unit
    return 2 * identity_loss(on_text @ columns, on_image @ columns, person_id)
