"""One person of synthpedes, drawn as often as people describe such a person."""

import numpy as np

from jaxreid.data.synthpedes.attributes import SLEEVES, VALUES, colors_close

# Shares of the values, in parts of any sum. Colours, clothes, bags and hair follow how often the
# captions of CUHK-PEDES name them, the split by gender is ours.
_TOP_COLORS = {
    "white": 22, "black": 19, "gray": 11, "blue": 9, "red": 8, "pink": 5, "green": 5, "navy": 4,
    "light blue": 4, "yellow": 4, "beige": 3, "purple": 3, "orange": 2, "brown": 2, "maroon": 2,
    "olive": 2,
}  # fmt: skip
_OUTER_COLORS = {
    "black": 34, "gray": 13, "navy": 9, "blue": 8, "brown": 7, "white": 6, "beige": 6, "red": 5,
    "green": 3, "olive": 3, "pink": 2, "maroon": 2, "purple": 1, "orange": 1, "yellow": 1,
    "light blue": 2,
}  # fmt: skip
_BOTTOM_COLORS = {
    "black": 36, "gray": 13, "navy": 9, "blue": 9, "beige": 9, "white": 8, "brown": 6, "olive": 2,
    "light blue": 2, "red": 2, "green": 2, "pink": 2, "maroon": 1, "purple": 1, "yellow": 1,
    "orange": 1,
}  # fmt: skip
_JEANS_COLORS = {"blue": 55, "navy": 20, "light blue": 11, "black": 9, "gray": 5}
_SHOES_COLORS = {
    "black": 44, "white": 26, "brown": 10, "gray": 7, "red": 2, "blue": 2, "navy": 2, "beige": 3,
    "pink": 1, "green": 1, "yellow": 1, "orange": 1, "purple": 0.5, "maroon": 0.5, "olive": 0.5,
    "light blue": 0.5,
}  # fmt: skip
_BAG_COLORS = {
    "black": 42, "brown": 11, "white": 8, "red": 7, "blue": 6, "gray": 6, "beige": 4, "navy": 4,
    "pink": 3, "green": 3, "purple": 2, "yellow": 2, "orange": 2, "olive": 2, "maroon": 2,
}  # fmt: skip
_HAT_COLORS = {"black": 35, "white": 17, "red": 10, "blue": 9, "beige": 8, "gray": 8, "navy": 8,
               "green": 3, "pink": 2, "brown": 3}  # fmt: skip
_SCARF_COLORS = {"red": 20, "gray": 16, "black": 15, "white": 12, "beige": 9, "blue": 8,
                 "green": 6, "pink": 6, "yellow": 4, "purple": 4}  # fmt: skip

_TOPS = {
    "man": {"t-shirt": 37, "shirt": 34, "polo": 10, "sweater": 8, "hoodie": 7, "tank top": 4},
    "woman": {"t-shirt": 27, "shirt": 20, "blouse": 13, "dress": 15, "sweater": 9, "tank top": 8,
              "polo": 3, "hoodie": 5},
}  # fmt: skip
_PATTERNS = {"plain": 70, "striped": 10, "graphic": 9, "plaid": 5, "dotted": 3, "floral": 3}
_OUTERS = {
    "man": {"none": 74, "jacket": 16, "coat": 3, "vest": 2, "cardigan": 1, "blazer": 4},
    "woman": {"none": 76, "jacket": 11, "coat": 4, "vest": 1, "cardigan": 6, "blazer": 2},
}
_BOTTOMS = {
    "man": {"pants": 53, "shorts": 25, "jeans": 22},
    "woman": {"pants": 34, "shorts": 21, "jeans": 20, "skirt": 16, "leggings": 9},
}
_SHOES = {
    "man": {"sneakers": 42, "shoes": 46, "sandals": 8, "boots": 4},
    "woman": {"sneakers": 33, "shoes": 33, "sandals": 16, "boots": 8, "heels": 10},
}
_BAGS = {
    "man": {"none": 60, "backpack": 22, "shoulder bag": 9, "handbag": 2, "shopping bag": 4,
            "suitcase": 3},
    "woman": {"none": 46, "backpack": 13, "shoulder bag": 17, "handbag": 17, "shopping bag": 5,
              "suitcase": 2},
}  # fmt: skip
_LENGTHS = {
    "man": {"bald": 5, "short": 86, "medium": 7, "long": 2},
    "woman": {"short": 16, "medium": 34, "long": 50},
}
_STYLES = {
    "man": {"straight": 85, "curly": 13, "ponytail": 2},
    "woman": {"straight": 50, "curly": 18, "ponytail": 21, "bun": 11},
}
_SIDES = {"left": 1, "right": 1}


def sample_person(rng: np.random.Generator) -> dict[str, str]:
    """Returns a person, every attribute of VALUES, without `conflicts`.

    Args:
      rng: the only source of chance.
    """
    gender = pick(rng, {"man": 54, "woman": 46})
    person = {
        "gender": gender,
        "skin": pick(rng, {"light": 50, "tan": 28, "brown": 14, "dark": 8}),
        "build": pick(rng, {"slim": 35, "average": 50, "heavy": 15}),
        "height": pick(rng, {"short": 25, "average": 50, "tall": 25}),
        **_sample_head(rng, gender),
        **_sample_clothes(rng, gender),
        **_sample_carried(rng, gender),
    }
    return {attribute: person[attribute] for attribute in VALUES}


def _sample_head(rng: np.random.Generator, gender: str) -> dict[str, str]:
    length = pick(rng, _LENGTHS[gender])
    styles = _STYLES[gender]
    if length == "short":
        styles = {"straight": styles["straight"], "curly": styles["curly"]}
    hat = pick(rng, {"none": 93, "cap": 4, "hat": 2, "beanie": 1})
    bald = length == "bald"
    colors = {"black": 58, "brown": 23, "blonde": 10, "gray": 5, "red": 4}
    return {
        "hair_length": length,
        "hair_style": "none" if bald else pick(rng, styles),
        "hair_color": "none" if bald else pick(rng, colors),
        "glasses": pick(rng, {"none": 88, "glasses": 9, "sunglasses": 3}),
        "beard": pick(rng, {"none": 88, "beard": 12}) if gender == "man" else "none",
        "hat_type": hat,
        "hat_color": "none" if hat == "none" else pick(rng, _HAT_COLORS),
    }


def _sample_clothes(rng: np.random.Generator, gender: str) -> dict[str, str]:
    top = pick(rng, _TOPS[gender])
    color = pick(rng, _TOP_COLORS)
    pattern = pick(rng, _PATTERNS)
    second = {c: share for c, share in _TOP_COLORS.items() if not colors_close(color, c)}
    outer = pick(rng, _OUTERS[gender])
    if outer == "none":
        outer_open = "none"
    else:
        outer_open = "open" if top == "dress" else pick(rng, {"open": 45, "closed": 55})
    bottom = "none" if top == "dress" else pick(rng, _BOTTOMS[gender])
    sleeves = SLEEVES[top]
    if top in ("t-shirt", "shirt"):
        sleeves = (*sleeves, "short" if top == "t-shirt" else "long")
    return {
        "top_type": top,
        "top_color": color,
        "top_pattern": pattern,
        "top_color2": "none" if pattern == "plain" else pick(rng, second),
        "sleeves": sleeves[rng.integers(len(sleeves))],
        "outer_type": outer,
        "outer_color": "none" if outer == "none" else pick(rng, _OUTER_COLORS),
        "outer_open": outer_open,
        "bottom_type": bottom,
        "bottom_color": _bottom_color(rng, bottom),
        "shoes_type": pick(rng, _SHOES[gender]),
        "shoes_color": pick(rng, _SHOES_COLORS),
        "scarf_color": pick(rng, _SCARF_COLORS) if rng.random() < 0.03 else "none",
    }


def _bottom_color(rng: np.random.Generator, bottom: str) -> str:
    if bottom == "none":
        return "none"
    return pick(rng, _JEANS_COLORS if bottom == "jeans" else _BOTTOM_COLORS)


def _sample_carried(rng: np.random.Generator, gender: str) -> dict[str, str]:
    bag = pick(rng, _BAGS[gender])
    bag_side = {"none": "none", "backpack": "back"}.get(bag) or pick(rng, _SIDES)
    held = pick(
        rng,
        {"none": 84, "phone": 5, "umbrella": 3, "book": 2, "bottle": 2, "cup": 2, "papers": 2},
    )
    free = {side: 1 for side in _SIDES if side != bag_side}
    return {
        "bag_type": bag,
        "bag_color": "none" if bag == "none" else pick(rng, _BAG_COLORS),
        "bag_side": bag_side,
        "held": held,
        "held_side": "none" if held == "none" else pick(rng, free),
    }


def pick(rng: np.random.Generator, shares: dict[str, float]) -> str:
    """Draws a key with probability in proportion to its value."""
    left = rng.random() * sum(shares.values())
    for value, share in shares.items():
        left -= share
        if left < 0:
            return value
    return value  # left is 0 by rounding
