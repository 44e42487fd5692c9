"""Reads annotation files of person data sets and checks every record before anything uses it."""

import difflib
import json
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from absl import logging

from jaxreid.data.records import AnnotationError

# CUHK-PEDES and ICFG-PEDES write the first, RSTPReid the second; they mean the same.
_PATH_KEYS = ("file_path", "img_path")
# Keys of published files that nothing here reads: tokens by the authors of CUHK-PEDES and
# ICFG-PEDES, back translations in the files of TBPS-CLIP.
_UNUSED_KEYS = ("processed_tokens", "captions_bt")
_KEYS = ("id", "captions", "split", *_PATH_KEYS, *_UNUSED_KEYS)
_MAX_ID = 2**31 - 1  # ids are i32 on the device
_SPACE = re.compile(r"[ \t\n\r]*")
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_LIST_END = re.compile(r"[ \t\n\r]*\][ \t\n\r]*")


class PersonImage(NamedTuple):
    """One checked record: an image, whom it shows and what was written about it."""

    file: str  # relative to the image folder, with forward slashes
    person_id: int  # as published, 0- or 1-based
    split: str
    captions: tuple[str, ...]  # as published, at least one
    source: str  # annotation file, for messages
    record: int  # index in that file, from 0
    path_key: str  # key that holds `file` in that file, for messages


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
    for index, record in enumerate(_records(path)):
        unknown |= _check_keys(path, index, record, split, allow_unknown_keys)
        path_key = next(key for key in _PATH_KEYS if key in record)
        images.append(
            PersonImage(
                file=_file(path, index, path_key, record[path_key]),
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


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the objects of a JSON list one by one, so that an error names its record."""
    text = _text(path)
    decoder = json.JSONDecoder(
        object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite
    )
    position = _SPACE.match(text).end()
    if text[position : position + 1] != "[":
        raise AnnotationError(path, None, None, "must be a JSON list of records")
    position = _SPACE.match(text, position + 1).end()
    end = _LIST_END.match(text, position)
    index = 0
    while end is None:
        try:
            record, position = decoder.raw_decode(text, position)
        except RecursionError:
            raise AnnotationError(path, index, None, "is nested too deeply") from None
        except _DuplicateKey as error:
            raise AnnotationError(path, index, error.key, "stands twice in the record") from None
        except ValueError as error:  # JSONDecodeError, NaN, an integer of thousands of digits
            raise AnnotationError(path, index, None, f"is not valid JSON: {error}") from None
        if not isinstance(record, dict):
            raise AnnotationError(path, index, None, f"must be an object, got {_show(record)}")
        yield record
        index += 1
        end = _LIST_END.match(text, position)
        if end is None:
            comma = _COMMA.match(text, position)
            if comma is None:
                raise AnnotationError(
                    path, index, None, "is not valid JSON: expected ',' or ']' before it"
                )
            position = comma.end()
    if end.end() != len(text):
        raise AnnotationError(path, index, None, "is not valid JSON: text after the list")
    if index == 0:
        raise AnnotationError(path, None, None, "holds no records")


def _text(path: Path) -> str:
    """Content of a file that must be UTF-8 without byte order mark."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AnnotationError(path, None, None, f"cannot be read: {error.strerror}") from None
    if content.startswith(b"\xef\xbb\xbf"):
        raise AnnotationError(path, None, None, "starts with a byte order mark; save it without")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise AnnotationError(
            path, None, None, f"is not UTF-8: {error.reason} at byte {error.start}"
        ) from None


class _DuplicateKey(Exception):
    """A JSON object that gives one key twice; json.loads would keep the last unseen."""

    def __init__(self, key: str):
        super().__init__(key)
        self.key = key


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """dict of the pairs of a JSON object, each key once."""
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _DuplicateKey(next(key for key in keys if keys.count(key) > 1))
    return result


def _no_constant(name: str):
    """Refuses NaN, Infinity and -Infinity, which Python reads but JSON does not have."""
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    """float of a JSON number; 1e999 would become infinity."""
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{digits} is too large a number")
    return value


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
        near = difflib.get_close_matches(missing[0], sorted(unknown), 1)
        hint = f" (is {near[0]!r} meant?)" if near else ""
        others = ", ".join(map(repr, sorted(record)))
        raise AnnotationError(path, index, missing[0], f"is missing{hint}; the keys are {others}")
    if unknown and not allow_unknown:
        raise AnnotationError(
            path, index, min(unknown), f"is unknown; known keys are {', '.join(_KEYS)}"
        )
    if all(key in record for key in _PATH_KEYS):
        raise AnnotationError(path, index, "img_path", "stands beside 'file_path'; give one")
    return unknown


def _file(path: Path, index: int, key: str, value: Any) -> str:
    """The image path of a record, which must stay inside the image folder."""
    file = _string(path, index, key, value)
    if not PurePosixPath(file).name:
        raise AnnotationError(path, index, key, f"must name a file, got {_show(file)}")
    if "\\" in file or "\0" in file:
        raise AnnotationError(
            path, index, key, f"may hold no backslash or NUL character, got {_show(file)}"
        )
    if file.startswith("/") or re.match("[A-Za-z]:", file) or ".." in PurePosixPath(file).parts:
        raise AnnotationError(
            path, index, key, f"must stay inside the image folder, got {_show(file)}"
        )
    return file


def _person_id(path: Path, index: int, record: dict[str, Any]) -> int:
    """The person of a record."""
    value = record["id"]
    # bool is an int in Python, true is none in JSON
    if not isinstance(value, int) or isinstance(value, bool):
        raise AnnotationError(path, index, "id", f"must be an integer, got {_show(value)}")
    if not 0 <= value <= _MAX_ID:
        raise AnnotationError(path, index, "id", f"must be in 0..{_MAX_ID}, got {_show(value)}")
    return value


def _split(
    path: Path, index: int, record: dict[str, Any], splits: Collection[str], split: str | None
) -> str:
    """The split of a record, by its key or by its file."""
    if "split" not in record:
        assert split is not None  # _check_keys saw to it
        return split
    value = _string(path, index, "split", record["split"])
    if value not in splits:
        raise AnnotationError(
            path, index, "split", f"must be one of {', '.join(splits)}, got {_show(value)}"
        )
    if split is not None and value != split:
        raise AnnotationError(
            path, index, "split", f"must be {split!r} in this file, got {_show(value)}"
        )
    return value


def _captions(path: Path, index: int, record: dict[str, Any]) -> tuple[str, ...]:
    """The captions of a record, none of them blank."""
    captions = record["captions"]
    if not isinstance(captions, list) or not captions:
        raise AnnotationError(
            path, index, "captions", f"must be a list of sentences, got {_show(captions)}"
        )
    for number, caption in enumerate(captions):
        if not _string(path, index, "captions", caption).strip():
            raise AnnotationError(path, index, "captions", f"caption {number} is blank")
    return tuple(captions)


def _string(path: Path, index: int, key: str, value: Any) -> str:
    """A string that can be written as UTF-8."""
    if not isinstance(value, str):
        raise AnnotationError(path, index, key, f"must be text, got {_show(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise AnnotationError(
            path, index, key, f"holds half of a surrogate pair: {ascii(value)[:60]}"
        ) from None
    return value


def _show(value: Any) -> str:
    """A value, short enough for a message."""
    try:
        shown = ascii(value) if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, deep nesting
        return f"a {type(value).__name__} too long to show"
    return shown if len(shown) <= 60 else shown[:57] + "..."
