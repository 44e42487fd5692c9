"""What a retrieval method is: pure functions built from a config.

A method is one module here with `make(config) -> Method`. `jaxreid.main` finds it by
its module name (`config.method = "laip"`), so a new method needs no other edit. The module may
also have

  check(config)   raises for fields that `make` would refuse; called before any data is prepared,
                  so it sees neither a learnt vocabulary nor steps_per_epoch
  QUERIES         what it searches by, and
  TRAINING        what it is trained on: of `jaxreid.data.queries.KINDS`; "captions" without it
  RANKED_BY       fields of its section that change no parameter, only how a gallery is ranked: an
                  evaluation may set them
  learn_vocabulary(texts, size, folder)   where its vocabulary is not WordPiece

Letters used for array shapes in the whole package:
  B batch   Q queries   G gallery images   P query-image pairs   K re-ranked candidates
  N image tokens (patches + [CLS])   L text tokens   D encoder width   E shared embedding
  H attention heads   M queue length   V vocabulary   C captions   R phrases of a caption
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

Params = Any  # nested dict of arrays; the optimiser updates them
Memory = Any  # arrays carried from step to step without gradient (momentum weights, queues)
Record = Mapping[str, Any]  # one item of a data set, see `jaxreid.data.pipeline`
Example = dict[str, np.ndarray]
Batch = Mapping[str, jax.Array]  # stacked examples: image u8[B, h, w, 3], person_id i32[B], ...
Metrics = dict[str, jax.Array]  # f32[] each, means over the global batch


class Features(NamedTuple):
    """What an encoder returns for B images or B queries."""

    embedding: jax.Array  # f32[B, E], unit L2 norm, so cosine similarity is a dot product
    tokens: jax.Array | None = None  # [B, N or L, D]; kept only where a score needs them
    mask: jax.Array | None = None  # bool[B, N or L], False on padding; None if no padding


class Explain(NamedTuple):
    """What pictures of a method are made of; None where it has no such thing."""

    # word_maps(params, images u8[B, h, w, 3], query) -> f32[layers, B, L, N - 1]: how much each
    # text token attends to each patch, mean over the heads of a cross-attention
    word_maps: Callable[[Params, jax.Array, Batch], jax.Array]
    # fill_words(params, images u8[B, h, w, 3], tokens i32[B, L]) -> f32[B, L, V]: logits of the
    # words at [MASK], told from the rest and the image
    fill_words: Callable[[Params, jax.Array, jax.Array], jax.Array] | None = None
    # phrase_maps(params, images, batch, rng) -> {direction: f32[B, R, N - 1]}: weights of the
    # patches for each of batch["phrase_tokens"], rows summing to 1
    phrase_maps: Callable[[Params, jax.Array, Batch, jax.Array], dict[str, jax.Array]] | None = None


class Method(NamedTuple):
    """The functions that train, evaluate and serve a method; none of them holds state."""

    # tokenize(texts) -> arrays with one row a text; on the host, once a text, never in the step
    tokenize: Callable[[Sequence[str]], dict[str, np.ndarray]]
    # transform(record, rng) -> example, on the host; rng is None at evaluation: no augmentation.
    # A record without "image", "reference" or "text" gives an example without those arrays.
    transform: Callable[[Record, np.random.Generator | None], Example]
    # init(rng) -> params, before pretrained weights are put in
    init: Callable[[jax.Array], Params]
    # loss(params, memory, batch, rng, step, stage) -> (f32[], (memory, metrics)); gradient in
    # params only. stage counts config.train.stages from 0 and is a Python int; step is i32[],
    # counted from the start of the run.
    loss: Callable[
        [Params, Memory, Batch, jax.Array, jax.Array, int],
        tuple[jax.Array, tuple[Memory, Metrics]],
    ]
    # encode_image(params, images u8[B, h, w, 3]) -> Features
    encode_image: Callable[[Params, jax.Array], Features]
    # encode_query(params, query) -> Features of captions, of images + captions, or of dialogues
    encode_query: Callable[[Params, Batch], Features]
    # similarity(queries [Q, ..], images [G, ..]) -> f32[Q, G]: cheap score of all pairs
    similarity: Callable[[Features, Features], jax.Array]
    # match(params, queries [P, ..], images [P, ..]) -> f32[P]: costly score of P aligned pairs
    # that re-orders the top K of each query; None if `similarity` is final. `images` are rows of
    # what `match_image` returned.
    match: Callable[[Params, Features, Any], jax.Array] | None = None
    # match_image(params, images [G, ..]) -> arrays with a row an image: the part of `match` that
    # no query changes, computed once an image and not once a pair
    match_image: Callable[[Params, Features], Any] = lambda params, images: images
    # init_memory(rng, params) -> memory, after pretrained weights are put in: copies see them
    init_memory: Callable[[jax.Array, Params], Memory] = lambda rng, params: ()
    # temperature(params) -> f32[]: divides `similarity` where the negatives of `match` are drawn;
    # None if they are not drawn by similarity
    temperature: Callable[[Params], jax.Array] | None = None
    # None where text never reads the image
    explain: Explain | None = None


def cosine(queries: Features, images: Features) -> jax.Array:
    """f32[Q, G] cosine similarity: `Method.similarity` where an item is one vector."""
    return jax.numpy.matmul(
        queries.embedding, images.embedding.T, precision=jax.lax.Precision.HIGHEST
    )
