"""What the maker works on: images with captions and attributes, and the looks among them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

NONE = "none"  # value of an attribute whose part is absent; an attribute left out is unknown


class Record(NamedTuple):
    """One image of a set."""

    file: str  # relative to the image folder
    split: str
    person_id: int  # as published
    captions: tuple[str, ...]
    attributes: Mapping[str, str]  # all that is known of the person and of its outfit
    shown: frozenset[str]  # the attributes that the image shows

    @property
    def visible(self) -> dict[str, str]:
        """The attributes that the image shows, with their values."""
        return {name: value for name, value in self.attributes.items() if name in self.shown}


class Collection(NamedTuple):
    """n images of one split."""

    records: tuple[Record, ...]
    images: Sequence[np.ndarray]  # images[i] is u8[h, w, 3] of records[i], decoded when asked for


class Looks(NamedTuple):
    """The m looks of a collection: a person in an outfit, which several images may show."""

    number: np.ndarray  # i32[n], look of each image, counted in order of appearance
    first: np.ndarray  # i32[m], the first image of each look
    names: tuple[str, ...]  # A attributes
    values: tuple[tuple[str, ...], ...]  # of each attribute, sorted
    codes: np.ndarray  # i32[m, A], place in values; -1 where unknown

    def column(self, attribute: str) -> np.ndarray:
        """i32[m] codes of one attribute."""
        return self.codes[:, self.names.index(attribute)]


def find_looks(records: Sequence[Record], names: Sequence[str]) -> Looks:
    """Returns the looks: images of one person_id with equal attributes have one.

    Args:
      records: images of one split.
      names: the attributes that count; none of the records need have them.

    Raises:
      ValueError: there are no records.
    """
    if not records:
        raise ValueError("a collection needs at least 1 record, got 0")
    number_of: dict[tuple, int] = {}
    number, first = [], []
    for i, record in enumerate(records):
        key = (record.person_id, *(record.attributes.get(name) for name in names))
        if key not in number_of:
            number_of[key] = len(first)
            first.append(i)
        number.append(number_of[key])
    found = attribute_values(records)
    values = {name: found.get(name, ()) for name in names}
    codes = np.full((len(first), len(values)), -1, np.int32)
    for column, (name, known) in enumerate(values.items()):
        place = {value: code for code, value in enumerate(known)}
        for row, i in enumerate(first):
            codes[row, column] = place.get(records[i].attributes.get(name), -1)
    return Looks(
        np.array(number, np.int32), np.array(first, np.int32), tuple(values),
        tuple(values.values()), codes,
    )  # fmt: skip


def attribute_values(records: Iterable[Record]) -> dict[str, tuple[str, ...]]:
    """Returns attribute -> its values among the records, both sorted."""
    found: dict[str, set[str]] = {}
    for record in records:
        for name, value in record.attributes.items():
            found.setdefault(name, set()).add(value)
    return {name: tuple(sorted(found[name])) for name in sorted(found)}
