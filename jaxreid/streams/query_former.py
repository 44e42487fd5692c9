"""Builds the network of FAFA from a config, and its functions for training and retrieval."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxreid.losses.fda import token_similarity
from jaxreid.methods import Batch, Features
from jaxreid.models.feature_predictor import FeaturePredictor
from jaxreid.models.projection import Projection, unit
from jaxreid.models.qformer import QFormer
from jaxreid.models.vit import ViT
from jaxreid.streams.network import DTYPES, image_fields, text_fields

# Of BLIP-2's ln_vision, which is the final norm of the image encoder here.
_NORM_EPSILON = 1e-5


class QueryFormer(NamedTuple):
    """The parts of the network; parameters have the same names.

    BLIP-2's image encoder, EVA-CLIP-g, has no bias of keys. Such a bias shifts the logits of all
    keys of a query alike, so softmax does not see it, and `vit` can have one.
    """

    vit: ViT
    qformer: QFormer
    image_proj: Projection
    text_proj: Projection
    predictor: FeaturePredictor


def make_query_former(config, vocabulary: int) -> QueryFormer:
    """Returns the network of the sections `image`, `model` and `fafa` of a config.

    Args:
      config: whole config; model.bert gives the sizes of the Q-Former.
      vocabulary: of the tokenizer.
    """
    m, b = config.model, config.model.bert
    dtype = DTYPES[m.dtype]
    return QueryFormer(
        vit=ViT(**image_fields(config), norm_epsilon=_NORM_EPSILON),
        qformer=QFormer(
            **text_fields(config, vocabulary),
            queries=config.fafa.queries,
            cross_frequency=b.text_depth // b.cross_depth,
            token_types=b.token_types,
        ),
        image_proj=Projection(m.embedding),
        text_proj=Projection(m.embedding),
        predictor=FeaturePredictor(b.width, dtype=dtype),
    )


def init_query_former(
    model: QueryFormer, rng: jax.Array, *, max_tokens: int, temperature: float
) -> Any:
    """Returns the parameters of the network, from random, and the learnable temperature."""
    rngs = dict(zip(model._fields, jax.random.split(rng, len(model)), strict=True))
    images = jnp.zeros((1, *model.vit.image_size, 3), jnp.float32)
    tokens = jnp.zeros((1, max_tokens), jnp.int32)
    patches = jnp.zeros((1, 1, model.vit.width), jnp.float32)
    hidden = jnp.zeros((1, model.qformer.width), jnp.float32)
    inputs = {
        "vit": (images,),
        "qformer": (patches, tokens, tokens == 0),
        "image_proj": (hidden,),
        "text_proj": (hidden,),
        "predictor": (jnp.concatenate([hidden, hidden], axis=1),),
    }
    parts = model._asdict()
    params = {name: parts[name].init(rngs[name], *inputs[name])["params"] for name in inputs}
    return {**params, "temperature": jnp.float32(temperature)}


def freeze_image(params: Any) -> Any:
    """Returns params whose image encoder, but for its final norm, has no gradient."""
    vit = params["vit"]
    frozen = {name: jax.lax.stop_gradient(part) for name, part in vit.items() if name != "norm"}
    return params | {"vit": vit | frozen}


def image_tokens(
    model: QueryFormer, params: Any, images: jax.Array, rng: jax.Array | None = None
) -> jax.Array:
    """Returns [B, N, Dv] of normalised images; `rng` is the key of dropout, None has none."""
    return _run(model.vit, params["vit"], rng, images)


def read_image(
    model: QueryFormer, params: Any, patches: jax.Array, rng: jax.Array | None = None
) -> jax.Array:
    """Returns f32[B, queries, D], what the queries read of an image alone (target branch)."""
    hidden, _ = _run(model.qformer, params["qformer"], rng, patches)
    return hidden.astype(jnp.float32)


def read_pair(
    model: QueryFormer,
    params: Any,
    patches: jax.Array,
    tokens: jax.Array,
    rng: jax.Array | None = None,
) -> jax.Array:
    """Returns f32[B, D] of [CLS] of words i32[B, L] with a reference image (query branch)."""
    _, words = _run(model.qformer, params["qformer"], rng, patches, tokens, tokens != 0)
    return words[:, 0].astype(jnp.float32)


def read_words(model: QueryFormer, params: Any, tokens: jax.Array) -> jax.Array:
    """Returns f32[B, D] of [CLS] of words i32[B, L] without an image, as BLIP-2 reads a text."""
    _, words = _run(model.qformer, params["qformer"], None, None, tokens, tokens != 0)
    return words[:, 0].astype(jnp.float32)


def embed_pair(model: QueryFormer, params: Any, hidden: jax.Array) -> jax.Array:
    """Returns f32[B, E] unit embeddings of `read_pair`."""
    return model.text_proj.apply({"params": params["text_proj"]}, hidden)


def embed_image(model: QueryFormer, params: Any, hidden: jax.Array) -> jax.Array:
    """Returns f32[B, queries, E] unit embeddings of `read_image`."""
    return model.image_proj.apply({"params": params["image_proj"]}, hidden)


def encode_image(model: QueryFormer, normalised, params: Any, images: jax.Array) -> Features:
    """`Method.encode_image` of the network; `similarity` reads the tokens alone."""
    hidden = read_image(model, params, image_tokens(model, params, normalised(images)))
    tokens = embed_image(model, params, hidden)
    return Features(unit(tokens.mean(axis=1)), tokens)


def encode_query(
    model: QueryFormer, normalised, params: Any, query: Batch, *, form: str
) -> Features:
    """`Method.encode_query` of the network: reference u8[B, h, w, 3] and tokens i32[B, L].

    Args:
      model: the network.
      normalised: of images.
      params: of the network.
      query: what is asked.
      form: "composed", or what it is compared with: the "image" alone, as a gallery image, the
        "text" alone, or the "mean" of both.
    """
    if "reference" not in query:
        raise ValueError(
            f"a query must have a reference image and words, got {', '.join(sorted(query))}"
        )
    if form == "composed":
        patches = image_tokens(model, params, normalised(query["reference"]))
        return Features(
            embed_pair(model, params, read_pair(model, params, patches, query["tokens"]))
        )
    words = image = 0.0
    if form != "image":
        words = embed_pair(model, params, read_words(model, params, query["tokens"]))
    if form != "text":
        image = encode_image(model, normalised, params, query["reference"]).embedding
    return Features(unit(words + image))


def similarity(queries: Features, images: Features, *, top: int) -> jax.Array:
    """`Method.similarity` of the network: mean of the `top` best cosines with an image's tokens."""
    return token_similarity(queries.embedding, images.tokens, top)


def _run(module, params: Any, rng: jax.Array | None, *inputs: jax.Array):
    """A part of the network on its inputs; a key switches dropout on."""
    rngs = None if rng is None else {"dropout": rng}
    return module.apply({"params": params}, *inputs, rngs=rngs, train=rng is not None)
