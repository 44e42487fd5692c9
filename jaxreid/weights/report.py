"""What became of every key of a checkpoint and of every parameter of ours."""

import re
from collections.abc import Sequence
from typing import NamedTuple

_LISTED = 8  # names that are told of each list
_NUMBER = re.compile(r"(?<=[._])\d+(?=[./])")


class Resized(NamedTuple):
    """A table of positions that was interpolated."""

    name: str
    old: tuple[int, int]  # grid in patches, height and width
    new: tuple[int, int]
    method: str


class Report(NamedTuple):
    """Names by what became of them; a conversion that reports lost nothing silently."""

    source: str
    kind: str
    title: str
    filled: tuple[str, ...] = ()  # our parameters from the file
    fresh: tuple[str, ...] = ()  # our parameters that the file has not
    used: tuple[str, ...] = ()  # published keys that fill something
    equal: tuple[str, ...] = ()  # published keys that repeat what is known: tied, or counted
    unused: tuple[str, ...] = ()  # published keys for which there is no use
    resized: tuple[Resized, ...] = ()
    rows: tuple[tuple[str, int, int], ...] = ()  # (our name, rows in the file, rows of ours)

    def lines(self, most: int = _LISTED) -> list[str]:
        """Returns the report as text, with so many names of each list."""
        lines = [
            f"{self.source}: {self.title} (kind {self.kind})",
            f"  {len(self.filled)} parameters filled from {len(self.used)} keys",
        ]
        for names, what in (
            (self.equal, "keys repeat others and are equal"),
            (self.unused, "keys not used"),
            (self.fresh, "parameters not in this file"),
        ):
            if names:
                lines.append(f"  {len(names)} {what}: {listed(names, most)}")
        for name, old, new, method in self.resized:
            grids = f"{old[0]} x {old[1]} to {new[0]} x {new[1]} patches"
            lines.append(f"  {name}: positions resized from {grids}, {method}")
        for name, old, new in self.rows:
            what = f"the last {new - old} from random" if new > old else f"{old - new} left out"
            lines.append(f"  {name}: {old} rows in the file, {new} of ours, {what}")
        return lines


def listed(names: Sequence[str], most: int = _LISTED) -> str:
    """Returns the first names, "#" for the numbers of layers, and how many more there are."""
    if len(names) > most:
        names = list(dict.fromkeys(_NUMBER.sub("#", name) for name in names))
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
