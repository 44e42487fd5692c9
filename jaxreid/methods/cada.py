"""CADA: Cross-Modal Adaptive Dual Association (Lin et al., IEEE TMM 2024).

Global association (NDF), and on a decoder that shares the text encoder's layers the association
of text Tokens to image Patches (ATP) and of image Regions to text Attributes (ARA):
L = L_ndf + L_atp + L_ara with a weight each (Eq. 8). Where the authors' release parts from their
paper, a field of `config.cada` chooses; the paper's form is the default of the recipes.
"""

from functools import partial

import jax
import jax.numpy as jnp

from jaxreid.losses.atp import group_count
from jaxreid.losses.cmpm import LABEL_NORMS, cmpm_loss
from jaxreid.losses.ndf import ndf_loss, released_ndf_loss
from jaxreid.methods import Explain, Method, cosine
from jaxreid.streams.captions import ATTRIBUTE_UNITS, caption_input, check_captions
from jaxreid.streams.dual_association import (
    GROUP_REDUCTIONS,
    NEGATIVE_SIMILARITIES,
    NEGATIVES,
    TokenSettings,
    attribute_association,
    encode,
    token_association,
)
from jaxreid.streams.dual_network import (
    DECODERS,
    GROUP_MEANS,
    MATCH_TOKENS,
    SCORES,
    encode_image,
    encode_query,
    fill_words,
    init_dual_association,
    make_dual_association,
    make_entry,
    match,
    match_image,
    word_maps,
)
from jaxreid.streams.network import normaliser

GLOBAL_LOSSES = ("ndf", "released_ndf", "cmpm")
INFERENCES = ("local", "global")
# Of the public CMPM releases, and of CADA's NDF.
_CMPM_EPSILON = 1e-8
CHOICES = {
    "global_loss": GLOBAL_LOSSES,
    "cmpm_label_norm": LABEL_NORMS,
    "negatives": NEGATIVES,
    "negative_similarity": NEGATIVE_SIMILARITIES,
    "match_token": MATCH_TOKENS,
    "group_mean": GROUP_MEANS,
    "group_reduction": GROUP_REDUCTIONS,
    "decoder": DECODERS,
    "attribute_unit": ATTRIBUTE_UNITS,
    "inference": INFERENCES,
    "score": SCORES,
}

# Changes no parameter: G or L of the paper, and what L reads.
RANKED_BY = ("inference", "score")


def check(config) -> None:
    """Raises ValueError or FileNotFoundError for a field that CADA cannot use."""
    _check(config)
    check_captions(config)


def make(config) -> Method:
    """Builds CADA from the sections image, text, model, train and cada of a config."""
    _check(config)
    c = config.cada
    captions = caption_input(
        config, phrases=0, words=False, attributes=c.attribute_unit if c.ara else None
    )
    model = make_dual_association(config, captions.vocabulary)
    entry = make_entry(config, captions.vocabulary)
    normalised = normaliser(config)
    settings = TokenSettings(
        negatives=c.negatives,
        negative_similarity=c.negative_similarity,
        negative_temperature=c.negative_temperature,
        hardness_steps=round(c.hardness_epochs * config.train.steps_per_epoch),
        group_reduction=c.group_reduction,
    )

    def loss(params, memory, batch, rng, step, stage):
        encode_rng, token_rng, attribute_rng = jax.random.split(rng, 3)
        tokens, person_id = batch["tokens"], batch["person_id"]
        encoded = encode(model, params, normalised(batch["image"]), tokens, encode_rng)
        value = _global_loss(c, encoded.image, encoded.text, person_id)
        metrics = {c.global_loss: value}
        value = c.ndf_weight * value
        if c.atp:
            atp, measured = token_association(
                model, entry, settings, params, encoded, tokens, person_id, token_rng, step
            )
            value, metrics = value + c.atp_weight * atp, metrics | measured
        if c.ara:
            ara, measured = attribute_association(
                model,
                params,
                encoded.image_tokens,
                tokens,
                batch["attributes"],
                attribute_rng,
                mask_id=captions.mask_id,
                rate=c.mask_rate,
            )
            value, metrics = value + c.ara_weight * ara, metrics | measured
        return value, (memory, metrics)

    drawn = c.negatives == "sampled" and c.negative_similarity == "cosine"
    return Method(
        tokenize=captions.tokenize,
        transform=captions.transform,
        init=partial(init_dual_association, model, max_tokens=config.text.max_tokens),
        loss=loss,
        encode_image=partial(encode_image, model, normalised),
        encode_query=partial(encode_query, model, entry),
        similarity=cosine,
        match_image=partial(match_image, model),
        match=partial(match, model, entry, score=c.score) if c.inference == "local" else None,
        temperature=(lambda params: jnp.float32(c.negative_temperature)) if drawn else None,
        explain=Explain(
            partial(word_maps, model, entry, normalised), partial(fill_words, model, normalised)
        ),
    )


def _global_loss(c, image: jax.Array, text: jax.Array, person_id: jax.Array) -> jax.Array:
    """L_ndf, or what it is compared with."""
    if c.global_loss == "cmpm":
        return cmpm_loss(
            image, text, person_id, label_norm=c.cmpm_label_norm, epsilon=_CMPM_EPSILON
        )
    fit = ndf_loss if c.global_loss == "ndf" else released_ndf_loss
    return fit(image, text, person_id, temperature=c.temperature)


def _check(config) -> None:
    """Raises ValueError for a field of the section `cada` that cannot be."""
    c = config.cada
    for field, allowed in CHOICES.items():
        if c[field] not in allowed:
            raise ValueError(f"cada.{field} must be one of {', '.join(allowed)}, got {c[field]!r}")
    inf = float("inf")
    for field, holds, allowed in (
        ("temperature", 0 < c.temperature < inf, "> 0"),
        ("negative_temperature", 0 < c.negative_temperature < inf, "> 0"),
        ("hardness_epochs", 0 <= c.hardness_epochs < inf, ">= 0 epochs"),
        ("mask_rate", 0 < c.mask_rate <= 1, "in (0, 1]"),
        *((f"{name}_weight", 0 <= c[f"{name}_weight"] < inf, ">= 0")
          for name in ("ndf", "atp", "ara")),
    ):  # fmt: skip
        if not holds:
            raise ValueError(f"cada.{field} must be {allowed}, got {c[field]!r}")
    if c.negatives == "hardest" and c.hardness_epochs:
        raise ValueError(
            "cada.hardness_epochs must be 0 with cada.negatives 'hardest', which are hard from "
            f"the start, got {c.hardness_epochs}"
        )
    if c.inference == "local" and not c.atp:
        raise ValueError(
            "cada.inference must be 'global' with cada.atp False: nothing trains the local score"
        )
    try:
        group_count(config.text.max_tokens - 1, c.group_size, c.group_stride)
    except ValueError as error:
        raise ValueError(f"cada.group_{error}; text.max_tokens has one more, [CLS]") from None
    bert = config.model.bert
    if bert.cross_depth > bert.text_depth:
        raise ValueError(
            f"model.bert.cross_depth must be at most model.bert.text_depth {bert.text_depth}: the "
            f"decoder's layers are those of the text encoder, got {bert.cross_depth}"
        )
