"""DiaNA: chat-based person retrieval by dialogue-refined cross-modal alignment (CVPR 2025).

An image encoder and a dialogue encoder give global features; learned queries refine the tokens of
both to attributes. ITC and SDM align the global features and, averaged over the attributes, the
refined ones; in training a random number of rounds stays of each dialogue.
"""

import jax
import jax.numpy as jnp

from jaxreid.losses.dialogue_alignment import (
    REDUCTIONS,
    attribute_similarity,
    flat,
    identity_itc,
    identity_sdm,
)
from jaxreid.losses.masked_language import corrupt, random_tokens
from jaxreid.methods import Features, Method, cosine
from jaxreid.models.projection import unit
from jaxreid.streams.dialogue_network import make_dialogue_network
from jaxreid.streams.dialogues import check_dialogues, dialogue_input, random_turn, retained
from jaxreid.streams.network import normaliser

QUERIES = TRAINING = "dialogues"
RANKED_BY = ("inference",)
REFINERS = ("shared", "separate", "none")
# Which token is the global feature.
IMAGE_POOLING, TEXT_POOLING = ("first", "mean"), ("first", "last")
# What a gallery is ranked by: the global similarity, that of attributes, or their sum.
INFERENCE = ("global", "attribute", "both")


def check(config) -> None:
    """Raises ValueError or FileNotFoundError for a field that DiaNA cannot use."""
    c = config.diana
    allowed = {
        "refiner": REFINERS,
        "inference": INFERENCE,
        "reduction": REDUCTIONS,
        "image_pooling": IMAGE_POOLING,
        "text_pooling": TEXT_POOLING,
    }
    for field, values in allowed.items():
        if c[field] not in values:
            raise ValueError(f"diana.{field} must be one of {', '.join(values)}, got {c[field]!r}")
    for encoder, lacks, field, needed in (
        (config.model.image_encoder == "swin", "has no [CLS]", "image_pooling", "mean"),
        (config.model.text_encoder == "llama", "reads from left to right", "text_pooling", "last"),
    ):
        if encoder and c[field] != needed:
            raise ValueError(
                f'diana.{field} must be "{needed}" with an encoder that {lacks}, got {c[field]!r}'
            )
    if c.refiner == "none" and c.inference != "global":
        raise ValueError(
            f'diana.inference must be "global" where diana.refiner is "none", got {c.inference!r}'
        )
    if c.attributes < 1 or c.refiner_depth < 0:
        raise ValueError(
            "diana.attributes must be >= 1 and diana.refiner_depth >= 0, got "
            f"{c.attributes} and {c.refiner_depth}"
        )
    width = config.model.embedding
    if c.refiner_heads < 1 or width % c.refiner_heads:
        raise ValueError(
            f"diana.refiner_heads must divide model.embedding {width}, got {c.refiner_heads}"
        )
    if not 0 <= c.mask_rate < 1:
        raise ValueError(f"diana.mask_rate must be in [0, 1), got {c.mask_rate}")
    if c.fewest_rounds not in (0, 1):
        raise ValueError(f"diana.fewest_rounds must be 0 or 1, got {c.fewest_rounds}")
    if not c.query_std > 0:
        raise ValueError(
            f"diana.query_std must be > 0, got {c.query_std}: equal queries stay equal"
        )
    if not c.epsilon > 0:
        raise ValueError(f"diana.epsilon must be > 0, got {c.epsilon}")
    if not 0 < c.logit_scale <= c.logit_scale_limit:
        raise ValueError(
            "diana.logit_scale must be > 0 and at most diana.logit_scale_limit "
            f"{c.logit_scale_limit}, got {c.logit_scale}"
        )
    check_dialogues(config)


def make(config) -> Method:
    """Builds DiaNA from the sections image, text, dialogue, model and diana of a config.

    The parameter logit_scale is the logarithm of the scale; all four losses share it.
    """
    check(config)
    c = config.diana
    dialogues = dialogue_input(config)
    model = make_dialogue_network(config, dialogues.vocabulary)
    normalised = normaliser(config)
    length, largest = config.text.max_tokens, jnp.log(c.logit_scale_limit)
    refined = c.refiner != "none"

    def read(query, turn):
        """Tokens and mask [B, L] of the rounds that may be read, L no longer than what is there."""
        room = min(length, query["tokens"].shape[1] + 2)
        return retained(
            query["tokens"], query["rounds"], turn,
            length=room, cls_id=dialogues.cls_id, end_id=dialogues.end_id,
            keep=config.dialogue.keep,
        )  # fmt: skip

    def run(params, name, *inputs, rng=None):
        """Global features and attributes, unit rows."""
        network = {name: value for name, value in params.items() if name != "logit_scale"}
        rngs = None if rng is None else {"dropout": rng}
        features, attributes = model.apply(
            {"params": network}, *inputs, method=name, rngs=rngs, train=rng is not None
        )
        return unit(features), None if attributes is None else unit(attributes)

    def init(rng):
        images = jnp.zeros((1, *config.image.size, 3), jnp.float32)
        tokens = jnp.zeros((1, length), jnp.int32)
        params = model.init(rng, images, tokens, tokens == 0)["params"]
        return {**params, "logit_scale": jnp.log(jnp.float32(c.logit_scale))}

    def loss(params, memory, batch, rng, step, stage):
        image_rng, text_rng, turn_rng, mask_rng, word_rng = jax.random.split(rng, 5)
        turn = batch["turn"]
        if c.retain:
            turn = random_turn(turn_rng, turn, c.fewest_rounds)
        tokens, present = read(batch, turn)
        special = (tokens == dialogues.cls_id) | (tokens == dialogues.end_id)
        masked = random_tokens(mask_rng, present & ~special, c.mask_rate)
        tokens = corrupt(
            word_rng, tokens, masked, mask_id=dialogues.mask_id, vocabulary=dialogues.words
        )
        image, image_attributes = run(
            params, "encode_image", normalised(batch["image"]), rng=image_rng
        )
        text, text_attributes = run(params, "encode_text", tokens, present, rng=text_rng)
        similarity = {"": text @ image.T}
        if refined:
            similarity["attribute_"] = attribute_similarity(
                text_attributes, image_attributes, c.reduction
            )
        scale = jnp.exp(jnp.minimum(params["logit_scale"], largest))
        person_id, metrics = batch["person_id"], {}
        for name, scores in similarity.items():
            metrics[f"{name}itc"] = identity_itc(scores, person_id, logit_scale=scale)
            if c.sdm:
                metrics[f"{name}sdm"] = identity_sdm(
                    scores, person_id, logit_scale=scale, epsilon=c.epsilon
                )
        total = sum(metrics.values())
        return total, (memory, metrics | {"logit_scale": scale, "turn": turn.mean()})

    def features(embedding, attributes):
        if c.inference == "global":
            return Features(embedding)
        if c.reduction != "mean":
            return Features(embedding, attributes)
        if c.inference == "attribute":
            return Features(flat(attributes))
        both = jnp.concatenate([embedding, flat(attributes)], axis=1)
        return Features(both * 0.5**0.5)

    def by_attributes(queries, images):
        score = attribute_similarity(
            queries.tokens.astype(jnp.float32), images.tokens.astype(jnp.float32), c.reduction
        )
        return score if c.inference == "attribute" else score + cosine(queries, images)

    def encode_query(params, query):
        return features(*run(params, "encode_text", *read(query, query["turn"])))

    single = c.inference == "global" or c.reduction == "mean"
    return Method(
        tokenize=dialogues.tokenize,
        transform=dialogues.transform,
        init=init,
        loss=loss,
        encode_image=lambda params, images: features(
            *run(params, "encode_image", normalised(images))
        ),
        encode_query=encode_query,
        similarity=cosine if single else by_attributes,
    )
