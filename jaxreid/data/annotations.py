"""Reads annotation files of person data sets and checks every record before anything uses it."""

from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from absl import logging

from jaxreid.data.dialogues import Dialogue
from jaxreid.data.json_records import (
    MAX_ID,
    image_file,
    integer,
    is_missing,
    json_records,
    show,
    string,
)
from jaxreid.data.records import AnnotationError

# CUHK-PEDES and ICFG-PEDES write the first, RSTPReid the second; they mean the same.
_PATH_KEYS = ("file_path", "img_path")
# Keys of published files that nothing here reads: tokens by the authors of CUHK-PEDES and
# ICFG-PEDES, back translations in the files of TBPS-CLIP.
_UNUSED_KEYS = ("processed_tokens", "captions_bt")
_KEYS = ("id", "captions", "split", *_PATH_KEYS, *_UNUSED_KEYS)


class PersonImage(NamedTuple):
    """One checked record: an image, whom it shows and what was written about it."""

    file: str  # relative to the image folder, with forward slashes
    person_id: int  # as published, 0- or 1-based
    split: str
    captions: tuple[str, ...]  # as published; of a data set of dialogues maybe none
    source: str  # annotation file, for messages
    record: int  # index in that file, from 0
    path_key: str  # key that holds `file` in that file, for messages
    dialogues: tuple[Dialogue, ...] = ()  # as published; of a data set without them none


def read_annotations(
    path: Path,
    *,
    splits: Collection[str],
    split: str | None = None,
    allow_unknown_keys: bool = False,
) -> list[PersonImage]:
    """Returns the records of one annotation file in the order of the file.

    Args:
      path: JSON file in UTF-8, a list with one object per image.
      splits: names the key "split" may have.
      split: the split of the whole file where each split has its own file; the key "split" may
        then be absent and may not say otherwise. None: every record says its split.
      allow_unknown_keys: goes on with keys that no published file has, and logs them.

    Raises:
      AnnotationError: naming file, record and key of the first record that cannot be used.
    """
    path = Path(path)
    images = []
    unknown: set[str] = set()
    for index, record in enumerate(json_records(path)):
        unknown |= _check_keys(path, index, record, split, allow_unknown_keys)
        path_key = next(key for key in _PATH_KEYS if key in record)
        images.append(
            PersonImage(
                file=image_file(path, index, path_key, record[path_key]),
                person_id=_person_id(path, index, record),
                split=_split(path, index, record, splits, split),
                captions=_captions(path, index, record),
                source=str(path),
                record=index,
                path_key=path_key,
            )
        )
    if unknown:
        logging.warning("%s: keys that are not read: %s", path, ", ".join(sorted(unknown)))
    return images


def check_identities(images: Iterable[PersonImage]) -> None:
    """Checks across records: one person per image file, one split per person.

    An image listed twice for one person stays listed twice, as published, and is logged.

    Raises:
      AnnotationError: naming the second of the two records that contradict each other.
    """
    by_file: dict[PurePosixPath, PersonImage] = {}
    by_person: dict[int, PersonImage] = {}
    for image in images:
        first = by_file.setdefault(PurePosixPath(image.file), image)
        if first.person_id != image.person_id:
            raise AnnotationError(
                image.source,
                image.record,
                "id",
                f"image {image.file!r} shows person {image.person_id} here and person "
                f"{first.person_id} in record {first.record} of {first.source}",
            )
        same_person = by_person.setdefault(image.person_id, image)
        if same_person.split != image.split:
            raise AnnotationError(
                image.source,
                image.record,
                "split",
                f"person {image.person_id} is in split {image.split!r} here and in "
                f"{same_person.split!r} in record {same_person.record} of {same_person.source}",
            )
        if first is not image:
            logging.warning(
                "%s, record %d: image %r is listed again (first in record %d of %s)",
                *(image.source, image.record, image.file, first.record, first.source),
            )


def _check_keys(
    path: Path, index: int, record: dict[str, Any], split: str | None, allow_unknown: bool
) -> set[str]:
    """The unknown keys of a record, if they are allowed and no needed key is missing."""
    unknown = set(record) - set(_KEYS)
    needed = ("id", "captions") if split else ("id", "captions", "split")
    missing = [key for key in needed if key not in record]
    if not any(key in record for key in _PATH_KEYS):
        missing.append(_PATH_KEYS[0])
    if missing:
        raise AnnotationError(path, index, missing[0], is_missing(missing[0], record, unknown))
    if unknown and not allow_unknown:
        raise AnnotationError(
            path, index, min(unknown), f"is unknown; known keys are {', '.join(_KEYS)}"
        )
    if all(key in record for key in _PATH_KEYS):
        raise AnnotationError(path, index, "img_path", "stands beside 'file_path'; give one")
    return unknown


def _person_id(path: Path, index: int, record: dict[str, Any]) -> int:
    """The person of a record."""
    return integer(path, index, "id", record["id"], 0, MAX_ID)


def _split(
    path: Path, index: int, record: dict[str, Any], splits: Collection[str], split: str | None
) -> str:
    """The split of a record, by its key or by its file."""
    if "split" not in record:
        assert split is not None  # _check_keys saw to it
        return split
    value = string(path, index, "split", record["split"])
    if value not in splits:
        raise AnnotationError(
            path, index, "split", f"must be one of {', '.join(splits)}, got {show(value)}"
        )
    if split is not None and value != split:
        raise AnnotationError(
            path, index, "split", f"must be {split!r} in this file, got {show(value)}"
        )
    return value


def _captions(path: Path, index: int, record: dict[str, Any]) -> tuple[str, ...]:
    """The captions of a record, none of them blank."""
    captions = record["captions"]
    if not isinstance(captions, list) or not captions:
        raise AnnotationError(
            path, index, "captions", f"must be a list of sentences, got {show(captions)}"
        )
    for number, caption in enumerate(captions):
        if not string(path, index, "captions", caption).strip():
            raise AnnotationError(path, index, "captions", f"caption {number} is blank")
    return tuple(captions)
