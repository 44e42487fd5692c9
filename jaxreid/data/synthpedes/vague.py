"""What a witness says who remembers an attribute only vaguely; every statement is true."""

from collections.abc import Mapping

import numpy as np

_DARK = ("black", "navy", "maroon", "brown", "olive")
_LIGHT = ("white", "light blue", "pink", "beige")
_BRIGHT = ("red", "orange", "yellow", "green", "blue", "purple")

_COLOR = {
    _DARK: ("Something dark.", "A dark color, I think.", "Dark, more I can't say.",
            "Some dark color, maybe."),
    _LIGHT: ("Something light.", "A light color, maybe.", "Rather light, I guess.",
             "Some light color, I think."),
    _BRIGHT: ("Something bright.", "Some bright color, I think.", "A strong color, maybe.",
              "Colorful, more I can't say."),
    ("gray",): ("Nothing colorful.", "Neither dark nor bright, I think.", "Not a real color."),
}  # fmt: skip
# Attribute -> values -> what is said of any of them.
VAGUE: Mapping[str, Mapping[tuple[str, ...], tuple[str, ...]]] = {
    "skin": {
        ("light", "tan"): ("Rather light, I think.", "Not very dark, maybe."),
        ("brown", "dark"): ("Rather dark, I think.", "Not very light, maybe."),
    },
    "build": {
        ("slim", "average"): ("Not heavy, I think.", "Nothing much to {them}, maybe."),
        ("heavy",): ("Not exactly slim, I think.",),
    },
    "hair_color": {
        ("black", "brown"): ("Something dark.", "Rather dark, I think."),
        ("blonde", "gray"): ("Something light.", "Rather light, I think."),
        ("red",): ("Not really dark, I think.", "Neither dark nor light, maybe."),
    },
    "hair_length": {
        ("bald", "short"): ("There wasn't much of it.", "Not long, I think."),
        ("medium", "long"): ("Not really short, I think.", "There was quite some of it."),
    },
    "hair_style": {
        ("ponytail", "bun"): ("Tied up somehow.", "Not loose, I think."),
        ("straight", "curly"): ("Just loose, I think.", "Not tied up, I guess."),
    },
    "glasses": {
        ("glasses", "sunglasses"): ("There was something on {their} nose, maybe.",
                                    "Some sort of glasses, I guess."),
        ("none",): ("Perhaps not.", "I don't think so, but I'm not sure."),
    },
    "beard": {
        ("beard",): ("Maybe, not sure.", "Perhaps a little."),
        ("none",): ("Perhaps not.", "I don't think so, but I'm not sure."),
    },
    "top_type": {
        ("t-shirt", "polo", "tank top", "blouse", "shirt"): (
            "Some kind of shirt or top.", "Nothing thick, just some kind of top."),
        ("sweater", "hoodie"): ("Something warm.", "Something thicker, I think."),
        ("dress",): ("Something light, in one piece maybe.",),
    },
    "top_color": _COLOR,
    "top_pattern": {
        ("striped", "plaid", "dotted", "floral", "graphic"): (
            "There was something on it.", "Not just one color, I think."),
        ("plain",): ("Nothing that caught the eye.", "I didn't notice any, maybe there was none."),
    },
    "top_color2": _COLOR,
    "sleeves": {
        ("sleeveless", "short"): ("Not long, I think.", "I think I saw {their} arms."),
        ("long",): ("Not short, I think.",),
    },
    "outer_type": {
        ("jacket", "coat", "vest", "cardigan", "blazer"): (
            "There was something over the top, I think.", "Yes, some kind of outer layer."),
        ("none",): ("Perhaps not.", "I don't think so, but I'm not sure."),
    },
    "outer_color": _COLOR,
    "outer_open": {
        ("open",): ("Not fully closed, maybe.", "Not buttoned up, I guess."),
        ("closed",): ("Not wide open, I think.",),
    },
    "bottom_type": {
        ("pants", "jeans", "leggings"): ("Something long.", "Long ones, some kind of pants."),
        ("shorts", "skirt"): ("Something short.", "I think I saw {their} legs."),
    },
    "bottom_color": _COLOR,
    "shoes_type": {
        ("sneakers", "shoes", "boots"): ("Some closed shoes.",
                                         "Something closed, nothing special."),
        ("sandals", "heels"): ("Something open, I think.", "Something light, maybe."),
    },
    "shoes_color": _COLOR,
    "bag_type": {
        ("backpack", "shoulder bag", "handbag", "shopping bag", "suitcase"): (
            "Some kind of bag, I think.", "{They} carried something, a bag maybe."),
        ("none",): ("Perhaps not.", "I don't think so, but I'm not sure."),
    },
    "bag_color": _COLOR,
    "bag_side": {
        ("left", "right"): ("At one side, I think.", "Not on {their} back."),
        ("back",): ("Somewhere behind, I guess.",),
    },
    "hat_type": {
        ("cap", "hat", "beanie"): ("There was something on {their} head.",
                                   "Some kind of hat, I think."),
        ("none",): ("Perhaps not.", "I don't think so, but I'm not sure."),
    },
    "hat_color": _COLOR,
    "scarf_color": {
        **{values: tuple(f"There was one. {text}" for text in texts)
           for values, texts in _COLOR.items()},
        ("none",): ("Perhaps not.", "I don't think so, but I'm not sure."),
    },
    "held": {
        ("phone", "umbrella", "book", "bottle", "cup", "papers"): (
            "There was something in {their} hand.", "Something, I didn't see what."),
        ("none",): ("Nothing much, I guess.", "I don't think so, but I'm not sure."),
    },
    "held_side": {
        ("left", "right"): ("In one of the two, I think.", "In one hand, not in both."),
    },
}  # fmt: skip


def vaguely(attribute: str, value: str, rng: np.random.Generator) -> str:
    """Returns what is said of a value, as a template with pronouns.

    Args:
      attribute: one of VAGUE.
      value: the true one.
      rng: the only source of chance.
    """
    for values, texts in VAGUE[attribute].items():
        if value in values:
            return texts[rng.integers(len(texts))]
    raise ValueError(f"there are no vague words for {attribute} {value!r}")
