"""Builds the network of CADA from a config, and its functions for retrieval."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxreid.losses.atp import group_means
from jaxreid.methods import Batch, Features
from jaxreid.models.attention import KeyValue, patch_maps
from jaxreid.models.bert import MLMHead, image_keys
from jaxreid.models.decoder import TextDecoder
from jaxreid.models.dual_association import DualAssociation
from jaxreid.models.vit import ViT
from jaxreid.streams.network import DTYPES, image_fields, text_fields

DECODERS = ("shared", "separate")
MATCH_TOKENS = ("cls", "enc")
GROUP_MEANS = ("words", "all")
SCORES = ("groups", "first", "first_logit")
# Rows that BLIP adds to the vocabulary: [DEC], then [ENC].
_ADDED_TOKENS = 2


class Entry(NamedTuple):
    """How tokens go into the decoder, and its outputs into matching heads."""

    enc_id: int | None  # token id that stands for [CLS] where text reads an image; None: [CLS]
    group_size: int  # tokens
    group_stride: int
    group_mean: str  # "words" | "all" positions, with [SEP] and padding


def make_entry(config, vocabulary: int) -> Entry:
    """Returns the entry of the section `cada`; `vocabulary` is that of the tokenizer."""
    c = config.cada
    enc_id = vocabulary + _ADDED_TOKENS - 1 if c.match_token == "enc" else None
    return Entry(enc_id, c.group_size, c.group_stride, c.group_mean)


def make_dual_association(config, vocabulary: int) -> DualAssociation:
    """Returns the network of the sections `image`, `model` and `cada` of a config.

    Args:
      config: whole config.
      vocabulary: of the tokenizer; match_token "enc" adds [DEC] and [ENC] to it, as in BLIP.
    """
    m, b = config.model, config.model.bert
    dtype = DTYPES[m.dtype]
    if config.cada.match_token == "enc":
        vocabulary += _ADDED_TOKENS

    def decoder(causal: bool) -> TextDecoder:
        return TextDecoder(
            **text_fields(config, vocabulary),
            cross_depth=b.cross_depth,
            token_types=b.token_types,
            causal=causal,
        )

    return DualAssociation(
        vit=ViT(**image_fields(config)),
        text=decoder(causal=False),
        mlm=MLMHead(b.width, vocabulary, m.init_std, dtype),
        embedding=m.embedding,
        text_decoder=decoder(causal=True) if config.cada.decoder == "separate" else None,
    )


def init_dual_association(model: DualAssociation, rng: jax.Array, *, max_tokens: int) -> Any:
    """Returns the parameters of the network, from random."""
    images = jnp.zeros((1, *model.vit.image_size, 3), jnp.float32)
    tokens = jnp.zeros((1, max_tokens), jnp.int32)
    return model.init(rng, images, tokens, tokens == 0)["params"]


def entered(entry: Entry, tokens: jax.Array) -> jax.Array:
    """Returns tokens i32[B, L] as they go into the decoder to be matched."""
    return tokens if entry.enc_id is None else tokens.at[:, 0].set(entry.enc_id)


def match_logits(
    model: DualAssociation, entry: Entry, params: Any, fused: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the logits of Eq. 4 of [CLS] and of the token groups, and which groups count.

    Args:
      model: the network.
      entry: see `Entry`.
      params: of the network.
      fused: [P, L, D], decoded.
      mask: bool[P, L], False on padding.

    Returns:
      f32[P, 1 + M, 2], [CLS] first; bool[P, 1 + M], False for a group without a word.
    """
    counted = jnp.ones_like(mask[:, 1:])
    if entry.group_mean == "words":
        # The last token before padding is [SEP], so a word is what has another token behind it.
        after = jnp.concatenate([mask[:, 2:], jnp.zeros_like(mask[:, :1])], axis=1)
        counted = mask[:, 1:] & after
    means, present = group_means(
        fused[:, 1:], counted, size=entry.group_size, stride=entry.group_stride
    )
    first = model.apply({"params": params}, fused[:, :1], method="match")
    groups = model.apply({"params": params}, means, method="match_group")
    logits = jnp.concatenate([first, groups], axis=1)
    return logits, jnp.concatenate([jnp.ones_like(present[:, :1]), present], axis=1)


def encode_image(model: DualAssociation, normalised, params: Any, images: jax.Array) -> Features:
    """`Method.encode_image` of the network."""
    tokens = model.apply({"params": params}, normalised(images), method="image_tokens")
    return Features(model.apply({"params": params}, tokens, method="embed_image"), tokens)


def encode_query(model: DualAssociation, entry: Entry, params: Any, query: Batch) -> Features:
    """`Method.encode_query` of the network, for captions: query["tokens"] i32[B, L].

    The tokens of the features are what the decoder starts from: words and positions, not yet
    encoded.
    """
    mask = query["tokens"] != 0
    tokens = model.apply({"params": params}, query["tokens"], mask, method="text_tokens")
    start = model.apply({"params": params}, entered(entry, query["tokens"]), method="embed_tokens")
    return Features(model.apply({"params": params}, tokens, method="embed_text"), start, mask)


def match_image(model: DualAssociation, params: Any, images: Features) -> tuple[KeyValue, ...]:
    """`Method.match_image` of the network: keys and values of each cross-attention."""
    dtype = model.text.dtype
    return image_keys(params["text"], images.tokens.astype(dtype), dtype)


def match(
    model: DualAssociation,
    entry: Entry,
    params: Any,
    queries: Features,
    images: tuple[KeyValue, ...],
    *,
    score: str,
) -> jax.Array:
    """`Method.match` of the network: the local matching score s_l.

    "groups": the mean probability of a match over [CLS] and the token groups (Eq. 4; which of
    them the paper ranks by, it does not print). "first": that of [CLS] alone. "first_logit": its
    logit, as the release ranks (train.py, evaluation).
    """
    fused = model.apply(
        {"params": params},
        queries.tokens.astype(model.text.dtype),
        queries.mask,
        images,
        first_only=score != "groups",
        method="decode",
    )
    if score != "groups":
        logits = model.apply({"params": params}, fused[:, 0], method="match")
        return logits[:, 1] if score == "first_logit" else jax.nn.softmax(logits)[:, 1]
    logits, counted = match_logits(model, entry, params, fused, queries.mask)
    weight = counted.astype(jnp.float32)
    return (jax.nn.softmax(logits)[..., 1] * weight).sum(axis=1) / weight.sum(axis=1)


def word_maps(
    model: DualAssociation,
    entry: Entry,
    normalised,
    params: Any,
    images: jax.Array,
    query: Batch,
) -> jax.Array:
    """`Explain.word_maps` of the network."""
    start = encode_query(model, entry, params, query)
    image_tokens = model.apply({"params": params}, normalised(images), method="image_tokens")
    _, kept = model.apply(
        {"params": params}, start.tokens, start.mask, image_tokens,
        method="decode", mutable=["attention"],
    )  # fmt: skip
    return patch_maps(kept["attention"]["text"], "crossattention")


def fill_words(
    model: DualAssociation, normalised, params: Any, images: jax.Array, tokens: jax.Array
) -> jax.Array:
    """`Explain.fill_words` of the network: of the decoder that predicts words."""
    image_tokens = model.apply({"params": params}, normalised(images), method="image_tokens")
    fused = model.apply(
        {"params": params}, tokens, tokens != 0, image_tokens, method="decode_masked"
    )
    return model.apply({"params": params}, fused, method="predict_words")
