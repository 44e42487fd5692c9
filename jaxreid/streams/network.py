"""Builds the network of ALBEF and LAIP from a config, and its functions for retrieval."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxreid.methods import Batch, Features
from jaxreid.models.align_fuse import AlignFuse
from jaxreid.models.attention import KeyValue, patch_maps
from jaxreid.models.bert import CrossEncoder, MLMHead, TextEncoder, image_keys
from jaxreid.models.vit import ViT, normalise

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def image_fields(config) -> dict[str, Any]:
    """Fields that image encoders share, of the sections `image` and `model` of a config."""
    m = config.model
    names = ("patch", "width", "depth", "heads", "mlp", "drop_path", "dropout")
    return {
        "image_size": tuple(config.image.size), "init_std": m.init_std, "dtype": DTYPES[m.dtype],
        **{name: m.vit[name] for name in names},
    }  # fmt: skip


def text_fields(config, vocabulary: int) -> dict[str, Any]:
    """Fields that text encoders share, of the section `model` of a config."""
    m = config.model
    names = ("width", "heads", "mlp", "max_positions", "dropout")
    return {
        "vocabulary": vocabulary, "depth": m.bert.text_depth, "init_std": m.init_std,
        "dtype": DTYPES[m.dtype], **{name: m.bert[name] for name in names},
    }  # fmt: skip


def make_align_fuse(config, vocabulary: int) -> AlignFuse:
    """Returns the network of the sections `image` and `model` of a config.

    Args:
      config: whole config.
      vocabulary: V.
    """
    m = config.model
    dtype = DTYPES[m.dtype]
    return AlignFuse(
        vit=ViT(**image_fields(config)),
        text=TextEncoder(**text_fields(config, vocabulary)),
        cross=CrossEncoder(
            width=m.bert.width,
            depth=m.bert.cross_depth,
            heads=m.bert.heads,
            mlp=m.bert.mlp,
            dropout=m.bert.dropout,
            init_std=m.init_std,
            dtype=dtype,
        ),
        mlm=MLMHead(m.bert.width, vocabulary, m.init_std, dtype),
        embedding=m.embedding,
    )


def init_align_fuse(
    model: AlignFuse, rng: jax.Array, *, max_tokens: int, temperature: float
) -> Any:
    """Returns the parameters of the network, from random, and the learnable temperature."""
    images = jnp.zeros((1, *model.vit.image_size, 3), jnp.float32)
    tokens = jnp.zeros((1, max_tokens), jnp.int32)
    params = model.init(rng, images, tokens, tokens == 0)["params"]
    return {**params, "temperature": jnp.float32(temperature)}


def normaliser(config):
    """Returns u8[B, h, w, 3] -> f32[B, h, w, 3] with the mean and deviation of the config."""
    mean, std = tuple(config.image.mean), tuple(config.image.std)
    return lambda images: normalise(images, mean, std)


def encode_image(model: AlignFuse, normalised, params: Any, images: jax.Array) -> Features:
    """`Method.encode_image` of the network."""
    tokens = model.apply({"params": params}, normalised(images), method="image_tokens")
    return Features(model.apply({"params": params}, tokens, method="embed_image"), tokens)


def encode_query(model: AlignFuse, params: Any, query: Batch) -> Features:
    """`Method.encode_query` of the network, for captions: query["tokens"] i32[B, L]."""
    mask = query["tokens"] != 0
    tokens = model.apply({"params": params}, query["tokens"], mask, method="text_tokens")
    return Features(model.apply({"params": params}, tokens, method="embed_text"), tokens, mask)


def match_image(model: AlignFuse, params: Any, images: Features) -> tuple[KeyValue, ...]:
    """`Method.match_image` of the network: keys and values of each cross layer, once an image."""
    dtype = model.cross.dtype
    return image_keys(params["cross"], images.tokens.astype(dtype), dtype)


def match(
    model: AlignFuse, params: Any, queries: Features, images: tuple[KeyValue, ...]
) -> jax.Array:
    """`Method.match` of the network: the "match" logit (Eq. 18), as the releases rank by it."""
    fused, _ = model.apply(
        {"params": params},
        queries.tokens.astype(model.cross.dtype),
        queries.mask,
        images,
        method="fuse",
        first_only=True,
    )
    return model.apply({"params": params}, fused, method="match")[:, 1]


def word_maps(
    model: AlignFuse, normalised, params: Any, images: jax.Array, query: Batch
) -> jax.Array:
    """`Explain.word_maps` of the network."""
    hidden = encode_query(model, params, query)
    image_tokens = model.apply({"params": params}, normalised(images), method="image_tokens")
    _, kept = model.apply(
        {"params": params}, hidden.tokens, hidden.mask, image_tokens,
        method="fuse", mutable=["attention"],
    )  # fmt: skip
    return patch_maps(kept["attention"]["cross"], "crossattention")


def fill_words(
    model: AlignFuse, normalised, params: Any, images: jax.Array, tokens: jax.Array
) -> jax.Array:
    """`Explain.fill_words` of the network."""
    hidden = encode_query(model, params, {"tokens": tokens})
    image_tokens = model.apply({"params": params}, normalised(images), method="image_tokens")
    fused, _ = model.apply(
        {"params": params}, hidden.tokens, hidden.mask, image_tokens, method="fuse"
    )
    return model.apply({"params": params}, fused, method="predict_words")
