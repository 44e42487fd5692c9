"""IRRA: Implicit Relation Reasoning and Aligning (Jiang and Ye, CVPR 2023).

CLIP's encoders with similarity distribution matching (SDM), words masked and told from the image
by a cross-modal module (IRR, here MLM), and an identity classifier (ID). The module and the
classifier are for training alone: a gallery is ranked by the cosine of two features.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid.data.bpe import MASKS, load_bpe, train_bpe
from jaxreid.losses.clip_itc import clip_itc
from jaxreid.losses.identity import identity_loss
from jaxreid.losses.masked_language import (
    corrupt,
    masked_language_loss,
    masked_mean,
    random_tokens,
)
from jaxreid.losses.sdm import sdm_loss
from jaxreid.methods import Method, cosine
from jaxreid.models.clip import end_position
from jaxreid.models.interaction import Interaction, WordHead
from jaxreid.streams.captions import caption_input, check_captions
from jaxreid.streams.dual import (
    encode_image,
    encode_query,
    image_feature,
    init_clip,
    make_clip,
    text_feature,
)
from jaxreid.streams.network import DTYPES, normaliser

LOSSES = ("sdm", "mlm", "id", "itc")
# Of the start weights of the classifier (model/build.py); its bias starts at 0.
_CLASSIFIER_STD = 0.001
learn_vocabulary = train_bpe


def check(config) -> None:
    """Raises ValueError or FileNotFoundError for a field that IRRA cannot use."""
    c = config.irra
    losses = tuple(c.losses)
    if not losses or len(set(losses)) < len(losses) or not set(losses) <= set(LOSSES):
        raise ValueError(
            f"irra.losses must be some of {', '.join(LOSSES)}, once each, got {losses}"
        )
    if c.mask_token not in MASKS[1:]:
        raise ValueError(
            f"irra.mask_token must be one of {', '.join(MASKS[1:])}, got {c.mask_token!r}"
        )
    for field in ("logit_scale", "epsilon", "mlm_weight", "id_weight"):
        if not c[field] > 0:
            raise ValueError(f"irra.{field} must be > 0, got {c[field]}")
    if not 0 < c.mlm_probability < 1:
        raise ValueError(f"irra.mlm_probability must be in (0, 1), got {c.mlm_probability}")
    check_captions(config, partial(load_bpe, mask=c.mask_token))


def make(config) -> Method:
    """Builds IRRA from the sections data, image, text, model and irra of a config.

    All its parameters are there whatever irra.losses leaves out, so one set of optimiser groups
    serves every choice.
    """
    check(config)
    c, m = config.irra, config.model
    captions = caption_input(
        config, phrases=0, words=False, load=partial(load_bpe, mask=c.mask_token)
    )
    dtype = DTYPES[m.dtype]
    model = make_clip(config, captions.vocabulary, captions.end_id)
    cross = Interaction(m.bert.cross_depth, m.bert.heads, m.bert.mlp, dtype)
    words = WordHead(captions.vocabulary, m.bert.cross_depth, dtype)
    classifier = nn.Dense(config.data.people, kernel_init=nn.initializers.normal(_CLASSIFIER_STD))
    normalised = normaliser(config)

    def init(rng):
        rngs = jax.random.split(rng, 4)
        row = jnp.zeros((1, 1, m.embedding), jnp.float32)
        return {
            **init_clip(model, rngs[0], max_tokens=config.text.max_tokens),
            "cross": cross.init(rngs[1], row, row)["params"],
            "mlm_head": words.init(rngs[2], row)["params"],
            "classifier": classifier.init(rngs[3], row[0])["params"],
        }

    def loss(params, memory, batch, rng, step, stage):
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
        return total, (memory, metrics)

    return Method(
        tokenize=captions.tokenize,
        transform=captions.transform,
        init=init,
        loss=loss,
        encode_image=partial(encode_image, model, normalised),
        encode_query=partial(encode_query, model),
        similarity=cosine,
    )


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
