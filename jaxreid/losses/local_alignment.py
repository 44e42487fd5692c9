"""Bidirectional-attention-weighted local alignment of LAIP (BidirAtt)."""

import jax
import jax.numpy as jnp

DIRECTIONS = ("forward", "backward", "bidirectional")
COMBINES = ("product", "sum")
NORMALISES = ("l1", "softmax", "minmax")
ALIGNMENTS = ("cosine", "sigmoid", "contrastive")


def patch_weights(
    forward: jax.Array,
    backward: jax.Array | None,
    *,
    direction: str,
    combine: str,
    normalise: str,
) -> jax.Array:
    """Returns the weight of each patch for a phrase (LAIP Eq. 7), rows summing to 1.

        b = sigma(mean_h a (x or +) relu(mean_h g))

    The paper prints neither how a and g are combined nor sigma. Attention weights are near 1/N
    and gradients orders of magnitude smaller, so a softmax of the raw values is almost uniform:
    the product of attention and positive gradient, L1-normalised, is Grad-CAM as in the ALBEF
    release and the default here. Where no entry is positive the weights are uniform.

    Args:
      forward: f32[P, H, N - 1], attention of the phrase's [CLS] to the patches, Eq. 4.
      backward: f32[P, H, N - 1], gradient of the masked word's score with respect to it, Eq. 6;
        None if direction is "forward".
      direction: "forward" | "backward" | "bidirectional".
      combine: "product" | "sum"; used by "bidirectional" only.
      normalise: "l1" | "softmax" | "minmax" (shifted to 0 before the sum becomes 1).

    Returns:
      f32[P, N - 1], >= 0, dimensionless.

    Raises:
      ValueError: an unknown option, or no backward attention where the direction needs it.
    """
    for name, value, allowed in (
        ("direction", direction, DIRECTIONS),
        ("combine", combine, COMBINES),
        ("normalise", normalise, NORMALISES),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    if direction != "forward" and backward is None:
        raise ValueError(f"direction {direction!r} needs the backward attention, got None")
    a = forward.mean(axis=1)
    if direction == "forward":
        raw = a
    else:
        g = jax.nn.relu(backward.mean(axis=1))
        if direction == "backward":
            raw = g
        else:
            raw = a * g if combine == "product" else a + g
    if normalise == "softmax":
        return jax.nn.softmax(raw, axis=1)
    if normalise == "minmax":
        raw = raw - raw.min(axis=1, keepdims=True)
    # Dividing by the largest entry first keeps tiny gradients from being lost in the sum.
    peak = jax.lax.stop_gradient(raw.max(axis=1, keepdims=True))
    some = peak > 0
    scaled = jnp.where(some, raw / jnp.where(some, peak, 1.0), 1.0)
    return scaled / scaled.sum(axis=1, keepdims=True)


def alignment_loss(
    image: jax.Array,
    phrase: jax.Array,
    *,
    form: str,
    temperature: jax.Array,
    positive: jax.Array,
    present: jax.Array,
) -> jax.Array:
    """Returns the loss of each image-phrase pair (LAIP Eq. 10), f32[P].

    The paper's Eq. 10 is one pair's loss and mentions no negatives; its form is not printed.
      "cosine": 1 - s (the default of the configs)
      "sigmoid": -log sigmoid(s / temperature)
      "contrastive": -log of the share of positives in softmax_q(s(image_p, phrase_q) / temperature)

    Args:
      image: f32[P, E] unit rows, phrase-guided image embedding g_v(v~) of Eq. 8.
      phrase: f32[P, E] unit rows.
      form: "cosine" | "sigmoid" | "contrastive".
      temperature: > 0, divides.
      positive: bool[P, P], pairs that are no negatives of each other: same person or equal
        phrase; used by "contrastive". Must be True on the diagonal.
      present: bool[P], False on rows of padding: they are candidates for no other row, and their
        own loss is finite and means nothing.
    """
    if form not in ALIGNMENTS:
        raise ValueError(f"form must be one of {', '.join(ALIGNMENTS)}, got {form!r}")
    if form == "contrastive":
        candidate = present[None, :] | jnp.eye(len(present), dtype=bool)
        logits = jnp.where(candidate, image @ phrase.T / temperature, -jnp.inf)
        only_positive = jnp.where(positive, logits, -jnp.inf)
        return jax.nn.logsumexp(logits, axis=1) - jax.nn.logsumexp(only_positive, axis=1)
    similarity = (image * phrase).sum(axis=1)
    if form == "cosine":
        return 1 - similarity
    return -jax.nn.log_sigmoid(similarity / temperature)
