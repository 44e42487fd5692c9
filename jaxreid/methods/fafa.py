"""FAFA: Fine-grained Adaptive Feature Alignment (Liu et al., arXiv 2311.16515).

A reference image and words that change it find the image of the same person as the words tell:
composed person retrieval. A Q-Former reads image and words into one feature, and each gallery
image into as many features as it has queries; the best few of their cosines are the score (FDA).
The features of an image are kept apart (FD), and each side is told from the other where it is
masked (MFR): L = L_fda + diversity_weight L_fd + mask_weight L_mfr. Where the authors' release
parts from their paper, a field of `config.fafa` chooses.
"""

import re
from functools import partial

import jax
import jax.numpy as jnp

from jaxreid.losses.fda import fda_loss, token_similarity
from jaxreid.losses.feature_diversity import (
    feature_diversity_loss,
    released_feature_diversity_loss,
)
from jaxreid.losses.masked_feature import draw_masks, masked_feature_loss
from jaxreid.methods import Method
from jaxreid.models.distribution_uncertainty import random_uncertainty
from jaxreid.streams.captions import caption_input, check_captions
from jaxreid.streams.image_text import clipped
from jaxreid.streams.network import normaliser
from jaxreid.streams.query_former import (
    embed_image,
    embed_pair,
    encode_image,
    encode_query,
    freeze_image,
    image_tokens,
    init_query_former,
    make_query_former,
    read_image,
    read_pair,
    similarity,
)

QUERIES = TRAINING = "triplets"
RANKED_BY = ("query",)
# What a query is: photo and words, or a part of it, to compare with.
FORMS = ("composed", "image", "text", "mean")
TARGETS = ("paper", "released")
DIVERSITIES = ("image", "batch")
# A parameter of the image encoder that is frozen with it.
_VIT = "vit/cls_token"


def check(config) -> None:
    """Raises ValueError or FileNotFoundError for a field that FAFA cannot use."""
    _check(config)
    check_captions(config)


def make(config) -> Method:
    """Builds FAFA from the sections image, text, model and fafa of a config."""
    _check(config)
    c = config.fafa
    captions = caption_input(config, phrases=0, words=False)
    model = make_query_former(config, captions.vocabulary)
    normalised = normaliser(config)
    alpha = c.partial_alpha if c.target == "paper" else 1.0
    limits = tuple(c.temperature_limits)

    def loss(params, memory, batch, rng, step, stage):
        names = ("image", "query", "target", "moved", "masks", "sample")
        keys = dict(zip(names, jax.random.split(rng, len(names)), strict=True))
        weights = freeze_image(params) if c.freeze_image else params
        # Both images in one pass; a frozen encoder drops nothing, as in the release.
        images = jnp.concatenate([batch["reference"], batch["image"]])
        patches = image_tokens(
            model, weights, normalised(images), None if c.freeze_image else keys["image"]
        )
        reference, target = jnp.split(patches, 2)
        query = read_pair(model, params, reference, batch["tokens"], keys["query"])
        seen = read_image(model, params, target, keys["target"])  # [B, queries, D]
        moved = random_uncertainty(keys["moved"], seen, c.uncertainty_probability)
        tokens = embed_image(model, params, moved)

        temperature = clipped(params["temperature"], limits)
        scores = token_similarity(embed_pair(model, params, query), tokens, c.top_tokens)
        fda = fda_loss(scores, batch["person_id"], temperature=temperature, alpha=alpha)
        if c.diversity == "image":
            diversity = feature_diversity_loss(tokens, margin=c.margin)
        else:
            diversity = released_feature_diversity_loss(keys["sample"], tokens, margin=c.margin)
        masked = masked_feature_loss(
            query,
            seen.mean(axis=1),
            *draw_masks(keys["masks"], query.shape, c.mask_rate),
            partial(model.predictor.apply, {"params": params["predictor"]}),
        )
        metrics = {"fda": fda, "fd": diversity, "mfr": masked, "temperature": temperature}
        return fda + c.diversity_weight * diversity + c.mask_weight * masked, (memory, metrics)

    return Method(
        tokenize=captions.tokenize,
        transform=captions.transform,
        init=partial(
            init_query_former,
            model,
            max_tokens=config.text.max_tokens,
            temperature=c.temperature,
        ),
        loss=loss,
        encode_image=partial(encode_image, model, normalised),
        encode_query=partial(encode_query, model, normalised, form=c.query),
        similarity=partial(similarity, top=c.top_tokens),
    )


def _check(config) -> None:
    """Raises ValueError for a field of the section `fafa` that cannot be."""
    c, b, inf = config.fafa, config.model.bert, float("inf")
    for field, allowed in (("target", TARGETS), ("diversity", DIVERSITIES), ("query", FORMS)):
        if c[field] not in allowed:
            raise ValueError(f"fafa.{field} must be one of {', '.join(allowed)}, got {c[field]!r}")
    limits = tuple(c.temperature_limits)
    for field, holds, allowed in (
        ("queries", c.queries >= 2, ">= 2"),
        ("top_tokens", 1 <= c.top_tokens <= c.queries, f"in 1..{c.queries} (fafa.queries)"),
        ("temperature", 0 < c.temperature < inf, "> 0"),
        ("temperature_limits", len(limits) == 2 and 0 < limits[0] < limits[1],
         "a lower and an upper limit, > 0"),
        ("partial_alpha", 0 <= c.partial_alpha <= 1, "in [0, 1]"),
        ("margin", -1 <= c.margin <= 1, "in [-1, 1]"),
        ("mask_rate", 0 < c.mask_rate < 1, "in (0, 1)"),
        ("uncertainty_probability", 0 <= c.uncertainty_probability <= 1, "in [0, 1]"),
        *((f"{name}_weight", 0 <= c[f"{name}_weight"] < inf, ">= 0")
          for name in ("diversity", "mask")),
    ):  # fmt: skip
        if not holds:
            raise ValueError(f"fafa.{field} must be {allowed}, got {c[field]!r}")
    rate = next((group[1] for group in config.optim.groups if re.fullmatch(group[0], _VIT)), None)
    if rate is not None and (rate == 0) != c.freeze_image:
        raise ValueError(
            f"fafa.freeze_image must be {not c.freeze_image} where the group of optim.groups that "
            f"{_VIT} is in has the rate {rate}, got {c.freeze_image}"
        )
    if b.text_depth % b.cross_depth:
        raise ValueError(
            f"model.bert.cross_depth must divide model.bert.text_depth {b.text_depth}: every "
            f"so many layers of the Q-Former have a cross-attention, got {b.cross_depth}"
        )
