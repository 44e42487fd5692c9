"""Opens a split of any data set: prepares it once, then reads captions at once, images lazily."""

import contextlib
import difflib
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from jaxreid.data import published
from jaxreid.data.chats import from_json
from jaxreid.data.prepared import (
    LazyImages,
    damaged,
    prepare,
    prepare_published,
    read_records,
    write_whole,
)
from jaxreid.data.records import Split

# Data set -> module and class of its TFDS builder.
_PUBLISHED = {
    "cuhk_pedes": ("jaxreid.data.cuhk_pedes", "CuhkPedes"),
    "icfg_pedes": ("jaxreid.data.icfg_pedes", "IcfgPedes"),
    "rstpreid": ("jaxreid.data.rstpreid", "Rstpreid"),
    "chatpedes": ("jaxreid.data.chatpedes", "Chatpedes"),
    "interactive_pedes": ("jaxreid.data.interactive_pedes", "InteractivePedes"),
}
# Those with conversations about their images.
WITH_DIALOGUES = ("chatpedes", "interactive_pedes", "synthpedes")
_RENDERED = {"synthpedes": ("jaxreid.data.synthpedes.builder", "Synthpedes")}
DATA_SETS = (*_PUBLISHED, *_RENDERED)
SPLITS = ("train", "val", "test")
# Rendered people in their second outfit, the targets of composed queries.
CHANGED_SPLITS = ("train_changed", "val_changed", "test_changed")
# Somebody else in both outfits of each of those, who is no answer to them.
TWIN_SPLITS = ("train_twins", "val_twins", "test_twins")


def open_split(
    name: str,
    split: str,
    *,
    data_dir: str | Path,
    manual_dir: str | Path | None = None,
    variant: str | None = None,
    allow_partial: bool = False,
    caption_limit: int | None = None,
    val_people: int = 0,
) -> Split:
    """Returns a split, after preparing its data set under `data_dir` if that was not done yet.

    Data sets of WITH_DIALOGUES have dialogues; chatpedes has no captions, an empty tuple an image.
    Prepared data is keyed by the content of the annotation files and by the options that change
    it, so that a changed file or option prepares anew. Image files are copied into it: later
    changes to images alone are not seen.

    Args:
      name: one of DATA_SETS.
      split: one of SPLITS; of a rendered data set also of CHANGED_SPLITS and TWIN_SPLITS.
      data_dir: folder of prepared data.
      manual_dir: published folder of the data set or its parent. None: take what was prepared
        with these options before. Data sets that are rendered here have none.
      variant: builder config of a rendered data set, e.g. "tiny"; None is its default.
      allow_partial: go on where a published data set is incomplete, see `PublishedConfig`.
      caption_limit: keep the first so many captions of each image; None keeps all.
      val_people: train people held out as "val", see `PublishedConfig`.

    Raises:
      ValueError: an argument is unknown or does not fit the data set.
      FileNotFoundError: there is neither prepared data nor a published folder to prepare.
      AnnotationError: the published files cannot be used, or prepared data is damaged.
    """
    if name not in DATA_SETS:
        raise ValueError(unknown_name("data set", name, DATA_SETS))
    splits = (*SPLITS, *CHANGED_SPLITS, *TWIN_SPLITS) if name in _RENDERED else SPLITS
    if split not in splits:
        raise ValueError(unknown_name("split", split, splits))
    if caption_limit is not None and caption_limit < 1:
        raise ValueError(f"caption_limit must be None or at least 1, got {caption_limit}")
    if val_people < 0:
        raise ValueError(f"val_people must be at least 0, got {val_people}")
    data_dir = Path(data_dir).expanduser().absolute()  # workers may run in another folder
    if name in _PUBLISHED:
        if variant is not None:
            raise ValueError(f"variant must be None for {name}, got {variant!r}")
        directory = _prepare_published(name, split, data_dir, manual_dir, allow_partial, val_people)
    else:
        if manual_dir is not None or allow_partial or val_people:
            raise ValueError(
                f"{name} is rendered: manual_dir, allow_partial and val_people must be "
                f"None, False and 0, got {manual_dir}, {allow_partial} and {val_people}"
            )
        directory = rendered_folder(name, data_dir, variant)
    return _read(name, split, directory, caption_limit)


def _prepare_published(
    name: str,
    split: str,
    data_dir: Path,
    manual_dir: str | Path | None,
    allow_partial: bool,
    val_people: int,
) -> Path:
    """Folder of prepared data of a published data set."""
    module, builder_class = _load(_PUBLISHED[name])
    layout = module.LAYOUT
    if val_people and "val" in layout.counts and layout.counts["val"].images is not None:
        raise ValueError(
            f"val_people must be 0 for {name}, which has a val split; got {val_people}"
        )
    if split not in layout.counts and not (split == "val" and val_people):
        raise ValueError(
            f"{name} has no split {split!r}; val_people > 0 holds so many people out of train "
            f"as val, and without it the splits are {', '.join(layout.counts)}"
        )
    return prepare_published(
        builder_class,
        data_dir,
        manual_dir,
        lambda folder: published.locate(layout, folder, allow_partial=allow_partial).sha256,
        allow_partial=allow_partial,
        val_people=val_people,
    )


def rendered_folder(name: str, data_dir: Path, variant: str | None) -> Path:
    """Returns the folder of prepared data of a data set rendered here, rendering it if needed.

    Args:
      name: of the rendered data set.
      data_dir: folder of prepared data, absolute.
      variant: builder config; None is the default.

    Raises:
      ValueError: there is no such variant.
    """
    _, builder_class = _load(_RENDERED[name])
    configs = {config.name: config for config in builder_class.BUILDER_CONFIGS}
    if variant is None:
        variant = builder_class.BUILDER_CONFIGS[0].name
    if variant not in configs:
        raise ValueError(unknown_name(f"variant of {name}", variant, tuple(configs)))
    return prepare(builder_class, data_dir, configs[variant], None)


def _read(name: str, split: str, directory: Path, caption_limit: int | None) -> Split:
    """A split of a prepared folder."""
    index = _captions(name, split, directory)
    files = tuple(index["file"])
    return Split(
        data_set=name,
        split=split,
        images=LazyImages(name, split, directory, files),
        files=files,
        person_id=np.asarray(index["person_id"], np.int32),
        captions=tuple(tuple(captions[:caption_limit]) for captions in index["captions"]),
        dialogues=tuple(map(from_json, index["dialogues"])) if name in WITH_DIALOGUES else None,
    )


def _captions(name: str, split: str, directory: Path) -> dict[str, list]:
    """Files, ids, captions and dialogues, from a side file that spares reading all images.

    The side file is written after every record was read once, so it also says that the records
    are readable. A missing or broken one is made again.
    """
    side = directory / f"captions-{split}.json"
    source = read_records(name, split, directory)
    keys = ("file", "person_id", "captions", *["dialogues"] * (name in WITH_DIALOGUES))
    with contextlib.suppress(OSError, ValueError, TypeError):
        index = json.loads(side.read_bytes())
        if isinstance(index, dict) and [len(index.get(key, ())) for key in keys] == [
            len(source)
        ] * len(keys):
            return index
    index = {key: [] for key in keys}
    try:
        for i in range(len(source)):
            record = source[i]
            index["file"].append(record["file"].decode())
            index["person_id"].append(int(record["person_id"]))
            index["captions"].append([caption.decode() for caption in record["captions"]])
            if name in WITH_DIALOGUES:
                index["dialogues"].append(json.loads(record["dialogues"]))
    except Exception as error:  # array_record raises what its C++ reader finds
        raise damaged(name, split, directory, error) from error
    try:
        write_whole(side, json.dumps(index, ensure_ascii=False).encode())
    except OSError as error:
        logging.warning("%s could not be written, captions stay slow to read: %s", side, error)
    return index


def _load(where: tuple[str, str]) -> tuple[Any, type[tfds.core.GeneratorBasedBuilder]]:
    """Module and class of a builder."""
    module = importlib.import_module(where[0])
    return module, getattr(module, where[1])


def unknown_name(what: str, value: str, allowed: Sequence[str]) -> str:
    """Returns the message about a name that is not among the allowed ones."""
    near = difflib.get_close_matches(value, allowed, 1)
    hint = f" (is {near[0]!r} meant?)" if near else ""
    return f"unknown {what} {value!r}{hint}; allowed are {', '.join(allowed)}"
