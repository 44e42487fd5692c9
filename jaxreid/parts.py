"""Data, vocabulary, method and mesh of a config: what training and evaluation both need."""

import functools
import importlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxreid.config import COMPOSED_SETS, UNCAPTIONED_SETS
from jaxreid.data import pipeline
from jaxreid.data.batches import Records
from jaxreid.data.composed import open_composed
from jaxreid.data.dataset import open_split
from jaxreid.data.dialogues import as_openings, with_openings
from jaxreid.data.queries import (
    KINDS,
    Queries,
    count_training,
    read_queries,
    sentences_of,
    tokenize_words,
    training_records,
    words_of,
)
from jaxreid.data.records import Split
from jaxreid.data.text import read_json, train_tokenizer, write_once
from jaxreid.mesh import make_mesh
from jaxreid.methods import Method

# Of WordPiece and of byte pairs, as transformers names them.
VOCABULARY_FILES = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)


PEOPLE = "people.json"  # how many people a run classifies


class Parts(NamedTuple):
    """What a config stands for."""

    config: ConfigDict  # resolved: tokenizer, steps_per_epoch and data.people, if any, are set
    method: Method
    mesh: Mesh
    split: Callable[[str], Split]  # by name; opened once
    queries: Callable[[str], Queries]  # of a split; tokenized once
    training: Callable[[], Records]  # of the train split


def method_module(name: str) -> ModuleType:
    """Returns the module of a method; see `jaxreid.methods`."""
    return importlib.import_module(f"jaxreid.methods.{name}")


def assemble(config: ConfigDict, vocabulary: str, *, learn: bool) -> Parts:
    """Returns the parts of a config.

    Args:
      config: a recipe that `jaxreid.config.check` accepts; stays as it is.
      vocabulary: folder of the run's vocabulary: learnt where text.tokenizer names none, else a
        copy of that folder; the file with the number of people that a method classifies stands
        beside it.
      learn: whether to learn or copy that vocabulary and to count the people of the train split;
        else they must be there.

    Raises:
      ValueError: data or captions that cannot be used, or the method refuses its section.
      FileNotFoundError: data or vocabulary that is not there.
    """
    config = config.copy_and_resolve_references().unlock()
    given = config.text.tokenizer
    if given and not learn and os.path.isdir(vocabulary):
        config.text.tokenizer = vocabulary  # the run's own copy: its source may have moved
    module = method_module(config.method)
    if hasattr(module, "check"):
        module.check(config)
    data_dir = os.path.expanduser(config.data.data_dir)
    if config.train.compilation_cache:
        jax.config.update("jax_compilation_cache_dir", os.path.join(data_dir, "compiled"))
    data = config.data.copy_and_resolve_references()

    kinds = {use: getattr(module, use, KINDS[0]) for use in ("QUERIES", "TRAINING")}
    composed = "triplets" in kinds.values()
    for field in ("name", "test_name"):
        if data[field] in COMPOSED_SETS and not composed:
            raise ValueError(
                f"config.data.{field}: {data[field]} is searched by a photo plus words, "
                f"{config.method} searches by captions"
            )
        if data[field] in UNCAPTIONED_SETS and _reads_captions(config, set(kinds.values())):
            raise ValueError(
                f"config.data.{field}: {data[field]} has dialogues and no captions, which "
                f"{config.method} reads here"
            )

    @functools.cache
    def split(name: str) -> Split:
        opened = _open(data, name, data_dir, composed=composed)
        return _with_dialogues(opened, config) if "dialogues" in kinds.values() else opened

    if given and learn and os.path.isdir(given):
        copy_vocabulary(given, vocabulary)
        config.text.tokenizer = vocabulary
    if not given:
        if learn:
            texts_of = sentences_of(split("train"), kinds["TRAINING"])
            # A method whose vocabulary is not WordPiece says how it is learnt.
            learn_vocabulary = getattr(module, "learn_vocabulary", train_tokenizer)
            learn_vocabulary(texts_of, config.text.vocabulary, vocabulary)
        elif not os.path.isdir(vocabulary):
            raise FileNotFoundError(f"{vocabulary} is missing, the vocabulary of the run")
        config.text.tokenizer = vocabulary
    if not config.train.steps_per_epoch:
        size, kind = config.train.batch_size, kinds["TRAINING"]
        pairs = count_training(split("train"), kind)
        if size > pairs:
            raise ValueError(
                f"config.train.batch_size must be at most the {pairs} {kind} of {data.name} train, "
                f"got {size}"
            )
        config.train.steps_per_epoch = pipeline.steps_per_epoch(pairs, size)
    if "people" in config.data:  # a method of the recipe classifies people
        file = os.path.join(os.path.dirname(vocabulary), PEOPLE)
        config.data.people = _people(config, split, file, learn=learn)
    method = module.make(config)

    def texts(name: str, use: str) -> dict[str, np.ndarray]:
        return _tokenized(method, split(name), kinds[use])

    @functools.cache
    def queries(name: str) -> Queries:
        return read_queries(split(name), kinds["QUERIES"], texts(name, "QUERIES"))

    def training() -> Records:
        return training_records(split("train"), kinds["TRAINING"], texts("train", "TRAINING"))

    return Parts(config, method, make_mesh(), split, queries, training)


def _reads_captions(config: ConfigDict, kinds: set[str]) -> bool:
    """Whether a run reads captions, as such or as other queries."""
    if "dialogues" in kinds and config.dialogue.source != "dialogues":
        return True
    return "captions" in kinds or ("triplets" in kinds and not config.data.triplets)


def _open(data: ConfigDict, name: str, data_dir: str, *, composed: bool) -> Split:
    """A split of the section `data` of a config; with composed queries where they are used."""
    other = name == "test" and bool(data.test_name)
    folders = data.manual_dir, data.test_manual_dir
    options = dict(
        data_dir=data_dir,
        manual_dir=os.path.expanduser(folders[other]) or None,
        variant=(None if other else data.variant) or None,
        allow_partial=data.allow_partial,
        caption_limit=data.caption_limit or None,
        val_people=0 if other else data.val_people,
    )
    source = data.test_name if other else data.name
    if composed:
        triplets = "" if other else os.path.expanduser(data.triplets)
        return open_composed(source, name, triplets=triplets, **options)
    return open_split(source, name, **options)


def _with_dialogues(split: Split, config: ConfigDict) -> Split:
    """The split with the dialogues that config.dialogue names."""
    source, rounds = config.dialogue.source, config.dialogue.rounds
    if split.split == "train" and (each := config.dialogue.per_image):
        split = _with_first(split, each)
    if source == "captions":
        return split._replace(dialogues=as_openings(split.captions))
    if split.dialogues is None:
        raise ValueError(
            f"config.data.name: {split.data_set} has no dialogues; with config.dialogue.source "
            '"captions" its captions are dialogues of no round'
        )
    dialogues = split.dialogues
    if rounds:
        dialogues = tuple(tuple(d.first(rounds) for d in told) for told in dialogues)
    if source == "mixed":
        captions = as_openings(split.captions)
        dialogues = tuple(told + said for told, said in zip(dialogues, captions, strict=True))
    if source == "both":
        try:
            dialogues = with_openings(dialogues, split.captions)
        except ValueError as error:
            raise ValueError(
                f"config.dialogue.source both: {split.data_set} {split.split}: {error}"
            ) from error
    return split._replace(dialogues=dialogues)


def _with_first(split: Split, each: int) -> Split:
    """The split with the first so many captions and dialogues of each image."""
    captions = tuple(said[:each] for said in split.captions)
    dialogues = split.dialogues and tuple(told[:each] for told in split.dialogues)
    return split._replace(captions=captions, dialogues=dialogues)


def copy_vocabulary(source: str, folder: str) -> None:
    """Copies the files of a vocabulary into the folder of a run."""
    if os.path.realpath(source) == os.path.realpath(folder):
        return
    os.makedirs(folder, exist_ok=True)
    for name in VOCABULARY_FILES:
        path = os.path.join(source, name)
        if os.path.isfile(path):
            shutil.copyfile(path, os.path.join(folder, name))


def _people(config: ConfigDict, split: Callable[[str], Split], file: str, *, learn: bool) -> int:
    """People that a run classifies: of its train split, whatever data it is evaluated on."""
    given = config.data.people
    if learn:
        people = len(np.unique(split("train").person_id))
        if given and given < people:
            raise ValueError(
                f"config.data.people must be 0 or at least the {people} people of "
                f"{config.data.name} train, got {given}"
            )
        write_once(Path(file), json.dumps({"people": given or people}) + "\n")
    people = read_json(Path(file)).get("people")
    if not isinstance(people, int):
        raise ValueError(f"{file} does not say how many people the run classifies")
    return people


def _tokenized(method: Method, split: Split, kind: str) -> dict[str, np.ndarray]:
    """Arrays with a row for each text of a split."""
    started = time.monotonic()
    texts = tokenize_words(method.tokenize, split, kind)
    logging.info(
        "%s %s: %d %s of %d images tokenized in %.1f s", split.data_set, split.split,
        len(words_of(split, kind)), kind, len(split.files), time.monotonic() - started,
    )  # fmt: skip
    return texts
