"""Reads attribute tables: JSON or CSV, a row a person or a row an image.

    [{"id": 1, "gender": "female", "hat": null, "belt": true}, ...]      JSON list
    {"0001_c1.jpg": {"gender": "female"}, "0002_c1.jpg": {...}}          JSON object
    image,gender,top_color                                               CSV

A row names its person by `id` or `person_id`, or its image by `file_path`, `img_path`, `image` or
`file`. In JSON, null and false mean that the part is absent, true that it is there. In CSV an
empty cell is unknown. Tables of numbers need a mapping: column -> cell -> attributes, and column ->
null for columns that are not read, as in `market_1501.json`.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from jaxreid.data.records import AnnotationError
from jaxreid.data.triplet_maker.records import NONE

MARKET_1501 = Path(__file__).parent / "market_1501.json"  # of the attributes of Market-1501

_PERSON = ("id", "person_id")
_IMAGE = ("file_path", "img_path", "image", "file")
_NOT_READ = ("split",)  # the annotations of the images say it

Mapped = Mapping[str, Mapping[str, Mapping[str, str]] | None]  # column -> cell -> attributes


class Table(NamedTuple):
    """Attributes of people or of images."""

    path: Path
    by_person: bool
    rows: dict[str, dict[str, str]]  # id in digits, or file of an image -> attribute -> value

    def row(self, file: str, person_id: int) -> dict[str, str] | None:
        """The attributes of an image; None if the table has none."""
        if self.by_person:
            return self.rows.get(str(person_id))
        return self.rows.get(file) or self.rows.get(PurePosixPath(file).name)


def read_table(path: Path, *, mapping: Mapped | None = None, ignore: tuple[str, ...] = ()) -> Table:
    """Returns an attribute table.

    Args:
      path: .csv, or .json.
      mapping: what the cells mean, from `read_mapping`; None: cells are values.
      ignore: columns that are not read.

    Raises:
      AnnotationError: naming file, record and key of what cannot be used.
    """
    raw = _read_csv(path) if path.suffix.lower() == ".csv" else _read_json(path)
    by_person, rows = None, {}
    for index, (key, cells) in enumerate(raw):
        if by_person not in (None, key in _PERSON):
            raise AnnotationError(path, index, key, "names a person, or an image, unlike record 0")
        by_person = key in _PERSON
        name = _name(path, index, key, cells.pop(key))
        if name in rows:
            raise AnnotationError(path, index, key, f"{name!r} has a row before this one")
        for column in (*_NOT_READ, *ignore):
            cells.pop(column, None)
        if mapping is None:
            rows[name] = {c: _value(path, index, c, v) for c, v in cells.items() if v != ""}
        else:
            rows[name] = _mapped(path, index, cells, mapping)
    if not rows:
        raise AnnotationError(path, None, None, "holds no records")
    return Table(path, by_person, rows)


def read_mapping(path: Path) -> Mapped:
    """Returns a mapping of the cells of a table.

    Raises:
      AnnotationError: it is no JSON object of column -> cell -> attribute -> value.
    """
    mapping = _load(path)
    if not isinstance(mapping, dict):
        raise AnnotationError(path, None, None, "must be an object of column -> cell -> attributes")
    for column, cells in mapping.items():
        if cells is None:
            continue
        if not isinstance(cells, dict):
            raise AnnotationError(path, None, column, f"must be an object or null, got {cells!r}")
        for cell, attributes in cells.items():
            if not isinstance(attributes, dict) or not all(
                isinstance(value, str) and value for value in attributes.values()
            ):
                raise AnnotationError(
                    path, None, column, f"cell {cell!r} must map attributes to words, "
                    f"got {attributes!r}",
                )  # fmt: skip
    return mapping


def _read_csv(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Rows of a CSV file: the column that names a person or an image, and the cells."""
    reader = csv.reader(io.StringIO(_text(path)))
    head = [name.strip() for name in next(reader, [])]
    if len(set(head)) != len(head):
        raise AnnotationError(path, None, None, f"has a column twice: {', '.join(head)}")
    rows = []
    for index, cells in enumerate(line for line in reader if line):
        if len(cells) != len(head):
            raise AnnotationError(
                path, index, None, f"has {len(cells)} cells, the head has {len(head)}"
            )
        row = {name: cell.strip() for name, cell in zip(head, cells, strict=True)}
        rows.append((_key(path, index, row), row))
    return rows


def _read_json(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Rows of a JSON file, as `_read_csv`."""
    content = _load(path)
    if isinstance(content, dict):
        people = all(name.isdigit() for name in content)
        key = _PERSON[0] if people else _IMAGE[0]
        content = [
            {key: int(name) if people else name} | row if isinstance(row, dict) else row
            for name, row in content.items()
        ]
    if not isinstance(content, list):
        raise AnnotationError(path, None, None, "must be a list or an object of attributes")
    rows = []
    for index, row in enumerate(content):
        if not isinstance(row, dict):
            raise AnnotationError(path, index, None, f"must be an object, got {row!r:.60}")
        rows.append((_key(path, index, row), dict(row)))
    return rows


def _key(path: Path, index: int, row: Mapping[str, Any]) -> str:
    """The key of a row that names its person or its image."""
    found = [key for key in (*_PERSON, *_IMAGE) if key in row]
    if len(found) != 1:
        problem = "is missing" if not found else f"stands beside {found[1]!r}; give one"
        raise AnnotationError(
            path, index, found[0] if found else _PERSON[0],
            f"{problem}; a row names its person by {' or '.join(_PERSON)} or its image by "
            f"{', '.join(_IMAGE)}",
        )  # fmt: skip
    return found[0]


def _name(path: Path, index: int, key: str, value: Any) -> str:
    """The person or image of a row."""
    if key in _PERSON:
        if isinstance(value, bool) or not str(value).isdecimal():
            raise AnnotationError(path, index, key, f"must be a whole number, got {value!r}")
        return str(int(value))
    if not isinstance(value, str) or not value:
        raise AnnotationError(path, index, key, f"must name a file, got {value!r}")
    return value


def _value(path: Path, index: int, column: str, value: Any) -> str:
    """The value of an attribute in a table without a mapping."""
    if value is None or value is False:
        return NONE
    if value is True:
        return column  # "belt": true is a belt
    if isinstance(value, str) and value.strip() and not value.strip().isdecimal():
        return value.strip().lower()
    if isinstance(value, str | int | float):
        raise AnnotationError(
            path, index, column, f"{value!r} is no word; a mapping must say what it means"
        )
    raise AnnotationError(path, index, column, f"must be a word, got {value!r:.60}")


def _mapped(path: Path, index: int, cells: dict[str, Any], mapping: Mapped) -> dict[str, str]:
    """The attributes of a row by a mapping; two columns may not contradict each other."""
    attributes: dict[str, str] = {}
    for column, value in cells.items():
        if column not in mapping:
            raise AnnotationError(
                path, index, column, f"is not in the mapping ({', '.join(mapping)})"
            )
        if mapping[column] is None or value == "":
            continue
        told = mapping[column].get(str(value))
        if told is None:
            raise AnnotationError(
                path, index, column, f"{value!r} is not in the mapping, which has "
                f"{', '.join(mapping[column])}",
            )  # fmt: skip
        for name, word in told.items():
            if attributes.setdefault(name, word) != word:
                raise AnnotationError(
                    path, index, column, f"{name} is {word!r} here and {attributes[name]!r} before"
                )
    return attributes


def _load(path: Path) -> Any:
    """Content of a JSON file; an object may give no key twice."""

    def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            counts = Counter(key for key, _ in pairs)
            raise AnnotationError(path, None, max(counts, key=counts.get), "stands twice")
        return result

    try:
        return json.loads(_text(path), object_pairs_hook=each_once)
    except (json.JSONDecodeError, RecursionError) as error:
        raise AnnotationError(path, None, None, f"is not valid JSON: {error}") from None


def _text(path: Path) -> str:
    """Content of a file in UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise AnnotationError(path, None, None, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise AnnotationError(path, None, None, f"is not UTF-8: {error.reason}") from None
