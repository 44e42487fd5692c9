"""Implicit relation reasoning and aligning: IRRA's losses on CLIP's encoders.

Similarity distribution matching (SDM), words masked and told from the image by a cross-modal module
(IRR, here MLM), and an identity classifier (ID): Jiang and Ye, CVPR 2023. IRRA is these losses;
Word4Per fine-tunes CLIP by them before it learns words for images.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid.data.bpe import MASKS
from jaxreid.losses.clip_itc import clip_itc
from jaxreid.losses.identity import identity_loss
from jaxreid.losses.masked_language import (
    corrupt,
    masked_language_loss,
    masked_mean,
    random_tokens,
)
from jaxreid.losses.sdm import sdm_loss
from jaxreid.methods import Batch, Metrics
from jaxreid.models.clip import Clip, end_position
from jaxreid.models.interaction import Interaction, WordHead
from jaxreid.streams.captions import CaptionInput
from jaxreid.streams.dual import image_feature, text_feature
from jaxreid.streams.network import DTYPES, normaliser

LOSSES = ("sdm", "mlm", "id", "itc")
# Of the start weights of the classifier (model/build.py); its bias starts at 0.
_CLASSIFIER_STD = 0.001


class Relation(NamedTuple):
    """The losses, and the parameters that they alone need."""

    # init(rng) -> {"cross", "mlm_head", "classifier"}: all of them, whatever the losses leave out,
    # so one set of optimiser groups serves every choice
    init: Callable[[jax.Array], Any]
    # loss(params, batch, rng) -> (f32[], metrics)
    loss: Callable[[Any, Batch, jax.Array], tuple[jax.Array, Metrics]]


def check_relation(section, name: str) -> None:
    """Raises ValueError for a field that the losses cannot use.

    Args:
      section: of the config, with the fields of `config.irra`.
      name: of the section.
    """
    losses = tuple(section.losses)
    if not losses or len(set(losses)) < len(losses) or not set(losses) <= set(LOSSES):
        raise ValueError(
            f"{name}.losses must be some of {', '.join(LOSSES)}, once each, got {losses}"
        )
    if section.mask_token not in MASKS[1:]:
        raise ValueError(
            f"{name}.mask_token must be one of {', '.join(MASKS[1:])}, got {section.mask_token!r}"
        )
    for field in ("logit_scale", "epsilon", "mlm_weight", "id_weight"):
        if not section[field] > 0:
            raise ValueError(f"{name}.{field} must be > 0, got {section[field]}")
    if not 0 < section.mlm_probability < 1:
        raise ValueError(f"{name}.mlm_probability must be in (0, 1), got {section.mlm_probability}")


def make_relation(config, section, model: Clip, captions: CaptionInput) -> Relation:
    """Returns the losses of a config.

    Args:
      config: whole config; model.bert.cross_depth layers make the cross-modal module.
      section: of the method, see `check_relation`.
      model: the encoders, whose parameters `vit` and `text` are among those `loss` gets.
      captions: what the batch was made with.
    """
    c, m = section, config.model
    dtype = DTYPES[m.dtype]
    cross = Interaction(m.bert.cross_depth, m.bert.heads, m.bert.mlp, dtype)
    words = WordHead(captions.vocabulary, m.bert.cross_depth, dtype)
    classifier = nn.Dense(config.data.people, kernel_init=nn.initializers.normal(_CLASSIFIER_STD))
    normalised = normaliser(config)

    def init(rng):
        rngs = jax.random.split(rng, 3)
        row = jnp.zeros((1, 1, m.embedding), jnp.float32)
        return {
            "cross": cross.init(rngs[0], row, row)["params"],
            "mlm_head": words.init(rngs[1], row)["params"],
            "classifier": classifier.init(rngs[2], row[0])["params"],
        }

    def loss(params, batch, rng):
        names = ("image", "text", "choice", "change")
        keys = dict(zip(names, jax.random.split(rng, len(names)), strict=True))
        tokens, person_id = batch["tokens"], batch["person_id"]
        image, image_tokens = image_feature(
            model, params, normalised(batch["image"]), keys["image"]
        )
        masked = choose_tokens(
            keys["choice"], tokens, end_id=captions.end_id, probability=c.mlm_probability
        )
        changed = corrupt(
            keys["change"], tokens, masked, mask_id=captions.mask_id, vocabulary=captions.vocabulary
        )
        # Both texts in one pass, where both are needed.
        seen = [changed] if c.masked_captions else [tokens]
        if "mlm" in c.losses and not c.masked_captions:
            seen.append(changed)
        features, text_tokens = text_feature(model, params, jnp.concatenate(seen), keys["text"])
        text, changed_tokens = features[: len(tokens)], text_tokens[-len(tokens) :]

        total, metrics = 0.0, {}
        if "sdm" in c.losses:
            metrics["sdm"] = sdm_loss(
                image, text, person_id, logit_scale=c.logit_scale, epsilon=c.epsilon
            )
            total = total + metrics["sdm"]
        if "itc" in c.losses:
            metrics["itc"] = clip_itc(image, text, logit_scale=c.logit_scale)
            total = total + metrics["itc"]
        if "id" in c.losses:
            run = partial(classifier.apply, {"params": params["classifier"]})
            logits = run(image), run(text)
            metrics["id"] = identity_loss(*logits, person_id)
            right = jnp.stack(logits).argmax(axis=2) == person_id[None]  # [2, B]
            metrics["id_accuracy"] = 100 * right.mean()
            total = total + c.id_weight * metrics["id"]
        if "mlm" in c.losses:
            hidden = cross.apply({"params": params["cross"]}, changed_tokens, image_tokens)
            logits = words.apply({"params": params["mlm_head"]}, hidden)
            metrics["mlm"] = masked_language_loss(logits, tokens, masked)
            right = (logits.argmax(axis=2) == tokens).astype(jnp.float32)
            metrics["mlm_accuracy"] = 100 * masked_mean(right, masked)
            total = total + c.mlm_weight * metrics["mlm"]
        return total, metrics

    return Relation(init, loss)


def choose_tokens(
    rng: jax.Array, tokens: jax.Array, *, end_id: int, probability: float
) -> jax.Array:
    """Returns bool[B, L]: tokens of the text to be predicted, at least one a row.

    Each token between the start and the end token with the probability; the first where none is
    drawn (datasets/bases.py).

    Args:
      rng: key.
      tokens: i32[B, L], start token first.
      end_id: id of the end token.
      probability: in (0, 1); 0.15 in the release.
    """
    place = jnp.arange(tokens.shape[1])[None]  # [1, L]
    eligible = (place > 0) & (place < end_position(tokens, end_id)[:, None])
    drawn = random_tokens(rng, eligible, probability)
    return drawn | ((place == 1) & ~drawn.any(axis=1, keepdims=True))
