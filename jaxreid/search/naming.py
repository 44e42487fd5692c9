"""Which values of which attributes words name."""

import re
from collections.abc import Callable
from functools import partial

from jaxreid.search.attributes import NONE, Attribute, Scheme

_NEGATED = re.compile(r"\b(not|no|never|without|isn'?t|wasn'?t|weren'?t|neither|nor)( an?| the)? $")
# Where one thing said ends and another begins.
_CLAUSE = re.compile(
    r"[.;!?]+|,|\b(?:and|but) (?=(?:he|she|they|it|i|there|the|his|her|their)\b)|\bbut\b"
)


def clauses_of(line: str) -> list[str]:
    """Returns the parts of a line that say one thing each."""
    return [clause for part in _CLAUSE.split(line) if (clause := (part or "").strip())]


def read_others(scheme: Scheme, line: str) -> dict[str, tuple[str, ...]]:
    """Returns what words tell that can mean one attribute alone: attribute -> values.

    "A woman with a black backpack" tells the gender, the bag and, since black stands before a word
    for a bag, its color; "black" alone could be said of many things, and "shoes" of any kind of
    shoes. Of other attributes only names of values count, other words mean too much. What is denied
    leaves the rest open and is not told.

    Args:
      scheme: what can be asked.
      line: as typed.
    """
    clauses = clauses_of(line.lower())
    things = _things(scheme)
    told: dict[str, tuple[str, ...]] = {}
    earlier: dict[str, set[str]] = {}  # values of the attributes of a part so far
    for attribute in scheme.attributes:
        generic, part = words_in(attribute.says), _part(attribute)
        own = tuple(
            value._replace(words=(value.name,))
            for value in attribute.values
            if things.get(value.name) == {attribute.name} and value.name not in generic
        )
        # "a white t-shirt": said of a thing of the same part, by the first that it may mean.
        free = tuple(v for v in attribute.values if v.name not in earlier.setdefault(part, set()))
        earlier[part] |= {value.name for value in attribute.values}
        first = attribute._replace(values=free)
        of = frozenset(w for w, names in things.items() if {_part_of(n) for n in names} == {part})
        values = {
            value
            for clause in clauses
            for value in (
                *_named(attribute._replace(values=own), clause, lambda of: True)[0],
                *_named(first, clause, partial(begins, words=of | {part}))[0],
            )
        }
        if values and len(values) < len(attribute.values):
            told[attribute.name] = tuple(v.name for v in attribute.values if v.name in values)
    return told


def values_of(attribute: Attribute, clause: str, takes: Callable[[str], bool]) -> tuple[str, ...]:
    """Values that a clause leaves open; none where it names none."""
    named, negated = _named(attribute, clause, takes)
    if not named and negated:
        named = [value.name for value in attribute.values if value.name not in negated]
    order = [value.name for value in attribute.values]
    return tuple(sorted(set(named), key=order.index))


def _named(
    attribute: Attribute, clause: str, takes: Callable[[str], bool]
) -> tuple[list[str], list[str]]:
    """Values that a clause names, and those that it denies.

    takes(what stands behind a value) says whether it is said of this attribute.
    """
    clause = clause.replace("colour", "color")
    words = {word: value.name for value in attribute.values for word in value.words}
    if not words:
        return [], []
    named, negated = [], []
    longest = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    found = list(re.finditer(rf"(?<![\w-])(?:{longest})(?![\w-])", clause))
    of = ""  # what a value is said of: the words behind it, and behind further values
    for i, match in reversed(list(enumerate(found))):
        after = clause[match.end() : found[i + 1].start() if i + 1 < len(found) else None]
        if i + 1 == len(found) or after.strip() not in ("and", "or", ""):
            of = after.strip()
        if not takes(of):
            continue
        kind = negated if _NEGATED.search(clause[: match.start()]) else named
        kind.append(words[match.group()])
    if NONE in named and len(set(named)) > 1:
        named = [name for name in named if name != NONE]  # "none, well, a cap"
    return named, negated


def other_things(scheme: Scheme, attribute: Attribute) -> frozenset[str]:
    """Words of other parts of a person, which are values of one attribute alone."""
    part = _part(attribute)
    return frozenset(
        word
        for word, names in _things(scheme).items()
        if len(names) == 1 and part not in {_part_of(name) for name in names}
    )


def begins(text: str, words: frozenset[str]) -> bool:
    """Whether a text begins with one of some words."""
    return any(text == word or re.match(rf"{re.escape(word)}(?![\w-])", text) for word in words)


def _things(scheme: Scheme) -> dict[str, set[str]]:
    """Words of all values -> the attributes that have them."""
    things: dict[str, set[str]] = {}
    for attribute in scheme.attributes:
        for word in {word for value in attribute.values for word in value.words}:
            things.setdefault(word, set()).add(attribute.name)
    return things


def _part_of(name: str) -> str:
    """The part of a person that an attribute is of, by its name: "bag" of "bag_color"."""
    return name.split("_")[0]


def _part(attribute: Attribute) -> str:
    """The part of a person that an attribute is of."""
    return _part_of(attribute.name)


def words_in(text: str) -> set[str]:
    """Words that matter, in one spelling."""
    text = text.lower().replace("colour", "color").replace("_", " ")
    return set(re.findall(r"\w+", text)) - {"the", "of", "a", "an", "my", "what", "was", "answer"}
