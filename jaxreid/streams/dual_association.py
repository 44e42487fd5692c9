"""The three losses of CADA: global association, ATP and ARA."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxreid.losses.atp import group_matching_losses, hardest_negatives
from jaxreid.losses.masked_language import masked_language_loss, masked_mean, whole_spans
from jaxreid.losses.matching import sample_negatives
from jaxreid.models.dual_association import DualAssociation
from jaxreid.models.projection import unit
from jaxreid.streams.dual_network import Entry, entered, match_logits
from jaxreid.streams.image_text import ramp

NEGATIVES = ("hardest", "sampled")
NEGATIVE_SIMILARITIES = ("cosine", "dot")
GROUP_REDUCTIONS = ("sum", "mean")


class TokenSettings(NamedTuple):
    """Constants of ATP."""

    negatives: str  # "hardest" | "sampled"
    negative_similarity: str  # "cosine" | "dot" of the embeddings before normalisation
    negative_temperature: float  # divides where negatives are sampled
    hardness_steps: int  # steps over which sampled negatives go from random to hard; 0: at once
    group_reduction: str  # "sum" | "mean" of the losses of the token groups


class Encoded(NamedTuple):
    """What the encoders make of a batch, for the losses of the same step."""

    image_tokens: jax.Array  # [B, N, D]
    image: jax.Array  # f32[B, E], of any norm
    text: jax.Array  # f32[B, E], of any norm


def encode(
    model: DualAssociation, params: Any, images: jax.Array, tokens: jax.Array, rng: jax.Array
) -> Encoded:
    """Returns tokens and embeddings of a batch, each modality alone.

    Args:
      model: the network.
      params: of the network.
      images: f32[B, h, w, 3], normalised.
      tokens: i32[B, L]; 0 is padding.
      rng: key.
    """
    image_rng, text_rng = jax.random.split(rng)
    image_tokens = model.apply(
        {"params": params}, images, method="image_tokens", train=True, rngs={"dropout": image_rng}
    )
    text_tokens = model.apply(
        {"params": params}, tokens, tokens != 0,
        method="text_tokens", train=True, rngs={"dropout": text_rng},
    )  # fmt: skip
    return Encoded(
        image_tokens,
        model.apply({"params": params}, image_tokens, method="project_image"),
        model.apply({"params": params}, text_tokens, method="project_text"),
    )


def token_association(
    model: DualAssociation,
    entry: Entry,
    settings: TokenSettings,
    params: Any,
    encoded: Encoded,
    tokens: jax.Array,
    person_id: jax.Array,
    rng: jax.Array,
    step: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns L_atp (Eq. 5) on the true pairs and two negatives of each, and metrics.

    Each image gets the text, and each text the image, of another person that the global
    similarity likes most.

    Args:
      model: the network.
      entry: how tokens go into the decoder and out of it.
      settings: constants.
      params: of the network.
      encoded: from `encode`.
      tokens: i32[B, L]; 0 is padding.
      person_id: i32[B].
      rng: key.
      step: i32[], counted from the start of the run; drives the ramp.
    """
    embed_rng, decode_rng, text_rng, image_rng = jax.random.split(rng, 4)
    rows, mask = jnp.arange(len(tokens)), tokens != 0
    text_of, image_of = _negatives(settings, encoded, person_id, (text_rng, image_rng), step)
    hidden = model.apply(
        {"params": params}, entered(entry, tokens),
        method="embed_tokens", train=True, rngs={"dropout": embed_rng},
    )  # fmt: skip
    # True pairs, then negative texts, then negative images, of the same order.
    texts = jnp.concatenate([rows, text_of.index, rows])
    fused = model.apply(
        {"params": params}, hidden[texts], mask[texts], encoded.image_tokens,
        image_index=jnp.concatenate([rows, rows, image_of.index]),
        method="decode", train=True, rngs={"dropout": decode_rng},
    )  # fmt: skip
    logits, counted = match_logits(model, entry, params, fused, mask[texts])
    is_match = jnp.arange(3 * len(rows)) < len(rows)
    is_pair = jnp.concatenate([jnp.ones(len(rows), bool), text_of.valid, image_of.valid])
    losses = group_matching_losses(logits, is_match, counted & is_pair[:, None])
    groups = losses[1:].sum() if settings.group_reduction == "sum" else losses[1:].mean()
    loss = losses[0] + groups
    says_match = logits[:, 0, 1] > logits[:, 0, 0]
    right = (says_match == is_match).astype(jnp.float32)
    # Percent of the pairs, by [CLS].
    return loss, {"atp": loss, "atp_accuracy": 100 * masked_mean(right, is_pair)}


def attribute_association(
    model: DualAssociation,
    params: Any,
    image_tokens: jax.Array,
    tokens: jax.Array,
    attributes: jax.Array,
    rng: jax.Array,
    *,
    mask_id: int,
    rate: float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns L_ara (Eqs. 6-7), masked attribute modelling on the true pairs, and metrics.

    The mean is over the masked tokens of the batch, as in the release; Eq. 7 has the mean over
    the texts of the means over their tokens, which weighs long captions less.

    Args:
      model: the network.
      params: of the network.
      image_tokens: [B, N, D], with gradient.
      tokens: i32[B, L]; 0 is padding.
      attributes: i32[B, L], number of the attribute that a token belongs to, -1 for none; an
        attribute is masked as a whole.
      rng: key.
      mask_id: token id of [MASK].
      rate: probability that an attribute is masked, in (0, 1].
    """
    mask_rng, dropout_rng = jax.random.split(rng)
    masked = whole_spans(mask_rng, attributes, rate)
    fused = model.apply(
        {"params": params}, jnp.where(masked, mask_id, tokens), tokens != 0, image_tokens,
        method="decode_masked", train=True, rngs={"dropout": dropout_rng},
    )  # fmt: skip
    logits = model.apply({"params": params}, fused, method="predict_words")
    loss = masked_language_loss(logits, tokens, masked)
    right = (logits.argmax(axis=-1) == tokens).astype(jnp.float32)
    return loss, {"ara": loss, "ara_accuracy": 100 * masked_mean(right, masked)}


def _negatives(settings: TokenSettings, encoded: Encoded, person_id, keys, step):
    """(text negative of each image, image negative of each text)."""
    image, text = encoded.image, encoded.text
    if settings.negative_similarity == "cosine":
        image, text = unit(image), unit(text)
    similarity = jax.lax.stop_gradient(image @ text.T)  # [B, B], image by text
    same = person_id[:, None] == person_id[None, :]
    if settings.negatives == "hardest":
        return hardest_negatives(similarity, same), hardest_negatives(similarity.T, same)
    hardness = ramp(step, settings.hardness_steps)
    logits = similarity / settings.negative_temperature
    return tuple(
        sample_negatives(key, each, same, hardness=hardness)
        for key, each in zip(keys, (logits, logits.T), strict=True)
    )
