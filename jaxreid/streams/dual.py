"""CLIP's two encoders built from a config, and their functions for retrieval."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxreid.methods import Batch, Features
from jaxreid.models.clip import Clip, ImageTower, TextTower, Word
from jaxreid.models.projection import unit
from jaxreid.streams.network import image_fields, text_fields


def make_clip(config, vocabulary: int, end_id: int) -> Clip:
    """Returns the encoders of the sections `image` and `model` of a config.

    Args:
      config: whole config; model.bert gives the sizes of the text encoder.
      vocabulary: V.
      end_id: id of the token that ends a text.
    """
    embedding = config.model.embedding
    return Clip(
        vit=ImageTower(**image_fields(config), embedding=embedding),
        text=TextTower(**text_fields(config, vocabulary), embedding=embedding),
        end_id=end_id,
    )


def init_clip(model: Clip, rng: jax.Array, *, max_tokens: int) -> Any:
    """Returns the parameters of the encoders, from random."""
    images = jnp.zeros((1, *model.vit.image_size, 3), jnp.float32)
    return model.init(rng, images, jnp.zeros((1, max_tokens), jnp.int32))["params"]


def encode_image(model: Clip, normalised, params: Any, images: jax.Array) -> Features:
    """`Method.encode_image` of the encoders."""
    return Features(unit(image_feature(model, params, normalised(images))[0]))


def encode_query(model: Clip, params: Any, query: Batch) -> Features:
    """`Method.encode_query` of the encoders, for captions: query["tokens"] i32[B, L]."""
    return Features(unit(text_feature(model, params, query["tokens"])[0]))


def image_feature(
    model: Clip, params: Any, images: jax.Array, rng: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Returns f32[B, E] features, any norm, and [B, N, E] tokens of normalised images.

    Args:
      model: the encoders.
      params: a tree that holds theirs.
      images: f32[B, h, w, 3].
      rng: key of dropout and stochastic depth; None has neither.
    """
    tokens = _run(model, params, rng, "image_tokens", images)
    return model.apply({}, tokens, method="pool_image"), tokens


def text_feature(
    model: Clip,
    params: Any,
    text: jax.Array,
    rng: jax.Array | None = None,
    word: Word | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Returns f32[B, E] features, any norm, and [B, L, E] tokens of i32[B, L]; see image.

    `word` replaces a token of every text.
    """
    tokens = _run(model, params, rng, "text_tokens", text, word)
    return model.apply({}, tokens, text, method="pool_text"), tokens


def _run(model: Clip, params: Any, rng: jax.Array | None, name: str, *inputs):
    """One encoder on its inputs; params may hold more than the encoders'."""
    rngs = None if rng is None else {"dropout": rng}
    towers = {"vit": params["vit"], "text": params["text"]}
    return model.apply({"params": towers}, *inputs, method=name, rngs=rngs, train=rng is not None)
