"""IRRA: Implicit Relation Reasoning and Aligning (Jiang and Ye, CVPR 2023).

CLIP's encoders, trained by the losses of `streams.relation`. The cross-modal module and the
classifier are for training alone: a gallery is ranked by the cosine of two features.
"""

from functools import partial

import jax

from jaxreid.data.bpe import load_bpe, train_bpe
from jaxreid.methods import Method, cosine
from jaxreid.streams.captions import caption_input, check_captions
from jaxreid.streams.dual import encode_image, encode_query, init_clip, make_clip
from jaxreid.streams.network import normaliser
from jaxreid.streams.relation import check_relation, make_relation

learn_vocabulary = train_bpe


def check(config) -> None:
    """Raises ValueError or FileNotFoundError for a field that IRRA cannot use."""
    check_relation(config.irra, "irra")
    check_captions(config, partial(load_bpe, mask=config.irra.mask_token))


def make(config) -> Method:
    """Builds IRRA from the sections data, image, text, model and irra of a config."""
    check(config)
    load = partial(load_bpe, mask=config.irra.mask_token)
    captions = caption_input(config, phrases=0, words=False, load=load)
    model = make_clip(config, captions.vocabulary, captions.end_id)
    relation = make_relation(config, config.irra, model, captions)

    def init(rng):
        towers_rng, heads_rng = jax.random.split(rng)
        towers = init_clip(model, towers_rng, max_tokens=config.text.max_tokens)
        return {**towers, **relation.init(heads_rng)}

    def loss(params, memory, batch, rng, step, stage):
        total, metrics = relation.loss(params, batch, rng)
        return total, (memory, metrics)

    return Method(
        tokenize=captions.tokenize,
        transform=captions.transform,
        init=init,
        loss=loss,
        encode_image=partial(encode_image, model, normaliser(config)),
        encode_query=partial(encode_query, model),
        similarity=cosine,
    )
