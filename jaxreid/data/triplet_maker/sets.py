"""Opens sets of images with captions and attributes: published folders and rendered people."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from jaxreid.data import published
from jaxreid.data.annotations import PersonImage, check_identities
from jaxreid.data.dataset import open_split
from jaxreid.data.prepared import decode_image
from jaxreid.data.records import AnnotationError
from jaxreid.data.triplet_maker.records import Collection, Record
from jaxreid.data.triplet_maker.tables import Table

PUBLISHED = ("cuhk_pedes", "icfg_pedes", "rstpreid")  # captioned
DESCRIBED = (*PUBLISHED, "chatpedes", "interactive_pedes")
RENDERED = "synthpedes"


class ImageFiles(Sequence[np.ndarray]):
    """The images of files, each decoded when it is asked for."""

    def __init__(self, folder: Path, images: Sequence[PersonImage]):
        self._folder, self._images = folder, images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> np.ndarray:
        """u8[h, w, 3]; AnnotationError names record and file if it cannot be read."""
        image = self._images[index]
        path = self._folder / image.file
        try:
            return decode_image(path.read_bytes())
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
        except ValueError as error:
            problem = str(error)
        raise AnnotationError(image.source, image.record, image.path_key, f"{path} {problem}")

    def check(self) -> None:
        """Raises AnnotationError, which names record and file, if a header cannot be read."""
        for image in self._images:
            path = self._folder / image.file
            problem = published.image_problem(path)
            if problem:
                raise AnnotationError(
                    image.source, image.record, image.path_key, f"{path} {problem}"
                )


class Chained(Sequence[np.ndarray]):
    """Images of several parts, one after the other."""

    def __init__(self, parts: Sequence[Sequence[np.ndarray]]):
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> np.ndarray:
        part = int(np.searchsorted(self._ends, index, side="right"))
        return self._parts[part][index - (self._ends[part - 1] if part else 0)]


def read_published(
    data_set: str, root: Path, table: Table, *, allow_missing: bool = False
) -> dict[str, Collection]:
    """Returns the splits of a published folder with the attributes of a table.

    Args:
      data_set: one of DESCRIBED, whose layout the folder has; any number of images.
      root: the folder or its parent.
      table: from `read_table`.
      allow_missing: leave out, and count in the log, images without a row in the table.

    Raises:
      AnnotationError: a record cannot be used, or an image has no row.
      FileNotFoundError: a file or a folder is missing.
    """
    layout = importlib.import_module(f"jaxreid.data.{data_set}").LAYOUT
    source = published.locate(layout, root, allow_partial=True)
    images: list[PersonImage] = []
    for path, split in source.annotations:
        images += layout.read(
            path, splits=tuple(layout.counts), split=split, allow_unknown_keys=True
        )
    check_identities(images)
    found: dict[str, tuple[list[PersonImage], list[Record]]] = {}
    missing = 0
    for image in images:
        row = table.row(image.file, image.person_id)
        if row is None:
            if not allow_missing:
                whom = f"person {image.person_id}" if table.by_person else image.file
                raise AnnotationError(
                    table.path, None, None, f"has no row of {whom} (record {image.record} of "
                    f"{image.source})",
                )  # fmt: skip
            missing += 1
            continue
        kept, records = found.setdefault(image.split, ([], []))
        kept.append(image)
        records.append(
            Record(
                image.file, image.split, image.person_id, image.captions, row, frozenset(row)
            )
        )  # fmt: skip
    if missing:
        logging.warning("%s has no row of %d images; they are left out", table.path, missing)
    return {
        split: Collection(tuple(records), ImageFiles(source.images, kept))
        for split, (kept, records) in found.items()
    }


def read_rendered(
    variant: str, split: str, *, data_dir: Path, outfits: Sequence[str] = ("", "_changed")
) -> Collection:
    """Returns the people of a split of synthpedes, by default in both of their outfits.

    Args:
      variant: "default", "tiny", ...; rendered under data_dir if it is not there.
      split: "train" | "val" | "test".
      data_dir: folder of prepared data.
      outfits: what the names of the splits of each outfit end with.

    Raises:
      ValueError: there is no such variant or split.
    """
    parts, records = [], []
    for part in (f"{split}{outfit}" for outfit in outfits):
        opened = open_split(RENDERED, part, data_dir=data_dir, variant=variant)
        parts.append(opened.images)
        for row in _rendered_rows(data_dir, variant, part):
            records.append(
                Record(
                    file=row["file"].decode(),
                    split=split,
                    person_id=int(row["person_id"]),
                    captions=tuple(caption.decode() for caption in row["captions"]),
                    attributes=json.loads(row["attributes"]),
                    shown=frozenset(json.loads(row["visible"])),
                )
            )
    return Collection(tuple(records), Chained(parts))


def _rendered_rows(data_dir: Path, variant: str, split: str) -> Sequence[dict[str, Any]]:
    """The records of a prepared split, images as bytes."""
    from jaxreid.data.synthpedes.builder import Synthpedes

    directory = Path(data_dir).expanduser() / RENDERED / variant / str(Synthpedes.VERSION)
    builder = tfds.builder_from_directory(str(directory))
    return builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
