"""ALBEF (Li et al., 2021), LAIP's baseline: momentum ITC with queues, ITM on a cross encoder.

Form of the retrieval release (models/model_retrieval.py), with identity targets.
"""

from functools import partial

import jax

from jaxreid.methods import Explain, Method, cosine
from jaxreid.streams.captions import caption_input, check_captions
from jaxreid.streams.image_text import (
    clipped,
    global_alignment,
    global_settings,
    init_global_memory,
)
from jaxreid.streams.network import (
    encode_image,
    encode_query,
    init_align_fuse,
    make_align_fuse,
    match,
    match_image,
    normaliser,
    word_maps,
)


def check(config) -> None:
    """Raises ValueError or FileNotFoundError for a field that ALBEF cannot use."""
    global_settings(config, config.albef)
    check_captions(config)


def make(config) -> Method:
    """Builds ALBEF from the sections image, text, model, train and albef of a config."""
    c = config.albef
    captions = caption_input(config, phrases=0, words=False)
    model = make_align_fuse(config, captions.vocabulary)
    normalised = normaliser(config)
    settings = global_settings(config, c)

    def loss(params, memory, batch, rng, step, stage):
        value, memory, metrics, _ = global_alignment(
            model,
            settings,
            params,
            memory,
            normalised(batch["image"]),
            batch["tokens"],
            batch["person_id"],
            jax.random.fold_in(rng, 0),  # the key that LAIP gives this stream: equal numbers
            step,
            triplet=c.triplet,
        )
        return value, (memory, metrics)

    return Method(
        tokenize=captions.tokenize,
        transform=captions.transform,
        init=partial(
            init_align_fuse, model, max_tokens=config.text.max_tokens, temperature=c.temperature
        ),
        loss=loss,
        encode_image=partial(encode_image, model, normalised),
        encode_query=partial(encode_query, model),
        similarity=cosine,
        match_image=partial(match_image, model),
        match=partial(match, model),
        init_memory=partial(
            init_global_memory, queue_length=c.queue_length, embedding=config.model.embedding
        ),
        temperature=lambda params: clipped(params["temperature"], settings.temperature_limits),
        explain=Explain(partial(word_maps, model, normalised)),
    )
