"""A trained run that searches: its method with its best parameters, without its data."""

import hashlib
import json
import os
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreid.best import best_params, check_trained
from jaxreid.data.dialogues import Dialogue, Round
from jaxreid.data.pipeline import eval_batches
from jaxreid.embed import embed
from jaxreid.mesh import put_replicated
from jaxreid.methods import Features
from jaxreid.model import WEIGHTS, read_params
from jaxreid.parts import Parts, assemble, method_module
from jaxreid.saved import read_saved, run_config

KINDS = ("captions", "dialogues")  # that a run may search by
# What a witness is asked first where dialogues begin with a question: the description answers it.
FIRST_QUESTION = "What did the person look like?"
_BATCH = 64  # images or sentences encoded at a time
_COLUMNS = 32  # tokens of a dialogue are a multiple, so that few programs are compiled


class Searcher(NamedTuple):
    """What ranks images by what was said of a person."""

    parts: Parts
    params: Any  # on the devices
    fingerprint: str  # of the config and the parameters
    reads_answers: bool  # it encodes what was asked and answered; else the description alone


def load_run(folder: str, *, data_dir: str = "") -> Searcher:
    """Returns the searcher of the best checkpoint of a run, or of a saved model.

    Args:
      folder: of the run, or of a model that `jaxreid.save` or the run wrote.
      data_dir: of prepared data, if not the run's; read only where a split is asked for.

    Raises:
      FileNotFoundError: there is no run, or nothing was trained.
      ValueError: its config cannot be read, or it does not rank one embedding an image by words.
    """
    config = run_config(folder)
    is_model = os.path.isfile(os.path.join(folder, WEIGHTS))
    kind = getattr(method_module(config.method), "QUERIES", "captions")
    if kind not in KINDS:
        raise ValueError(
            f"asking needs a run that searches by {' or '.join(KINDS)}, {config.method} in "
            f"{folder} searches by {kind}"
        )
    if not is_model:
        check_trained(folder)
    if data_dir:
        config.data.data_dir = data_dir
    # Nothing is trained: no batch, and no train split to count.
    config.train.steps_per_epoch = config.train.steps_per_epoch or 1
    parts = assemble(config, os.path.join(folder, "tokenizer"), learn=False)
    _check_similarity(parts, folder)
    saved = read_saved(folder)
    if is_model:
        shapes = jax.eval_shape(parts.method.init, jax.random.key(0))
        params = put_replicated(parts.mesh, read_params(folder, saved, shapes))
    else:
        params, _ = best_params(parts, folder)
    return Searcher(parts, params, _fingerprint(saved, params), kind == "dialogues")


def encode_images(searcher: Searcher, images: Sequence[np.ndarray], names: Sequence[str]):
    """Returns the embeddings of images, f32[N, E].

    Args:
      searcher: from `load_run`.
      images: images[i] is u8[h, w, 3]; decoded one at a time.
      names: of the images, for messages.
    """
    method = searcher.parts.method
    batches = _batches(searcher, _Pictures(images, names), method.transform)
    return _embed(searcher, method.encode_image, (b["image"] for b in batches), len(images))


def score(searcher: Searcher, told: Sequence[Dialogue], images: Features) -> np.ndarray:
    """Returns how well images fit what witnesses said so far, f32[Q, N].

    The one place that turns what was said into a query. A method that reads dialogues gets all of
    it; one that reads sentences the opening, and what was asked and answered joins by the channel,
    see `belief`.

    Args:
      searcher: from `load_run`.
      told: Q of them; each has an opening.
      images: with f32[N, E], from `encode_images`.

    Raises:
      CaptionError: an opening has no words; names its number.
    """
    parts = searcher.parts
    arrays = _tokenized(searcher, told)
    rows = [{"text": {key: x[i] for key, x in arrays.items()}} for i in range(len(told))]
    if len(told) == 1:  # at once, as a person waits for it
        example = jax.tree.map(lambda x: x[None], parts.method.transform(rows[0], None))
        return np.asarray(_score(searcher.params, example, images, parts.method))
    batches = _batches(searcher, rows, parts.method.transform)
    embedding = _embed(searcher, parts.method.encode_query, batches, len(told))
    return np.asarray(parts.method.similarity(Features(embedding), images))


def _tokenized(searcher: Searcher, told: Sequence[Dialogue]) -> dict[str, np.ndarray]:
    """Arrays of `Method.tokenize`."""
    config, tokenize = searcher.parts.config, searcher.parts.method.tokenize
    if not searcher.reads_answers:
        return tokenize([dialogue.opening for dialogue in told])
    if config.dialogue.source == "dialogues":  # it was trained on dialogues that begin by asking
        told = [
            Dialogue((Round(FIRST_QUESTION, d.opening), *d.rounds)) if d.opening else d
            for d in told
        ]
    arrays = tokenize(told)
    room = -arrays["tokens"].shape[1] % _COLUMNS
    for name, value in (("tokens", 0), ("rounds", -1)):
        arrays[name] = np.pad(arrays[name], ((0, 0), (0, room)), constant_values=value)
    return arrays


def _check_similarity(parts: Parts, folder: str) -> None:
    """Refuses a method that ranks by more than one embedding an image."""
    embedding = Features(jax.ShapeDtypeStruct((1, parts.config.model.embedding), np.float32))
    try:
        jax.eval_shape(parts.method.similarity, embedding, embedding)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"asking needs one embedding an image, {parts.config.method} in {folder} ranks by more"
        ) from error


@partial(jax.jit, static_argnames="method")
def _score(params, query, images, method):
    """f32[Q, N] of tokenized queries."""
    return method.similarity(method.encode_query(params, query), images)


class _Pictures:
    """Images as records."""

    def __init__(self, images: Sequence[np.ndarray], names: Sequence[str]):
        self._images, self._names = images, names

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self._images[index], "file": self._names[index]}


def _batches(searcher: Searcher, records, transform):
    """Batches of all records, rows divisible by the devices."""
    devices = searcher.parts.mesh.size
    rows = -(-_BATCH // devices) * devices
    return (b for b, _ in eval_batches(records, transform, rows, 0, 1, threads=2))


def _embed(searcher: Searcher, encode, batches, count: int) -> np.ndarray:
    """f32[count, E]."""
    mesh = searcher.parts.mesh
    features = embed(
        encode, put_replicated(mesh, searcher.params), batches, count, mesh,
        token_dtype="float32", keep_tokens=False,
    )  # fmt: skip
    return features.embedding


def _fingerprint(config: dict[str, Any], params: Any) -> str:
    """Equal for equal networks with equal parameters."""
    digest = hashlib.sha256()
    inputs = {key: config[key] for key in ("method", "image", "text", "model")}
    digest.update(json.dumps(inputs, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]
