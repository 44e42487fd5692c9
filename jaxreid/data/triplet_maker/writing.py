"""Writes the words of a triplet from what differs: "Wearing a red coat and no hat"."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxreid.data.synthpedes.person import pick
from jaxreid.data.synthpedes.wording import COLOR_WORDS, article, chance
from jaxreid.data.triplet_maker.lexicon import detail_words, kind_words
from jaxreid.data.triplet_maker.records import NONE, Record
from jaxreid.data.triplet_maker.scheme import PARTS, Part, Scheme

_OPENINGS = {"Wearing": 12, "In": 2, "Now wearing": 1}
_DRESSED = {"Dressed in": 2}  # where clothes are told, not only shoes
_OPENING_FOR_CARRIED = "Carrying"
_PAIR = 0.2  # share of "a pair of" before plural nouns
_MASS = ("footwear", "headwear", "paperwork", "paper")  # nouns without an article


class Difference(NamedTuple):
    """An attribute of the outfit that the target image shows and that the reference has not."""

    part: str
    attribute: str
    before: str
    after: str


def differences(scheme: Scheme, reference: Record, target: Record) -> tuple[Difference, ...]:
    """Returns what of the outfit differs and is seen in the target image, in order of `PARTS`."""
    seen = target.visible
    return tuple(
        Difference(part.name, name, reference.attributes[name], seen[name])
        for part in PARTS
        for name in scheme.of(part.name)
        if name in seen and reference.attributes.get(name, seen[name]) != seen[name]
    )


def write(
    scheme: Scheme,
    target: Record,
    different: Sequence[Difference],
    rng: np.random.Generator,
) -> str:
    """Returns the words, "" if nothing that differs can be said.

    A part that differs in anything is told whole: its colour, its pattern, its kind.

    Args:
      scheme: roles of the attributes.
      target: the image to be found; only what it shows is told.
      different: from `differences`.
      rng: chooses among synonyms.
    """
    seen, worn, carried = target.visible, [], []
    for part in PARTS:
        of_part = [difference for difference in different if difference.part == part.name]
        text = _told(scheme, part, seen, of_part, rng) if of_part else None
        if text:
            (carried if part.carried and not text.startswith("no ") else worn).append(text)
    worn.sort(key=lambda text: text.startswith("no "))  # what is missing is told last
    if not worn and not carried:
        return ""
    if not worn:
        return f"{_OPENING_FOR_CARRIED} {_join(carried)}"
    openings = _OPENINGS
    if any(difference.part in ("outer", "top", "bottom") for difference in different):
        openings = _OPENINGS | _DRESSED
    opening = pick(rng, openings)
    if worn[0].startswith("no "):
        opening = "Wearing"  # "In no hat" is no English
    if carried:
        return f"{opening} {', '.join(worn)} and carrying {_join(carried)}"
    return f"{opening} {_join(worn)}"


def _told(
    scheme: Scheme,
    part: Part,
    seen: Mapping[str, str],
    different: Sequence[Difference],
    rng: np.random.Generator,
) -> str | None:
    """The phrase of one part; None if what differs has no words."""
    kind, color = scheme.kind(part.name), scheme.color(part.name)
    main = next((d for d in different if d.attribute in (kind, color)), different[0])
    if NONE in (seen.get(kind), seen.get(color) if not kind else None):
        # A dress leaves no trousers: what it replaces is not told as missing.
        gone = main.before if main.attribute == kind else part.noun
        return None if part.name in ("top", "bottom") or gone == NONE else f"no {gone}"
    details = [d.attribute for d in different if not d.attribute.endswith("_side")]
    if not details or (kind and kind not in seen and color not in seen):
        return None
    noun = pick(rng, _plain(seen[kind], kind_words(seen[kind]))) if kind in seen else part.noun
    before, after = _details(scheme, part.name, seen, details, noun, rng)
    text = " ".join(filter(None, (*before, _color(part.name, seen, rng), *after, noun)))
    if noun in _MASS:
        return text
    if noun.endswith("s") and not noun.endswith("ss"):
        is_pair = part.name in ("bottom", "shoes") and chance(rng, _PAIR)
        return f"a pair of {text}" if is_pair else text
    return article(text)


def _details(
    scheme: Scheme,
    part: str,
    seen: Mapping[str, str],
    different: Sequence[str],
    noun: str,
    rng: np.random.Generator,
) -> tuple[list[str], list[str]]:
    """Adjectives before and after the colour: "long sleeved red striped shirt".

    A pattern is told wherever there is one, another detail where it differs.
    """
    before, after = [], []
    for name in scheme.of(part):
        value = seen.get(name, NONE)
        if name == scheme.kind(part) or value == NONE or name.endswith(("color", "color2", "side")):
            continue
        has_pattern = name.endswith("_pattern") and value != "plain"
        if (has_pattern or name in different) and not set(value.split()) & set(noun.split()):
            (after if has_pattern else before).append(pick(rng, detail_words(name, value)))
    return before, after


def _color(part: str, seen: Mapping[str, str], rng: np.random.Generator) -> str:
    """The colour, or both colours of a pattern."""
    names = (f"{part}_color", f"{part}_color2")
    colors = [seen[name] for name in names if seen.get(name, NONE) != NONE]
    if len(colors) == 1:
        return pick(rng, _plain(colors[0], COLOR_WORDS.get(colors[0], {})))
    return " and ".join(colors)


def _plain(value: str, words: Mapping[str, float]) -> dict[str, float]:
    """The synonyms that say no more than the value: "knee length skirt" may be false elsewhere."""
    plain = {word: weight for word, weight in words.items() if " " not in word and "-" not in word}
    plain.pop("something", None)
    return {value: max(words.get(value, 1.0), 1.0)} | plain


def _join(texts: Sequence[str]) -> str:
    """Returns "a, b and c"."""
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
