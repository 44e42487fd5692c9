"""A trained network in a folder of its own: what encodes and scores, without the data it saw."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxreid.config import check
from jaxreid.data.dialogues import Dialogue
from jaxreid.data.pipeline import eval_batches
from jaxreid.embed import embed
from jaxreid.evaluate import reads_tokens, similarity_matrix
from jaxreid.given import read_dialogue, read_image, read_texts
from jaxreid.mesh import make_mesh, put_replicated
from jaxreid.methods import Features, Method
from jaxreid.optim import parameter_name
from jaxreid.parts import method_module
from jaxreid.rerank import PairBlocks, match_pairs
from jaxreid.saved import as_config
from jaxreid.weights.safetensors_file import read_metadata, read_safetensors

CONFIG, WEIGHTS, VOCABULARY, CARD = "config.json", "model.safetensors", "tokenizer", "README.md"
FORMAT = "jaxreid"  # of the metadata of the weights
_BATCH = 64  # images or texts encoded at a time
_COLUMNS = 32  # tokens of a dialogue are a multiple
_NEEDS = {
    "captions": "a sentence: use encode_text",
    "triplets": "a photo plus words: use encode_composed",
    "dialogues": "a dialogue: use encode_dialogue",
}


class Model:
    """Encodes images and queries and scores them; made by `load`.

    Features are numpy: embedding f32[n, E] of unit norm, and the tokens and mask that `similarity`
    or `match` reads, None where neither does. They may be kept and indexed.
    """

    def __init__(self, config: ConfigDict, method: Method, params: Any, searches_by: str):
        """Args: as a folder holds them, see `load`; params on the host."""
        self.config, self.method, self.searches_by = config, method, searches_by
        self._mesh = make_mesh()
        self._params = put_replicated(self._mesh, params)

    def encode_image(self, images: Sequence[Any], *, tokens: bool = True) -> Features:
        """Returns the features of images.

        Args:
          images: n of them, each a path, u8[h, w, 3] RGB or a PIL image, of any size.
          tokens: False leaves out what `match` alone reads, which is large.

        Raises:
          FileNotFoundError, ValueError: an image that is not there or cannot be read; names it.
        """
        records = _Records([partial(_image_record, i, image) for i, image in enumerate(images)])
        return self._encode(self.method.encode_image, records, "image", tokens)

    def encode_text(self, texts: Sequence[str], *, tokens: bool = True) -> Features:
        """Returns the features of sentences; for a method of dialogues, of what opens one.

        Raises:
          ValueError: a sentence without words, or the method searches by a photo plus words.
        """
        if self.searches_by == "dialogues":
            return self.encode_dialogue([Dialogue((), text) for text in texts], tokens=tokens)
        return self._encode_said("captions", read_texts(texts), [{} for _ in texts], tokens)

    def encode_dialogue(self, dialogues: Sequence[Any], *, tokens: bool = True) -> Features:
        """Returns the features of dialogues.

        Args:
          dialogues: each a `jaxreid.data.dialogues.Dialogue`, or a list of pairs (question, answer)
            that may begin with a description, a str.
          tokens: as for `encode_image`.

        Raises:
          ValueError: a dialogue without words, or the method does not search by dialogues.
        """
        read = [read_dialogue(i, dialogue) for i, dialogue in enumerate(dialogues)]
        return self._encode_said("dialogues", read, [{} for _ in read], tokens)

    def encode_composed(
        self, images: Sequence[Any], texts: Sequence[str], *, tokens: bool = True
    ) -> Features:
        """Returns the features of queries by a photo and the words that change it.

        Args:
          images: the photos, as for `encode_image`.
          texts: as many.
          tokens: as for `encode_image`.

        Raises:
          FileNotFoundError, ValueError: an image or a text that cannot be used, or the method does
            not search by both.
        """
        if len(images) != len(texts):
            raise ValueError(f"give a text for each image, got {len(images)} and {len(texts)}")
        photos = [{"reference": partial(read_image, i, image)} for i, image in enumerate(images)]
        return self._encode_said("triplets", read_texts(texts), photos, tokens)

    def similarity(self, queries: Features, images: Features) -> np.ndarray:
        """Returns the cheap score of all pairs, f32[Q, G]; higher is more alike."""
        e = self.config.eval
        return similarity_matrix(
            self.method.similarity, queries, images, self._mesh,
            chunk=_whole(min(e.chunk, len(queries.embedding)), self._mesh.size),
            image_chunk=e.image_chunk,
        )  # fmt: skip

    def match(self, queries: Features, images: Features, candidates: np.ndarray) -> np.ndarray:
        """Returns the costly score of candidates, f32[Q, K]; higher is more alike.

        Args:
          queries: Q, encoded with tokens.
          images: G, encoded with tokens.
          candidates: i[Q, K], images of each query, in 0..G-1; of high similarity, as a rule.

        Raises:
          ValueError: the method has no such score, tokens are missing, or candidates do not fit.
        """
        if self.method.match is None:
            raise ValueError(f"{self.config.method} has no costly score: similarity is final")
        if queries.tokens is None or images.tokens is None:
            raise ValueError("match reads tokens: encode with tokens=True")
        candidates = np.asarray(candidates)
        count, gallery = len(queries.embedding), len(images.embedding)
        if candidates.ndim != 2 or len(candidates) != count or not candidates.size:
            raise ValueError(f"candidates must be [{count}, K], got {candidates.shape}")
        if candidates.min() < 0 or candidates.max() >= gallery:
            raise ValueError(
                f"candidates must be in 0..{gallery - 1}, got "
                f"{candidates.min()}..{candidates.max()}"
            )
        rows = np.repeat(np.arange(count), candidates.shape[1])
        pairs = np.stack([rows, candidates.ravel()], axis=1).astype(np.int32)
        e = self.config.eval
        size = _whole(min(e.pair_batch, len(pairs)), self._mesh.size)
        blocks = PairBlocks(size, e.query_chunk, e.image_chunk)
        scores = match_pairs(
            self.method.match, self.method.match_image, self._params, queries, images, pairs,
            self._mesh, blocks,
        )  # fmt: skip
        return scores.reshape(candidates.shape)

    def _encode_said(
        self, kind: str, said: Sequence[Any], others: Sequence[dict], tokens: bool
    ) -> Features:
        """Features of queries of a kind of `jaxreid.data.queries.KINDS`."""
        if kind != self.searches_by:
            raise ValueError(f"{self.config.method} searches by {_NEEDS[self.searches_by]}")
        if not len(said):
            raise ValueError("nothing to encode: give one text or more")
        arrays = self.method.tokenize(said)
        if kind == "dialogues":  # rows as long as the longest dialogue: few programs
            room = -arrays["tokens"].shape[1] % _COLUMNS
            for name, value in (("tokens", 0), ("rounds", -1)):
                arrays[name] = np.pad(arrays[name], ((0, 0), (0, room)), constant_values=value)
        rows = [{key: x[i] for key, x in arrays.items()} for i in range(len(said))]
        records = _Records(
            [partial(_query_record, row, other) for row, other in zip(rows, others, strict=True)]
        )
        return self._encode(self.method.encode_query, records, None, tokens)

    def _encode(self, encode, records: "_Records", key: str | None, tokens: bool) -> Features:
        """Features of records, in batches of one shape."""
        if not len(records):
            raise ValueError("nothing to encode: give one image or more")
        rows = _whole(min(_BATCH, len(records)), self._mesh.size)
        batches = (
            batch[key] if key else batch
            for batch, _ in eval_batches(records, self.method.transform, rows, 0, 1, threads=2)
        )
        keep = self._score_reads_tokens or (tokens and self.method.match is not None)
        return embed(
            encode, self._params, batches, len(records), self._mesh,
            token_dtype=self.config.eval.token_dtype, keep_tokens=keep,
        )  # fmt: skip

    @property
    def _score_reads_tokens(self) -> bool:
        """Whether `similarity` reads more than the embeddings."""
        width = self.config.model.embedding
        embedding = Features(jax.ShapeDtypeStruct((1, width), np.float32))
        try:
            return reads_tokens(self.method.similarity, embedding, embedding)
        except (AttributeError, TypeError, ValueError):
            return True


def load(folder: str | os.PathLike) -> Model:
    """Returns the model that `jaxreid.save` or a training run wrote; nothing in it is executed.

    Args:
      folder: with config.json, model.safetensors and tokenizer/; of a run it is RUN/model.

    Raises:
      FileNotFoundError: the folder or a file of it is not there.
      ValueError: a file cannot be read, or they do not belong together; names it.
    """
    folder = os.path.expanduser(os.fspath(folder))
    for name in (CONFIG, WEIGHTS):
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            hint = ""
            if os.path.isfile(os.path.join(folder, "model", name)):
                hint = (
                    f"; this is the folder of a run, its model is {os.path.join(folder, 'model')}"
                )
            raise FileNotFoundError(f"no model in {folder}: {path} is missing{hint}")
    saved = _read_config(os.path.join(folder, CONFIG))
    config = as_config(saved)
    config.text.tokenizer = os.path.join(folder, VOCABULARY)
    # Nothing is trained.
    config.train.batch_size, config.data.images_per_person = jax.device_count(), 0
    check(config, jax.device_count())
    module = method_module(config.method)
    method = module.make(config)
    params = read_params(folder, saved, jax.eval_shape(method.init, jax.random.key(0)))
    return Model(config, method, params, getattr(module, "QUERIES", "captions"))


def read_params(folder: str, saved: dict[str, Any], shapes: Any) -> Any:
    """Returns the parameters of a saved model, mapped from its file.

    Args:
      folder: of the model.
      saved: its config, as JSON has it.
      shapes: of the parameters, by `jax.eval_shape` of `Method.init`.

    Raises:
      ValueError: the file cannot be read, is of another config or of other shapes.
    """
    weights = os.path.join(folder, WEIGHTS)
    metadata = read_metadata(weights)
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{weights} was not written by jaxreid; published weights come in by "
            "tools/convert_weights.py"
        )
    if metadata.get("config") != config_hash(saved):
        raise ValueError(
            f"{os.path.join(folder, CONFIG)} is not the config of {WEIGHTS} beside it: its hash is "
            f"{config_hash(saved)}, the weights were saved with {metadata.get('config')}"
        )
    return _tree(read_safetensors(weights), shapes, weights)


def config_hash(saved: dict[str, Any]) -> str:
    """Returns the SHA-256 of a config, as JSON has it."""
    return hashlib.sha256(json.dumps(saved, sort_keys=True).encode()).hexdigest()


def _read_config(path: str) -> dict[str, Any]:
    """The config of a folder, of a method that there is."""
    try:
        with open(path, encoding="utf-8") as file:
            saved = json.load(file)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(saved, dict) or not re.fullmatch(r"[a-z0-9]+", str(saved.get("method"))):
        raise ValueError(f"{path} is no config of jaxreid: it names no method")
    return saved


def _tree(arrays: dict[str, np.ndarray], shapes: Any, path: str) -> Any:
    """The parameters of a method from arrays by name."""
    left = dict(arrays)

    def take(place, leaf):
        name = parameter_name(place)
        if name not in left:
            raise ValueError(f"{path} has no {name}, which the method of {CONFIG} has")
        array = left.pop(name)
        if array.shape != leaf.shape or array.dtype != leaf.dtype:
            raise ValueError(
                f"{path} has {name} as {array.dtype}{list(array.shape)}, {CONFIG} makes it "
                f"{leaf.dtype}{list(leaf.shape)}"
            )
        return array

    params = jax.tree_util.tree_map_with_path(take, shapes)
    if left:
        raise ValueError(f"{path} has {min(left)}, which the method of {CONFIG} lacks")
    return params


class _Records(Sequence):
    """Records that are read when they are asked for."""

    def __init__(self, makers: Sequence[Callable[[], dict[str, Any]]]):
        self._makers = makers

    def __len__(self) -> int:
        return len(self._makers)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._makers[index]()


def _image_record(number: int, image: Any) -> dict[str, Any]:
    return {"image": read_image(number, image), "file": str(number)}


def _query_record(text: dict[str, np.ndarray], other: dict[str, Callable]) -> dict[str, Any]:
    return {"text": text, **{key: make() for key, make in other.items()}}


def _whole(rows: int, devices: int) -> int:
    """`rows` rounded up to a multiple of the devices."""
    return -(-rows // devices) * devices
