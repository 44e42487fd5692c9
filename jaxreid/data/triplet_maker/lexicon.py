"""The words for the attribute values of a set: what a noun or a colour in a text may mean.

A word means every value that it is used for, "shirt" any of t-shirt, shirt and polo, so that what
is read from a text is never more than it says. Synonyms are those of the captions of synthpedes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from jaxreid.data.synthpedes import wording
from jaxreid.data.triplet_maker.records import NONE
from jaxreid.data.triplet_maker.scheme import PARTS, Scheme

KIND_WORDS: Mapping[str, Mapping[str, float]] = {
    **wording.OUTER_WORDS, **wording.BOTTOM_WORDS, **wording.SHOES_WORDS, **wording.BAG_WORDS,
    **wording.HAT_WORDS, **wording.HELD_WORDS, **wording.TOP_WORDS,
}  # fmt: skip
# Nouns of a part whatever its kind, besides `Part.noun`.
_ANY_KIND = {
    "bottom": ("bottoms", "lower clothes"),
    "shoes": ("footwear", "shoes"),
    "hat": ("headwear",),
    "scarf": ("scarf",),
    "cape": ("cape", "cloak"),
    "belt": ("belt",),
    "handbag": tuple(wording.BAG_WORDS["handbag"]),
    "backpack": tuple(wording.BAG_WORDS["backpack"]),
}
# Where the table does not say the kind, any of its kinds may be meant.
_UNSAID_KIND = {
    "outer": wording.OUTER_WORDS, "top": wording.TOP_WORDS, "bottom": wording.BOTTOM_WORDS,
    "shoes": wording.SHOES_WORDS, "hat": wording.HAT_WORDS, "bag": wording.BAG_WORDS,
}  # fmt: skip

Claim = tuple[str, frozenset[str]]  # attribute, and the values that it may have


class Lexicon(NamedTuple):
    """What words mean; all are lower case, several words joined by a space."""

    nouns: Mapping[str, Mapping[str, tuple[Claim, ...]]]  # noun -> part -> what it claims
    colors: Mapping[str, frozenset[str]]  # word -> colours it is used for
    adjectives: Mapping[str, Mapping[str, Claim]]  # word -> part -> what it claims
    pattern_nouns: Mapping[str, frozenset[str]]  # "stripes" -> patterns
    values: Mapping[str, frozenset[str]]  # attribute -> all its values, and NONE

    def words(self) -> frozenset[str]:
        """Every single word that means something here."""
        phrases = (*self.nouns, *self.colors, *self.adjectives, *self.pattern_nouns)
        return frozenset(word for phrase in phrases for word in phrase.split())


def make_lexicon(scheme: Scheme, values: Mapping[str, Sequence[str]]) -> Lexicon:
    """Returns the words for a table.

    Args:
      scheme: roles of the attributes.
      values: attribute -> its values, from `attribute_values`.
    """
    known = {
        name: frozenset(values.get(name, ())) - {NONE} for name in scheme.outfit
    }  # fmt: skip
    nouns: dict[str, dict[str, dict[str, set[str]]]] = {}
    for part in PARTS:
        attributes = scheme.of(part.name)
        if not attributes:
            continue
        kind, color = scheme.kind(part.name), scheme.color(part.name)
        told = kind or color or attributes[0]
        for noun, kinds in _nouns(part.name, part.noun, kind, known):
            claimed = nouns.setdefault(noun, {}).setdefault(part.name, {})
            claimed.setdefault(told, set()).update(kinds if kind else known[told])
    colors = frozenset().union(
        *(known[name] for name in known if name.endswith(("_color", "_color2")))
    )
    return Lexicon(
        nouns={
            noun: {
                part: tuple((name, frozenset(kinds)) for name, kinds in claimed.items())
                for part, claimed in of_part.items()
            }
            for noun, of_part in nouns.items()
        },
        colors=_colors(colors),
        adjectives=_adjectives(scheme, known),
        pattern_nouns=_pattern_nouns(),
        values={name: known[name] | {NONE} for name in known},
    )


def kind_words(value: str) -> Mapping[str, float]:
    """Returns the nouns for a value of a kind, with weights; without articles."""
    return {_bare(noun): weight for noun, weight in KIND_WORDS.get(value, {value: 1.0}).items()}


def _nouns(
    part: str, noun: str, kind: str | None, known: Mapping[str, frozenset[str]]
) -> Iterator[tuple[str, frozenset[str]]]:
    """(noun, values of the kind) of a part."""
    every = known[kind] if kind else frozenset()
    for word in (noun, *_ANY_KIND.get(part, ())):
        if word not in every:  # else it is the word of that kind, and of those it is said of
            yield word, every
    if not kind:
        for words in _UNSAID_KIND.get(part, {}).values():
            for word in words:
                yield word, every
    for value in every:
        for word in {value, value.split()[-1], *kind_words(value)}:
            yield word.lower(), frozenset({value})


def _colors(known: frozenset[str]) -> dict[str, frozenset[str]]:
    """Colour word -> the colours of the table that it is used for."""
    found: dict[str, set[str]] = {}
    for color in known:
        found.setdefault(color, set()).add(color)
        for word in (*wording.COLOR_WORDS.get(color, ()), *wording.COLOR_NAMES.get(color, ())):
            found.setdefault(word, set()).add(color)
    for color, words in wording.COLOR_WORDS.items():
        # The table may call this colour by one of its other words: beige is its "tan".
        others = set(words) & known if color not in known else set()
        for word in (color, *words):
            found.setdefault(word, set()).update(others)
    return {word: frozenset(colors) for word, colors in found.items()}


def _adjectives(scheme: Scheme, known: Mapping[str, frozenset[str]]) -> dict[str, dict[str, Claim]]:
    """Adjective -> part -> what it claims, of patterns and other details."""
    found: dict[str, dict[str, set[tuple[str, str]]]] = {}
    for name, part in scheme.outfit.items():
        if name == scheme.kind(part) or name.endswith(("_color", "_color2", "_side")):
            continue
        for value in known[name]:
            for word in detail_words(name, value):
                found.setdefault(word, {}).setdefault(part, set()).add((name, value))
    return {
        word: {
            # A word is of one attribute of a part: patterns and sleeves share none.
            part: (min(pairs)[0], frozenset(v for n, v in pairs if n == min(pairs)[0]))
            for part, pairs in of_part.items()
        }
        for word, of_part in found.items()
    }


def detail_words(attribute: str, value: str) -> Mapping[str, float]:
    """Returns the adjectives for a value of a pattern, of sleeves or of a length, with weights."""
    if attribute.endswith("_pattern"):
        return wording.PATTERN_ADJECTIVES.get(value, {value: 3.0, "solid": 1.0})
    if attribute == "sleeves":
        return wording.SLEEVE_WORDS.get(value, {value: 1.0})
    return {value: 1.0}


def _pattern_nouns() -> dict[str, frozenset[str]]:
    """The nouns after "with white ...": stripes, dots, a graphic."""
    found: dict[str, set[str]] = {}
    for pattern, tails in wording.PATTERN_TAILS.items():
        for tail in tails:
            found.setdefault(tail.split("{color} ")[1], set()).add(pattern)
    return {noun: frozenset(patterns) for noun, patterns in found.items()}


def _bare(noun: str) -> str:
    """A noun without its article: "a phone", "some papers"."""
    first, _, rest = noun.partition(" ")
    return rest if first in ("a", "an", "some") else noun
