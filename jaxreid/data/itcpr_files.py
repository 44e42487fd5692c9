"""Reads query.json and gallery.json of ITCPR and of TG-CPR, which have one schema."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from jaxreid.data.composed_sets import (
    ComposedImage,
    ComposedSource,
    ComposedSplit,
    check_count,
    image_folder,
)
from jaxreid.data.json_records import (
    MAX_ID,
    check_keys,
    image_file,
    integer,
    json_records,
    sentence,
)
from jaxreid.data.records import AnnotationError, Triplets

FILES = ("query.json", "gallery.json")
_KEYS = ("file_path", "datasets", "person_id", "instance_id")
_SHOWN = 5  # queries without an answer that the log names


class GalleryCounts(NamedTuple):
    """Published sizes; None where none is published."""

    queries: int
    gallery: int
    relevant: int | None  # rows of the gallery that somebody asks for


class Row(NamedTuple):
    """One checked record of either file."""

    file: str
    instance_id: int  # in the gallery -1: nobody asks for it
    caption: str  # "" in the gallery
    source: Path
    record: int


def read_rows(path: Path, *, captions: bool, allow_unknown_keys: bool = False) -> list[Row]:
    """Returns the records of one file in its order.

    Args:
      path: JSON list of {file_path, datasets, person_id, instance_id}, of queries also caption.
      captions: whether it is the file of queries.
      allow_unknown_keys: goes on with keys that no published file has.

    Raises:
      AnnotationError: naming file, record and key of the first record that cannot be used.
    """
    needed = (*_KEYS, "caption") if captions else _KEYS
    return [
        _row(path, index, record, needed, allow_unknown_keys)
        for index, record in enumerate(json_records(path))
    ]


def read(
    source: ComposedSource, counts: GalleryCounts, *, allow_partial: bool
) -> tuple[Path, ComposedSplit]:
    """Returns the image folder and the test split, annotations and counts checked.

    The images are those of the gallery, in its order, then the query images that are not among
    them. A row of the gallery that comes again is ranked again, as published; an image that is
    there under two instances is two images.

    Args:
      source: the two files.
      counts: the published ones.
      allow_partial: go on, with a log line, where counts differ, keys are unknown or image files
        are absent, without the rows of those images.

    Raises:
      AnnotationError: a record cannot be used or counts differ.
    """
    query_path, gallery_path = source.annotations
    queries = read_rows(query_path, captions=True, allow_unknown_keys=allow_partial)
    rows = read_rows(gallery_path, captions=False, allow_unknown_keys=allow_partial)
    folder = image_folder(source, (row.file for row in (*rows, *queries)))
    if allow_partial:
        queries, rows = _present(folder, queries), _present(folder, rows)
        for path, found in ((query_path, queries), (gallery_path, rows)):
            if not found:
                raise AnnotationError(path, None, "file_path", f"no image of it is in {folder}")
    relevant = sum(row.instance_id >= 0 for row in rows)
    check_count(query_path, "queries", len(queries), counts.queries, allow_partial)
    check_count(gallery_path, "gallery images", len(rows), counts.gallery, allow_partial)
    if counts.relevant is not None:
        what = "gallery images that are asked for"
        check_count(gallery_path, what, relevant, counts.relevant, allow_partial)
    return folder, _compose(queries, rows)


def unanswered(queries: Sequence[Row], gallery: Sequence[Row]) -> list[Row]:
    """Returns the queries whose instance is in no row of the gallery."""
    known = {row.instance_id for row in gallery}
    return [row for row in queries if row.instance_id not in known]


def _compose(queries: Sequence[Row], rows: Sequence[Row]) -> ComposedSplit:
    """Images, triplets and gallery of checked rows."""
    images: dict[tuple[str, int], ComposedImage] = {}
    place: dict[tuple[str, int], int] = {}
    first: dict[str, int] = {}  # file -> place of its first image
    target: dict[int, int] = {}  # instance -> place of its first image
    gallery = []
    for row in (*rows, *queries):
        of_gallery = row.caption == ""
        key = (row.file, row.instance_id if of_gallery else -1)
        if of_gallery or row.file not in first:
            if key not in images:
                place[key] = len(images)
                images[key] = ComposedImage(
                    row.file, key[1], (), row.source, row.record, "file_path"
                )
            first.setdefault(row.file, place[key])
        if of_gallery:
            gallery.append(place[key])
            target.setdefault(row.instance_id, place[key])
    _log(queries, rows, len(set(gallery)))
    return ComposedSplit(
        images=tuple(images.values()),
        triplets=Triplets(
            reference=np.array([first[row.file] for row in queries], np.int32),
            target=np.array([target.get(row.instance_id, -1) for row in queries], np.int32),
            instance_id=np.array([row.instance_id for row in queries], np.int32),
            words=tuple(row.caption for row in queries),
        ),
        gallery=np.array(gallery, np.int32),
    )


def _log(queries: Sequence[Row], rows: Sequence[Row], images: int) -> None:
    """Tells of rows that come again, and of queries without an answer."""
    if images < len(rows):
        logging.warning(
            "%s: %d rows name an image of an earlier row again", rows[0].source, len(rows) - images
        )
    files = len({row.file for row in rows})
    if files < images:
        logging.warning(
            "%s: %d images stand there under more than one instance_id, each of them is ranked",
            rows[0].source,
            images - files,
        )
    lost = unanswered(queries, rows)
    if lost:
        named = ", ".join(f"{row.instance_id} (record {row.record})" for row in lost[:_SHOWN])
        logging.warning(
            "%s: instance_id of %d queries is in no row of the gallery, they cannot be answered: "
            "%s%s",
            *(lost[0].source, len(lost), named, ", ..." if len(lost) > _SHOWN else ""),
        )


def _present(folder: Path, rows: list[Row]) -> list[Row]:
    """The rows whose image file is there."""
    found = [row for row in rows if (folder / row.file).is_file()]
    if len(found) < len(rows):
        logging.warning(
            "%s: %d rows are left out, their images are not in %s",
            *(rows[0].source, len(rows) - len(found), folder),
        )
    return found


def _row(
    path: Path, index: int, record: dict[str, Any], needed: Sequence[str], allow_unknown: bool
) -> Row:
    """One record of either file."""
    captions = "caption" in needed
    check_keys(path, index, record, needed, None if allow_unknown else ())
    sentence(path, index, "datasets", record["datasets"])
    integer(path, index, "person_id", record["person_id"], -1, MAX_ID)
    return Row(
        file=image_file(path, index, "file_path", record["file_path"]),
        instance_id=integer(
            path, index, "instance_id", record["instance_id"], 0 if captions else -1, MAX_ID
        ),
        caption=sentence(path, index, "caption", record["caption"]) if captions else "",
        source=path,
        record=index,
    )
