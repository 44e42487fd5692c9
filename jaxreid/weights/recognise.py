"""What a state_dict is, told from its keys alone."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from jaxreid.weights.names import Kind, both, find, known, skeleton

_INDEX = re.compile(r"\{[a-z]\w*\}")


class Fit(NamedTuple):
    """How a state_dict differs from a kind, counting a key of all layers once; less is better."""

    wrong: int  # unknown and lacking ones
    unknown: int  # keys of the file that the table does not have
    unmatched: int  # patterns of unused keys that match nothing, of which a file may lack some
    total: int  # keys of the file


def recognise(keys: Iterable[str]) -> Kind | None:
    """Returns the kind whose table fits keys best; None where none knows half of them."""
    fits = _fits(keys, [find(name) for name in known()])
    best = min(fits, key=fits.get, default=None)
    return find(best) if best and fits[best].unknown <= 0.5 * fits[best].total else None


def named_kind(keys: Iterable[str], asked: Kind) -> str:
    """Returns "this looks like X, kind Y was asked for; that" where keys fit X better, else ""."""
    found = recognise(keys)
    mine = _fits(keys, [asked])[asked.name]
    if found is None and mine.unknown > 0.5 * mine.total:
        return f"this is no checkpoint of a known kind, kind {asked.name} was asked for; that"
    if found is None or _fits(keys, [found])[found.name][:3] >= mine[:3]:
        return ""
    return (
        f"this looks like {found.title} (kind {found.name}), kind {asked.name} was asked for; that"
    )


def _fits(keys: Iterable[str], kinds: Iterable[Kind]) -> dict[str, Fit]:
    """How each kind fits keys."""
    skeletons = {skeleton(key): key for key in keys}
    return {kind.name: _fit(kind, skeletons) for kind in kinds}


def _fit(kind: Kind, skeletons: dict[str, str]) -> Fit:
    """How a kind fits; keys are compared without their indexes."""
    filled = {}  # keys of one parameter -> whether one of them is there
    mine = set()
    for entry in (*kind.entries, *kind.also):
        keys = {skeleton(key) for key in both(entry.published)}
        mine |= keys
        ours = both(entry.ours)[0]
        optional = any(re.fullmatch(p, _INDEX.sub("0", ours)) for p in kind.fresh)
        if not entry.layout.derived and not optional:
            filled[ours] = filled.get(ours, False) or keys <= skeletons.keys()
    unused = [re.compile(_INDEX.sub(r"\\d+", text)) for text in kind.unused]
    matched, unknown = set(), 0
    for text, key in skeletons.items():
        found = [p for p in unused if p.fullmatch(key)]
        matched.update(found)
        unknown += text not in mine and not found
    lacking = sum(not there for there in filled.values())
    return Fit(unknown + lacking, unknown, len(unused) - len(matched), len(skeletons))
