"""Word4Per: composed person retrieval without composed annotations (Liu et al.).

First CLIP is fine-tuned on captioned people by IRRA's losses. Then, on the frozen encoders, a
textual inversion network (TINet) learns a word for an image: the sentence "a photo of *" with that
word in place of the star is to mean what the image's caption means, or what the image does. A photo
plus words is then the sentence "a * is , {caption}", and a gallery is ranked by the cosine of its
feature. Two networks, one for each aim, can be fused.
"""

from functools import partial

import jax
import jax.numpy as jnp

from jaxreid.data.bpe import load_bpe, train_bpe
from jaxreid.losses.sdm import sdm_loss
from jaxreid.methods import Features, Method, cosine
from jaxreid.models.inversion import TINet
from jaxreid.models.projection import unit
from jaxreid.streams.captions import caption_input, check_captions
from jaxreid.streams.dual import (
    encode_image,
    image_feature,
    init_clip,
    make_clip,
    text_feature,
)
from jaxreid.streams.network import DTYPES, normaliser
from jaxreid.streams.pseudo_word import check_prompt, prompt_feature, read_prompt
from jaxreid.streams.relation import check_relation, make_relation

QUERIES, TRAINING = "triplets", "captions"
RANKED_BY = ("query", "fused")
STAGES = ("encoders", "inversion")
AIMS = ("text", "image", "text+image")
# What a query is: photo and words, or a part of it, to compare with.
FORMS = ("composed", "image", "text", "mean")
learn_vocabulary = train_bpe


def check(config) -> None:
    """Raises ValueError or FileNotFoundError for a field that Word4Per cannot use."""
    c = config.word4per
    check_relation(c, "word4per")
    stages, epochs = tuple(c.stages), tuple(config.train.epochs)
    if len(stages) != len(epochs) or not set(stages) <= set(STAGES):
        raise ValueError(
            f"word4per.stages must name one of {', '.join(STAGES)} for each stage of "
            f"train.epochs {epochs}, got {stages}"
        )
    trained = tuple(config.optim.trained)
    if len(trained) != len(stages):
        raise ValueError(
            f"optim.trained must name what each of word4per.stages {stages} trains, got {trained}: "
            "what a stage leaves alone must not decay"
        )
    aims = tuple(c.inversions)
    if not aims or len(set(aims)) < len(aims) or not set(aims) <= set(AIMS):
        raise ValueError(
            f"word4per.inversions must be some of {', '.join(AIMS)}, once each, got {aims}"
        )
    fused = tuple(c.fused)
    if len(set(fused)) < len(fused) or not set(fused) <= set(aims):
        raise ValueError(
            f"word4per.fused must be () or some of word4per.inversions {aims}, got {fused}"
        )
    if c.query not in FORMS:
        raise ValueError(f"word4per.query must be one of {', '.join(FORMS)}, got {c.query!r}")
    if c.hidden < 1:
        raise ValueError(f"word4per.hidden must be >= 1, got {c.hidden}")
    if not 0 <= c.dropout < 1:
        raise ValueError(f"word4per.dropout must be in [0, 1), got {c.dropout}")
    check_prompt(c.prompt, "word4per.prompt", caption=False)
    check_prompt(c.template, "word4per.template", caption=True)
    check_captions(config, partial(load_bpe, mask=c.mask_token))


def make(config) -> Method:
    """Builds Word4Per from the sections data, image, text, model and word4per of a config."""
    check(config)
    c = config.word4per
    load = partial(load_bpe, mask=c.mask_token)
    captions = caption_input(config, phrases=0, words=False, load=load)
    tokenizer = load(config.text.tokenizer)
    model = make_clip(config, captions.vocabulary, captions.end_id)
    relation = make_relation(config, c, model, captions)
    inversion = TINet(c.hidden, config.model.bert.width, c.dropout, DTYPES[config.model.dtype])
    prompt, template = (
        read_prompt(tokenizer, words, config.text.max_tokens) for words in (c.prompt, c.template)
    )
    empty = jnp.array([[tokenizer.cls_id, tokenizer.sep_id]], jnp.int32)  # a text without words
    normalised = normaliser(config)
    stages, aims = tuple(c.stages), tuple(c.inversions)

    def init(rng):
        towers_rng, heads_rng, inversion_rng = jax.random.split(rng, 3)
        row = jnp.zeros((1, config.model.embedding), jnp.float32)
        keys = jax.random.split(inversion_rng, len(aims))
        found = {aim: inversion.init(keys[i], row)["params"] for i, aim in enumerate(aims)}
        towers = init_clip(model, towers_rng, max_tokens=config.text.max_tokens)
        return {**towers, **relation.init(heads_rng), "inversion": found}

    def invert(params, aim, feature, rng=None):
        rngs = None if rng is None else {"dropout": rng}
        own = {"params": params["inversion"][aim]}
        return inversion.apply(own, feature, train=rng is not None, rngs=rngs)

    def inversion_loss(params, batch, rng):
        frozen = jax.lax.stop_gradient({"vit": params["vit"], "text": params["text"]})
        image, _ = image_feature(model, frozen, normalised(batch["image"]))
        text, _ = text_feature(model, frozen, batch["tokens"])
        features, nothing = {"text": text, "image": image}, jnp.tile(empty, (len(image), 1))
        total, metrics, keys = 0.0, {}, jax.random.split(rng, len(aims))
        for i, aim in enumerate(aims):
            word = invert(params, aim, image, keys[i])
            meaning = prompt_feature(model, frozen, prompt, nothing, word)
            for target in aim.split("+"):
                name = f"inversion_{target}" + ("_both" if "+" in aim else "")
                metrics[name] = sdm_loss(
                    meaning, features[target], batch["person_id"],
                    logit_scale=c.logit_scale, epsilon=c.epsilon,
                )  # fmt: skip
                total = total + metrics[name]
        return total, metrics

    def loss(params, memory, batch, rng, step, stage):
        run = inversion_loss if stages[stage] == "inversion" else relation.loss
        total, metrics = run(params, batch, rng)
        return total, (memory, metrics)

    def composed(params, image, tokens):
        """Sum over the networks of the unit features of the sentences."""
        words = [invert(params, aim, image) for aim in tuple(c.fused) or aims]
        return sum(unit(prompt_feature(model, params, template, tokens, word)) for word in words)

    def encode_query(params, query):
        if c.query == "text":
            return Features(unit(text_feature(model, params, query["tokens"])[0]))
        image, _ = image_feature(model, params, normalised(query["reference"]))
        if c.query == "composed":
            return Features(unit(composed(params, image, query["tokens"])))
        found = unit(image)
        if c.query == "mean":
            found = unit(found + unit(text_feature(model, params, query["tokens"])[0]))
        return Features(found)

    return Method(
        tokenize=captions.tokenize,
        transform=captions.transform,
        init=init,
        loss=loss,
        encode_image=partial(encode_image, model, normalised),
        encode_query=encode_query,
        similarity=cosine,
    )
