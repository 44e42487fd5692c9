"""What asking needs to learn from the data of a run: temperatures and a head, kept on disk."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxreid.data.dataset import rendered_folder
from jaxreid.data.dialogues import Dialogue
from jaxreid.data.prepared import read_records
from jaxreid.data.synthpedes.attributes import VALUES
from jaxreid.methods import Features
from jaxreid.search.attributes import Scheme, labels_of, value_counts, value_mask
from jaxreid.search.calibrate import (
    attribute_temperatures,
    prior_temperature,
    probabilities,
    value_bias,
)
from jaxreid.search.gallery import Gallery, index_split, keep
from jaxreid.search.load import Searcher, score
from jaxreid.search.posteriors import (
    Head,
    HeadTraining,
    head_scores,
    prompt_scores,
    prompts_of,
    train_head,
)

WAYS = ("head", "prompts")  # to tell what an image shows
_TABLES = "synthpedes"  # the data set whose records tell attributes
_LARGEST = 40_000  # train images that a head learns from


class Fitted(NamedTuple):
    """What `fit` found."""

    temperature: float  # of the prior
    value_temperature: np.ndarray  # f32[A], of the scores of values
    value_bias: np.ndarray  # f32[A, V], log shares of the values; 0 beside a head
    head: Head | None  # None: values are told by prompts


class Rows(NamedTuple):
    """The attribute table of a split."""

    attributes: list[dict[str, str]]  # attribute -> value, of the person of each image
    shown: list[frozenset[str]]  # attributes that each image shows
    view: list[str]  # from where each image was taken


def fit(searcher: Searcher, scheme: Scheme, way: str, cache_dir: str | Path) -> Fitted:
    """Returns the temperatures of a run, and its head; from the cache if they were fitted before.

    The temperature of the prior is fitted on the captions of val. With an attribute table, the
    scores of values are fitted on val too, and a head is trained on train. Without one, values are
    told by prompts at the temperature of the prior.

    Args:
      searcher: from `load_run`.
      scheme: of the attributes.
      way: one of WAYS.
      cache_dir: folder of what was fitted and of embeddings.

    Raises:
      ValueError: an unknown way, or "head" where the data set has no attribute table.
      FileNotFoundError, AnnotationError: the data of the run cannot be opened.
    """
    if way not in WAYS:
        raise ValueError(f"values must be told by one of {', '.join(WAYS)}, got {way!r}")
    data = searcher.parts.config.data
    has_table = can_train(searcher, scheme)
    if not has_table and way == "head":
        raise ValueError(
            f"a head needs a table of the attributes of {scheme.name}, which {data.name} lacks; "
            "tell values by prompts"
        )
    cache_dir = Path(cache_dir).expanduser()
    path = cache_dir / f"fitted-{way}-{searcher.fingerprint}-{scheme.fingerprint}.npz"
    found = _read(path)
    if found is not None:
        return found
    logging.info("fitting on %s val", data.name)
    counts = value_counts(scheme)
    val = index_split(searcher, "val", cache_dir)
    temperature = _fit_prior(searcher, val)
    if not has_table:
        logging.warning(
            "%s has no table of the attributes of %s: prompts are not calibrated",
            data.name, scheme.name,
        )  # fmt: skip
        values = np.full(len(counts), temperature, np.float32)
        fitted = Fitted(temperature, values, np.zeros(value_mask(counts).shape, np.float32), None)
    else:
        labels = labels_of(scheme, read_rows(searcher, "val").attributes, f"{_TABLES} val")
        head = _train(searcher, scheme, val, labels, cache_dir) if way == "head" else None
        bias = np.zeros(value_mask(counts).shape, np.float32)
        if head is None:
            bias = value_bias(labels, counts)
        scores = value_scores(searcher, scheme, head, val)
        values = attribute_temperatures(*map(jnp.asarray, (scores, bias, labels, counts)))
        fitted = Fitted(temperature, np.asarray(values), bias, head)
    _keep(path, fitted)
    return fitted


def can_train(searcher: Searcher, scheme: Scheme) -> bool:
    """Whether the data set of the run tells the attributes of the scheme, so that a head can be."""
    known = {attribute.name for attribute in scheme.attributes}
    return searcher.parts.config.data.name == _TABLES and known <= set(VALUES)


def gallery_posteriors(
    searcher: Searcher, scheme: Scheme, fitted: Fitted, gallery: Gallery
) -> np.ndarray:
    """Returns P_a(v | image) of a gallery, f32[N, A, V]; 0 on padding."""
    scores = value_scores(searcher, scheme, fitted.head, gallery)
    fit_on = fitted.value_bias, fitted.value_temperature, value_counts(scheme)
    return np.asarray(probabilities(jnp.asarray(scores), *map(jnp.asarray, fit_on)))


def value_scores(
    searcher: Searcher, scheme: Scheme, head: Head | None, gallery: Gallery
) -> np.ndarray:
    """Returns how well values fit images, f32[N, A, V]: logits, or similarity of prompts."""
    if head is not None:
        return np.asarray(head_scores(head, jnp.asarray(gallery.embedding)))
    told = [Dialogue((), prompt) for prompt in prompts_of(scheme)]
    similarity = score(searcher, told, Features(jnp.asarray(gallery.embedding)))
    return prompt_scores(similarity, value_counts(scheme))


def read_rows(searcher: Searcher, split: str) -> Rows:
    """Returns the attribute table of a split of the data set of a run, a row an image.

    Raises:
      ValueError: the data set has none.
    """
    data = searcher.parts.config.data
    if data.name != _TABLES:
        raise ValueError(f"{data.name} has no table of attributes; {_TABLES} has one")
    data_dir = Path(data.data_dir).expanduser().absolute()
    directory = rendered_folder(data.name, data_dir, data.variant or None)
    source = read_records(data.name, split, directory)
    rows = Rows([], [], [])
    for i in range(len(source)):
        record = source[i]
        rows.attributes.append(json.loads(record["attributes"]))
        rows.shown.append(frozenset(json.loads(record["visible"])))
        rows.view.append(record["view"].decode())
    return rows


def captions_of(searcher: Searcher, split: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Returns the captions of a split, and i32[Q] of their images and of their people."""
    opened = searcher.parts.split(split)
    image = np.repeat(np.arange(len(opened.captions)), [len(c) for c in opened.captions])
    texts = [text for captions in opened.captions for text in captions]
    return texts, image.astype(np.int32), np.asarray(opened.person_id)[image]


def _fit_prior(searcher: Searcher, val: Gallery) -> float:
    """The temperature of the prior on val."""
    texts, _, ids = captions_of(searcher, "val")
    similarity = _similarity(searcher, texts, val)
    return prior_temperature(similarity, ids, val.person_id)


def _similarity(searcher: Searcher, texts: Sequence[str], gallery: Gallery) -> np.ndarray:
    """f32[Q, N] of captions."""
    told = [Dialogue((), text) for text in texts]
    return score(searcher, told, Features(jnp.asarray(gallery.embedding)))


def _train(searcher, scheme: Scheme, val: Gallery, val_labels: np.ndarray, cache_dir: Path) -> Head:
    """A head of the train split."""
    train = index_split(searcher, "train", cache_dir)
    labels = labels_of(scheme, read_rows(searcher, "train").attributes, f"{_TABLES} train")
    return train_head(
        train.embedding[:_LARGEST], labels[:_LARGEST], val.embedding, val_labels,
        value_counts(scheme), HeadTraining(),
    )  # fmt: skip


def _keep(path: Path, fitted: Fitted) -> None:
    """Writes what was fitted."""
    arrays = {
        "temperature": np.float64(fitted.temperature),
        "value_temperature": fitted.value_temperature,
        "value_bias": fitted.value_bias,
    }
    if fitted.head is not None:
        arrays |= {f"head_{name}": np.asarray(x) for name, x in fitted.head._asdict().items()}
    keep(path, arrays)


def _read(path: Path) -> Fitted | None:
    """What was fitted before; None if nothing was, or it cannot be read."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            head = None
            if "head_kernel" in archive.files:
                head = Head(*(jnp.asarray(archive[f"head_{name}"]) for name in Head._fields))
            values = archive["value_temperature"], archive["value_bias"]
            return Fitted(float(archive["temperature"]), *values, head)
    except Exception as error:  # a damaged archive raises many things; it is made again
        logging.warning("%s cannot be read and is made again: %s", path, error)
        return None
