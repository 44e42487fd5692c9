"""Name tables: which published key holds which of our parameters, for every depth of a network.

A template has named indexes: "visual_encoder.blocks.{vit}.norm1.weight" is the published side of
"vit/blocks_{vit}/norm1/scale". It stands for as many names as our tree has, so one table serves
both ways and all sizes. The table of a kind of checkpoint is `kinds/<name>.py`.
"""

import functools
import importlib
import os
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from jaxreid.weights.layouts import SAME, Layout

_INDEX = re.compile(r"\{(\w+)\}")
_NUMBER = re.compile(r"(?<![^./_])\d+(?![^./])")  # a number between dots, slashes or "_" and such


class Entry(NamedTuple):
    """One correspondence; several keys or parameters where a layout joins or splits arrays."""

    published: str | tuple[str, ...]
    ours: str | tuple[str, ...]
    layout: Layout = SAME


class Range(NamedTuple):
    """Where an index counts from: ours from 0, the published one after those of another range."""

    ours: str  # template of our side, up to the index: "cross/layer_{cross}"
    after: str = ""  # name of the range whose length is added to the published index


class Kind(NamedTuple):
    """A kind of published checkpoint.

    Where several entries fill one parameter (weights that are tied, or names of other versions)
    one key is enough, and all that are there must be equal.
    """

    name: str
    title: str  # what it is and of which project, for messages: "ALBEF's pretrained ALBEF.pth"
    methods: tuple[str, ...]  # methods whose network it fits
    entries: tuple[Entry, ...]
    # Names of other versions for the same: read, never written.
    also: tuple[Entry, ...] = ()
    ranges: Mapping[str, Range] = {}
    # Patterns of whole published keys for which we have no use; "{cross}" is any published index
    # of that range.
    unused: tuple[str, ...] = ()
    # Patterns of our names that a file may lack, all that one pattern names or none.
    fresh: tuple[str, ...] = ()
    # Whether it fills a part of a network: what it has no entry for comes from another file.
    part: bool = False
    # Patterns of our names that a network may lack: then their keys are left out.
    spare: tuple[str, ...] = ()
    # Patterns of our names that no file has and that are zero.
    zeros: tuple[str, ...] = ()
    # Patterns of our names with a row for each token; a tokenizer may have so many more or fewer.
    rows: tuple[str, ...] = ()
    added: int = 0
    # (our name, "bicubic" or "bilinear") of tables of positions of an image grid, [CLS] in front
    positions: tuple[tuple[str, str], ...] = ()


class Link(NamedTuple):
    """An entry for one value of its indexes."""

    published: tuple[str, ...]
    ours: tuple[str, ...]
    layout: Layout


class Table(NamedTuple):
    """A kind for one network."""

    links: tuple[Link, ...]
    spare: frozenset[str]  # skeletons of keys of parameters that this network lacks
    unused: tuple[re.Pattern, ...]


def find(name: str) -> Kind:
    """Returns the kind of a name.

    Raises:
      ValueError: there is none; tells the names.
    """
    if name not in known():
        raise ValueError(f"the kind of a checkpoint must be one of {', '.join(known())}: {name!r}")
    return importlib.import_module(f"jaxreid.weights.kinds.{name}").KIND


def known() -> list[str]:
    """Returns the names of all kinds: the files of the folder kinds."""
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kinds")
    return sorted(f[:-3] for f in os.listdir(folder) if f.endswith(".py") and f[0] != "_")


def skeleton(name: str) -> str:
    """Returns a published key or template with "#" for every index."""
    return _NUMBER.sub("#", _INDEX.sub("0", name))


def both(names: str | tuple[str, ...]) -> tuple[str, ...]:
    """Returns one side of an entry as a tuple."""
    return (names,) if isinstance(names, str) else names


def table(kind: Kind, names: Iterable[str], *, write: bool = False) -> Table:
    """Returns the correspondences of a network.

    Args:
      kind: of a checkpoint.
      names: of all parameters of the network, and of its memory where that is filled too.
      write: True leaves out names that are read alone.

    Raises:
      ValueError: two parameters that belong to one key are not both there (a wrong table).
    """
    names = list(names)
    there = set(names)
    indexes = {name: _indexes(part.ours, names) for name, part in kind.ranges.items()}
    offsets = {
        name: len(indexes[part.after]) if part.after else 0 for name, part in kind.ranges.items()
    }
    links, spare = [], set()
    for entry in kind.entries if write else (*kind.entries, *kind.also):
        ours, published = both(entry.ours), both(entry.published)
        found = [match.groupdict() for n in names if (match := pattern(ours[0]).fullmatch(n))]
        if not found and any(re.fullmatch(p, _INDEX.sub("0", ours[0])) for p in kind.spare):
            spare |= {skeleton(key) for key in published}
        for values in found:
            here = tuple(_INDEX.sub(lambda m, v=values: v[m[1]], name) for name in ours)
            if lacking := [name for name in here if name not in there]:
                raise ValueError(f"kind {kind.name}: {here[0]} without {lacking[0]}")
            moved = {name: str(int(v) + offsets.get(name, 0)) for name, v in values.items()}
            keys = tuple(_INDEX.sub(lambda m, v=moved: v[m[1]], key) for key in published)
            links.append(Link(keys, here, entry.layout))
    unused = []
    for text in kind.unused:
        for name, values in indexes.items():
            any_of = "|".join(str(v + offsets[name]) for v in values)
            text = text.replace(f"{{{name}}}", f"(?:{any_of})" if any_of else "(?!)")
        unused.append(re.compile(text))
    skeletons = {skeleton(key) for link in links for key in link.published}
    return Table(tuple(links), frozenset(spare - skeletons), tuple(unused))


@functools.cache
def pattern(template: str) -> re.Pattern:
    """Returns what matches the names of a template, with its indexes as groups."""
    parts = _INDEX.split(template)
    seen, text = set(), ""
    for i, part in enumerate(parts):
        if i % 2 == 0:
            text += re.escape(part)
        else:
            text += f"(?P={part})" if part in seen else rf"(?P<{part}>\d+)"
            seen.add(part)
    return re.compile(text)


def _indexes(template: str, names: list[str]) -> list[int]:
    """The values that the index of a template has in our tree."""
    prefix = re.compile(pattern(template).pattern + r"(?=/|$)")
    return sorted({int(m[1]) for name in names if (m := prefix.match(name))})
