"""Which words stand for which value of an attribute, and which of them tell two values apart."""

import functools
import re

from jaxreid.data.synthpedes import wording

_COLORS = {
    color: words | wording.COLOR_NAMES.get(color, {color: 1})
    for color, words in wording.COLOR_WORDS.items()
}
_WORDS = {
    "gender": wording.GENDER_WORDS,
    "skin": wording.SKIN_WORDS,
    "build": wording.BUILD_WORDS,
    "hair_color": wording.HAIR_COLOR_WORDS,
    "hair_length": wording.HAIR_LENGTH_WORDS,
    "glasses": wording.GLASSES_WORDS,
    "top_type": wording.TOP_WORDS,
    "top_color": _COLORS,
    "top_color2": _COLORS,
    "outer_type": wording.OUTER_WORDS,
    "outer_color": _COLORS,
    "bottom_type": wording.BOTTOM_WORDS,
    "bottom_color": _COLORS,
    "shoes_type": wording.SHOES_WORDS,
    "shoes_color": _COLORS,
    "bag_type": wording.BAG_WORDS,
    "bag_color": _COLORS,
    "hat_type": wording.HAT_WORDS,
    "hat_color": _COLORS,
    "scarf_color": _COLORS,
    "held": wording.HELD_WORDS,
}


@functools.cache
def words_for(attribute: str, value: str) -> frozenset[str]:
    """Returns the words that annotators use for a value, the vague ones too; maybe none."""
    return frozenset(_WORDS.get(attribute, {}).get(value, ()))


def tells_apart(text: str, attribute: str, told: str, truth: str) -> bool:
    """Returns whether the words of a text for `told` could not be meant for `truth`.

    Attributes without synonyms have words of their own for each value: always True.

    Args:
      text: that speaks of the attribute.
      attribute: of VALUES.
      told, truth: two of its values.
    """
    pattern = _only_for(attribute, told, truth)
    return pattern is None or pattern.search(text.lower()) is not None


@functools.cache
def _only_for(attribute: str, told: str, truth: str) -> re.Pattern | None:
    """Matches the words for one value that are none for another."""
    words = words_for(attribute, told) - words_for(attribute, truth)
    if not words:
        return None
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, sorted(words)))})(?![\w-])")
