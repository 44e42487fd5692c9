"""Reads what words claim about an outfit, whoever wrote them."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from jaxreid.data.triplet_maker.lexicon import Claim, Lexicon
from jaxreid.data.triplet_maker.records import NONE

_TOKEN = re.compile(r"[a-z0-9]+(?:[-'][a-z0-9]+)*|[,.;:!?]")
# Between a modifier and its noun, "red and white, long shirt", these change nothing.
_FILLER = frozenset((
    "a", "an", "the", "his", "her", "their", "its", "and", "or", "of", "pair", "some", "new",
    "very", "color", "colour", "colored", "coloured", "also", "wearing", "wears", "wear", "in",
    "on", "with", "to", "now", "plus", "matching", "same", "loose", "tight", "casual", "formal",
    "simple", "slim", "thin", "thick", "fitted", "baggy", "printed", "plain", "solid", "small",
    "large", "big", ",",
))  # fmt: skip
_NEGATIONS = (("no",), ("without",), ("not",), ("instead", "of"), ("rather", "than"), ("minus",))
# Nouns of the body take their colours with them: "with black hair".
_BODY_NOUNS = frozenset(
    ("hair", "skin", "face", "eyes", "beard", "man", "woman", "person", "lady", "guy")
)
_LONGEST = 5  # words of a noun or a colour


class Phrase(NamedTuple):
    """What is said of one part; true where all claims of one of the readings hold."""

    text: str
    readings: tuple[tuple[Claim, ...], ...]

    def attributes(self) -> frozenset[str]:
        """The attributes that any reading speaks of."""
        return frozenset(name for reading in self.readings for name, _ in reading)


def holds(phrase: Phrase, attributes: Mapping[str, str], *, unknown: bool) -> bool:
    """Whether a phrase is true of attributes.

    Args:
      phrase: from `read`.
      attributes: attribute -> value; one that is left out is unknown.
      unknown: what a claim about an unknown attribute counts as.
    """
    return any(
        all(
            attributes[name] in values if name in attributes else unknown for name, values in claims
        )
        for claims in phrase.readings
    )


def read(lexicon: Lexicon, words: str) -> tuple[Phrase, ...]:
    """Returns what the words say, a phrase for each noun that the lexicon has.

    Words that are not understood claim nothing: they end what was said before them.
    """
    tokens = _TOKEN.findall(words.lower())
    phrases: list[Phrase] = []
    state = _Pending()
    at = 0
    while at < len(tokens):
        length = _step(lexicon, tokens, at, state, phrases)
        at += length
    return tuple(phrases)


def vocabulary(words: str) -> list[str]:
    """Returns the words of a text, lower case, without marks."""
    return [token for token in _TOKEN.findall(words.lower()) if token[0].isalnum()]


def filler_words() -> frozenset[str]:
    """Returns the words that every text may hold."""
    negations = {word for negation in _NEGATIONS for word in negation}
    return _FILLER | _BODY_NOUNS | negations | {"carrying", "holding", "dressed", "that", "is"}


class _Pending:
    """Modifiers that wait for their noun."""

    def __init__(self):
        self.clear()

    def clear(self) -> None:
        self.colors: list[frozenset[str]] = []
        self.adjectives: list[str] = []
        self.negated = False
        self.start = -1  # first token of the phrase


def _step(lexicon, tokens, at, state, phrases) -> int:
    """Understands what begins at a token; returns how many tokens that is."""
    for negation in _NEGATIONS:
        if tuple(tokens[at : at + len(negation)]) == negation:
            state.clear()
            state.negated, state.start = True, at
            return len(negation)
    noun = _longest(lexicon.nouns, tokens, at)
    color = _longest(lexicon.colors, tokens, at)
    adjective = _longest(lexicon.adjectives, tokens, at)
    pattern = _longest(lexicon.pattern_nouns, tokens, at)
    longest = max(noun, color, adjective, pattern)
    if not longest:
        if tokens[at] not in _FILLER:
            state.clear()
        return 1
    state.start = at if state.start < 0 else state.start
    here = " ".join(tokens[at : at + longest])
    if longest == noun:
        text = " ".join(tokens[state.start : at + noun])
        phrases.append(_phrase(lexicon, here, text, state))
        state.clear()
        return noun + _predicate(lexicon, tokens, at + noun, phrases)
    if longest == color:
        state.colors.append(lexicon.colors[here])
    elif longest == adjective:
        state.adjectives.append(here)
    else:
        if phrases and state.colors and not state.negated:
            phrases[-1] = _with_pattern(lexicon, phrases[-1], here, state.colors[-1])
        state.clear()
    return longest


def _longest(words, tokens: list[str], at: int) -> int:
    """Tokens of the longest entry that begins here; 0 if there is none."""
    for length in range(min(_LONGEST, len(tokens) - at), 0, -1):
        if " ".join(tokens[at : at + length]) in words:
            return length
    return 0


def _phrase(lexicon: Lexicon, noun: str, text: str, state: _Pending) -> Phrase:
    """The phrase of a noun with the modifiers before it."""
    readings = []
    for part, claims in lexicon.nouns[noun].items():
        claims = dict(claims)
        colors = frozenset().union(*state.colors)
        if state.colors:
            for name in (f"{part}_color", *([f"{part}_color2"] if len(state.colors) > 1 else [])):
                if name in lexicon.values:
                    claims[name] = claims.get(name, colors) & colors
        for word in state.adjectives:
            if part in lexicon.adjectives[word]:
                name, values = lexicon.adjectives[word][part]
                claims[name] = claims.get(name, values) & values
        if len(claims) > 1:
            # "A red top" of any kind: red is seen where the kind is not, beside a vest.
            vague = next(iter(claims))
            if claims[vague] == lexicon.values[vague] - {NONE}:
                del claims[vague]
        readings.append(tuple(claims.items()))
    if state.negated:
        # Not (a and b) is not a, or not b: each a reading of its own.
        readings = [
            ((name, lexicon.values[name] - values),)
            for reading in readings
            for name, values in reading
        ]
    return Phrase(text, tuple(dict.fromkeys(readings)))


def _predicate(lexicon: Lexicon, tokens: list[str], at: int, phrases: list[Phrase]) -> int:
    """Adds the colour of "that is red" to the last phrase; returns the tokens read."""
    if tokens[at : at + 1] == ["that"] and tokens[at + 1 : at + 2] in (["is"], ["are"]):
        length = _longest(lexicon.colors, tokens, at + 2)
        if length:
            color = " ".join(tokens[at + 2 : at + 2 + length])
            phrases[-1] = _with(lexicon, phrases[-1], "_color", lexicon.colors[color])
            return 2 + length
    return 0


def _with_pattern(lexicon: Lexicon, phrase: Phrase, noun: str, colors: frozenset[str]) -> Phrase:
    """A phrase with "with white stripes" behind it."""
    phrase = _with(lexicon, phrase, "_pattern", lexicon.pattern_nouns[noun])
    return _with(lexicon, phrase, "_color2", colors)


def _with(lexicon: Lexicon, phrase: Phrase, suffix: str, values: frozenset[str]) -> Phrase:
    """A phrase that also claims an attribute of its part, where the table has it."""
    readings = []
    for reading in phrase.readings:
        claims = dict(reading)
        stem = next(iter(claims)).removesuffix("_type").removesuffix("_color")
        name = f"{stem}{suffix}"
        if name in lexicon.values:
            claims[name] = claims.get(name, values) & values
        readings.append(tuple(claims.items()))
    return phrase._replace(readings=tuple(readings))
