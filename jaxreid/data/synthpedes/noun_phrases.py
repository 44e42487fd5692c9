"""What can be said of one part of a look: "a black and white striped shirt", "long brown hair".

Every function takes `look`, the attributes that may be spoken of (the visible ones) and nothing
else of the person, so what the camera does not see cannot be said. It returns None if the look
lacks the part. Phrases may hold "{their}", filled with "his", "her" or "their" by the sentence.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxreid.data.synthpedes import wording
from jaxreid.data.synthpedes.person import pick
from jaxreid.data.synthpedes.wording import article, chance

Look = Mapping[str, str]  # attribute -> value, the visible attributes of a person


class Phrase(NamedTuple):
    """A noun phrase with the attributes that it speaks of."""

    text: str  # "a pair of white sneakers"
    mentions: frozenset[str]  # {"shoes_type", "shoes_color"}
    predicate: str = ""  # the same after a possessive: "sneakers are white"; "" if there is none


def top(look: Look, rng: np.random.Generator, detail: float) -> Phrase | None:
    """The shirt or dress; detail in [0, 1] is how readily sleeves and patterns are told."""
    if "top_type" not in look:
        if "top_color" not in look:
            return None
        # Only the sleeves beside a vest are seen.
        words = f"{pick(rng, wording.COLOR_WORDS[look['top_color']])} top"
        return Phrase(article(words), frozenset({"top_color"}))
    kind, mentions = look["top_type"], {"top_type"}
    noun = pick(rng, wording.TOP_WORDS[kind])
    if "sleeveless" in noun:
        if look.get("sleeves") == "sleeveless":
            mentions.add("sleeves")
        else:
            noun = kind
    before, after = _pattern(look, rng, mentions)
    sleeves = look.get("sleeves")
    if sleeves and "sleeve" not in noun and "tank" not in noun and chance(rng, 0.16 + 0.4 * detail):
        mentions.add("sleeves")
        if after or sleeves == "sleeveless" or chance(rng, 0.8):
            words = pick(rng, wording.SLEEVE_WORDS[sleeves])
            before = f"{words} {before}" if chance(rng, 0.3) else f"{before} {words}"
        else:
            after = f"with {sleeves} sleeves"
    return Phrase(article(" ".join(f"{before} {noun} {after}".split())), frozenset(mentions))


def outer(look: Look, rng: np.random.Generator, detail: float) -> Phrase | None:
    """The jacket, coat, vest, cardigan or blazer."""
    if look.get("outer_type", "none") == "none":
        return None
    mentions = {"outer_type"}
    noun = pick(rng, wording.OUTER_WORDS[look["outer_type"]])
    if look.get("outer_open") == "open" and chance(rng, 0.1 + 0.3 * detail):
        mentions.add("outer_open")
        noun = f"{pick(rng, {'open': 5, 'unfastened': 1})} {noun}"
    words = _with_color(_color(look, "outer_color", rng, mentions), noun, rng)
    return Phrase(article(words), frozenset(mentions))


def bottom(look: Look, rng: np.random.Generator, detail: float) -> Phrase | None:
    """Pants, jeans, leggings, shorts or a skirt."""
    if look.get("bottom_type", "none") == "none":
        return None
    noun = pick(rng, wording.BOTTOM_WORDS[look["bottom_type"]])
    return _colored(look, "bottom", noun, rng, pair=look["bottom_type"] != "skirt")


def shoes(look: Look, rng: np.random.Generator, detail: float) -> Phrase | None:
    """What is on the feet."""
    if "shoes_type" not in look:
        return None
    noun = pick(rng, wording.SHOES_WORDS[look["shoes_type"]])
    phrase = _colored(look, "shoes", noun, rng, pair=True)
    if " that " not in phrase.text and chance(rng, 0.04 + 0.1 * detail):
        return phrase._replace(text=f"{phrase.text} on {{their}} feet")
    return phrase


def bag(look: Look, rng: np.random.Generator, detail: float) -> Phrase | None:
    """The bag, often with where it hangs; left and right are the wearer's own."""
    kind = look.get("bag_type", "none")
    if kind == "none":
        return None
    mentions = {"bag_type"}
    noun = pick(rng, wording.BAG_WORDS[kind])
    words = _with_color(_color(look, "bag_color", rng, mentions), noun, rng)
    side = look.get("bag_side", "none")
    if side != "none" and " that " not in words and chance(rng, 0.25 + 0.5 * detail):
        mentions.add("bag_side")
        words = f"{words} {pick(rng, _bag_places(kind, side))}"
    return Phrase(article(words), frozenset(mentions))


def hat(look: Look, rng: np.random.Generator, detail: float) -> Phrase | None:
    """The cap, hat or beanie."""
    if look.get("hat_type", "none") == "none":
        return None
    mentions = {"hat_type"}
    noun = pick(rng, wording.HAT_WORDS[look["hat_type"]])
    words = _with_color(_color(look, "hat_color", rng, mentions), noun, rng)
    if " that " not in words and chance(rng, 0.25 * detail):
        words = f"{words} on {{their}} head"
    return Phrase(article(words), frozenset(mentions))


def scarf(look: Look, rng: np.random.Generator, detail: float) -> Phrase | None:
    """The scarf."""
    if look.get("scarf_color", "none") == "none":
        return None
    words = f"{pick(rng, wording.COLOR_WORDS[look['scarf_color']])} scarf"
    if chance(rng, 0.1 + 0.4 * detail):
        words = f"{words} around {{their}} neck"
    return Phrase(article(words), frozenset({"scarf_color"}))


def held(look: Look, rng: np.random.Generator, detail: float) -> Phrase | None:
    """The thing in a hand."""
    kind = look.get("held", "none")
    if kind == "none":
        return None
    mentions = {"held"}
    words = pick(rng, wording.HELD_WORDS[kind])
    side = look.get("held_side", "none")
    if side != "none" and (words == "something" or chance(rng, 0.2 + 0.5 * detail)):
        mentions.add("held_side")
        words = f"{words} in {{their}} {side} hand"
    elif words == "something" or chance(rng, 0.15 * detail):
        words = f"{words} in {{their}} hand"
    return Phrase(words, frozenset(mentions))


def glasses(look: Look, rng: np.random.Generator, detail: float) -> Phrase | None:
    """Glasses or sunglasses."""
    if look.get("glasses", "none") == "none":
        return None
    return Phrase(pick(rng, wording.GLASSES_WORDS[look["glasses"]]), frozenset({"glasses"}))


def beard(look: Look, rng: np.random.Generator, detail: float) -> Phrase | None:
    """The beard."""
    if look.get("beard", "none") == "none":
        return None
    return Phrase(pick(rng, wording.BEARD_WORDS), frozenset({"beard"}))


def skin(look: Look, rng: np.random.Generator, detail: float) -> Phrase | None:
    """The skin's tone."""
    if "skin" not in look:
        return None
    return Phrase(pick(rng, wording.SKIN_WORDS[look["skin"]]), frozenset({"skin"}))


def hair(look: Look, rng: np.random.Generator, detail: float) -> Phrase | None:
    """Length, colour and style of the hair, at least one of them; or the bald head."""
    length, color = look.get("hair_length"), look.get("hair_color", "none")
    if length == "bald":
        bald = {"a bald head": 6, "a shaved head": 3, "no hair": 1}
        return Phrase(pick(rng, bald), frozenset({"hair_length"}), "head is bald")
    style = look.get("hair_style", "none")
    mentions, words = set(), []
    if length and style != "bun" and chance(rng, 0.75):
        mentions.add("hair_length")
        words.append(pick(rng, wording.HAIR_LENGTH_WORDS[length]))
    if style in ("curly", "straight") and chance(rng, 0.6 if style == "curly" else 0.12):
        mentions.add("hair_style")
        words.append(pick(rng, {"curly": 8, "wavy": 1}) if style == "curly" else "straight")
    if color != "none" and (not words or chance(rng, 0.72)):
        mentions.add("hair_color")
        words.append(pick(rng, wording.HAIR_COLOR_WORDS[color]))
    tied = style if style in ("ponytail", "bun") and (not words or chance(rng, 0.75)) else None
    if not words and not tied:
        return None
    if tied:
        mentions.add("hair_style")
        return Phrase(_tied_hair(tied, " ".join(words), rng), frozenset(mentions))
    if len(words) == 2 and chance(rng, 0.12):
        words.reverse()
    predicate = f"hair is {' and '.join(words)}"
    text = f"{' '.join(words)} hair"
    if length == "long" and style in ("straight", "curly") and chance(rng, 0.08):
        mentions.add("hair_style")  # neither a ponytail nor a bun
        text = f"{text} {pick(rng, {'worn down': 3, 'worn loose': 2, 'hanging down': 2})}"
    return Phrase(text, frozenset(mentions), predicate)


def _tied_hair(style: str, words: str, rng: np.random.Generator) -> str:
    """A ponytail or a bun of hair described by `words`, which may be empty."""
    name = pick(rng, {"ponytail": 8, "pony tail": 2}) if style == "ponytail" else "bun"
    ways = {"in": 4, "tied in": 3, "pulled back in": 3, "put up in": 1, "tied back in": 2}
    if words and not words.endswith("colored") and chance(rng, 0.25):
        return article(f"{words} {name}")
    return f"{words or '{their}'} hair {pick(rng, ways)} a {name}"


def _bag_places(kind: str, side: str) -> dict[str, float]:
    """Where a bag of this kind is, with weights."""
    if side == "back":
        return {"on {their} back": 10, "over {their} shoulders": 2, "strapped on {their} back": 1}
    if kind in ("shoulder bag", "backpack"):
        places = {"on": 4, "over": 4, "slung over": 2, "hanging from": 1, "across": 0.5}
        return {f"{way} {{their}} {side} shoulder": weight for way, weight in places.items()}
    places = {f"in {{their}} {side} hand": 8, f"on {{their}} {side} side": 1}
    return {"by {their} side": 1, **places} if kind == "suitcase" else places


def _color(look: Look, key: str, rng: np.random.Generator, mentions: set[str]) -> str:
    """A word for the colour of a part, or "" (it is unknown, or 5 % leave it out)."""
    if look.get(key, "none") == "none" or chance(rng, 0.05):
        return ""
    mentions.add(key)
    return pick(rng, wording.COLOR_WORDS[look[key]])


def _with_color(color: str, noun: str, rng: np.random.Generator, *, plural: bool = False) -> str:
    """Noun and colour, mostly in this order: "black pants", "pants that are black"."""
    if color and chance(rng, 0.025):
        tail = "" if color.endswith("colored") or chance(rng, 0.5) else " in color"
        return f"{noun} that {'are' if plural else 'is'} {color}{tail}"
    return f"{color} {noun}".strip()


def _colored(look: Look, part: str, noun: str, rng: np.random.Generator, *, pair: bool) -> Phrase:
    """Colour and noun of the bottom or the shoes, as a pair where the noun is plural."""
    mentions = {f"{part}_type"}
    color = _color(look, f"{part}_color", rng, mentions)
    plural = pair and noun != "footwear"
    words = _with_color(color, noun, rng, plural=plural)
    if not pair:
        text = article(words)
    elif plural and chance(rng, 0.28):
        text = f"a pair of {words}"
    else:
        text = words
    verb = "are" if plural else "is"
    return Phrase(text, frozenset(mentions), f"{noun} {verb} {color}" if color else "")


def _pattern(look: Look, rng: np.random.Generator, mentions: set[str]) -> tuple[str, str]:
    """Colour and pattern of the top: the words before and the words after its noun."""
    pattern = look.get("top_pattern", "plain")
    first, second = look.get("top_color", "none"), look.get("top_color2", "none")
    if pattern == "plain" or chance(rng, 0.2):
        color = _color(look, "top_color", rng, mentions)
        if color and not color.endswith("colored") and chance(rng, 0.03):
            return "", f"that is {color}{' in color' if chance(rng, 0.5) else ''}"
        if color and "top_pattern" in look and pattern == "plain" and chance(rng, 0.03):
            mentions.add("top_pattern")
            color = f"{pick(rng, {'plain': 3, 'solid': 1})} {color}"
        return color, ""
    mentions.add("top_pattern")
    adjective = pick(rng, wording.PATTERN_ADJECTIVES[pattern])
    if first == "none" or chance(rng, 0.1):
        return adjective, ""
    mentions.add("top_color")
    if second == "none" or chance(rng, 0.2):
        return f"{pick(rng, wording.COLOR_WORDS[first])} {adjective}", ""
    mentions.add("top_color2")
    first, second = (_plain_name(color, rng) for color in (first, second))
    if pattern in ("striped", "plaid", "dotted") and chance(rng, 0.55):
        return f"{first} and {second} {adjective}", ""
    tail = pick(rng, wording.PATTERN_TAILS[pattern])
    if tail.startswith("a "):
        return first, f"with {article(tail[2:].format(color=second))}"
    return first, f"with {tail.format(color=second)}"


def _plain_name(color: str, rng: np.random.Generator) -> str:
    """The name of a colour that stands beside another one."""
    return pick(rng, wording.COLOR_NAMES.get(color, {color: 1}))
