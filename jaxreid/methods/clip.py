"""CLIP's dual encoder (Radford et al., 2021), fine-tuned: the plain baseline of IRRA.

One loss on the two features of a pair: contrastive (ITC), similarity distribution matching (SDM),
or cross-modal projection matching and classification (CMPM/C; Zhang and Lu, 2018).
"""

from functools import partial

import jax
import jax.numpy as jnp

from jaxreid.data.bpe import load_bpe, train_bpe
from jaxreid.losses.clip_itc import clip_itc
from jaxreid.losses.cmpc import cmpc_loss
from jaxreid.losses.cmpm import LABEL_NORMS, cmpm_loss
from jaxreid.losses.sdm import sdm_loss
from jaxreid.methods import Method, cosine
from jaxreid.streams.captions import caption_input, check_captions
from jaxreid.streams.dual import (
    encode_image,
    encode_query,
    image_feature,
    init_clip,
    make_clip,
    text_feature,
)
from jaxreid.streams.network import normaliser

LOSSES = ("itc", "sdm", "cmpm", "cmpc", "cmpm+cmpc")
load = partial(load_bpe, mask="none")
learn_vocabulary = train_bpe


def check(config) -> None:
    """Raises ValueError or FileNotFoundError for a field that the method cannot use."""
    c = config.clip
    for field, allowed in (("loss", LOSSES), ("label_norm", LABEL_NORMS)):
        if c[field] not in allowed:
            raise ValueError(f"clip.{field} must be one of {', '.join(allowed)}, got {c[field]!r}")
    for field in ("logit_scale", "epsilon"):
        if not c[field] > 0:
            raise ValueError(f"clip.{field} must be > 0, got {c[field]}")
    if not c.logit_scale <= c.logit_scale_limit:
        raise ValueError(
            f"clip.logit_scale must be at most clip.logit_scale_limit {c.logit_scale_limit}, "
            f"got {c.logit_scale}"
        )
    check_captions(config, load)


def make(config) -> Method:
    """Builds the method from the sections data, image, text, model and clip of a config.

    The parameter logit_scale is the logarithm of the scale, as in CLIP; a group of the optimiser
    with rate 0 keeps it where it is.
    """
    check(config)
    c = config.clip
    captions = caption_input(config, phrases=0, words=False, load=load)
    model = make_clip(config, captions.vocabulary, captions.end_id)
    normalised = normaliser(config)
    parts, largest = c.loss.split("+"), jnp.log(c.logit_scale_limit)

    def init(rng):
        towers_rng, classifier_rng = jax.random.split(rng)
        params = init_clip(model, towers_rng, max_tokens=config.text.max_tokens)
        params["logit_scale"] = jnp.log(jnp.float32(c.logit_scale))
        if "cmpc" in parts:
            xavier = jax.nn.initializers.xavier_uniform()
            shape = (config.model.embedding, config.data.people)
            params["classifier"] = {"kernel": xavier(classifier_rng, shape, jnp.float32)}
        return params

    def loss(params, memory, batch, rng, step, stage):
        image_rng, text_rng = jax.random.split(rng)
        image, _ = image_feature(model, params, normalised(batch["image"]), image_rng)
        text, _ = text_feature(model, params, batch["tokens"], text_rng)
        person_id = batch["person_id"]
        scale = jnp.exp(jnp.minimum(params["logit_scale"], largest))
        metrics = {}
        if "itc" in parts:
            metrics["itc"] = clip_itc(image, text, logit_scale=scale)
        if "sdm" in parts:
            metrics["sdm"] = sdm_loss(image, text, person_id, logit_scale=scale, epsilon=c.epsilon)
        if "cmpm" in parts:
            metrics["cmpm"] = cmpm_loss(
                image, text, person_id, label_norm=c.label_norm, epsilon=c.epsilon
            )
        if "cmpc" in parts:
            metrics["cmpc"] = cmpc_loss(image, text, person_id, params["classifier"]["kernel"])
        return sum(metrics.values()), (memory, metrics | {"logit_scale": scale})

    return Method(
        tokenize=captions.tokenize,
        transform=captions.transform,
        init=init,
        loss=loss,
        encode_image=partial(encode_image, model, normalised),
        encode_query=partial(encode_query, model),
        similarity=cosine,
    )
