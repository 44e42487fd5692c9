"""RGB of what a synthpedes person is made of: the named colours, a bit different per person."""

from collections.abc import Mapping

import numpy as np

Rgb = tuple[int, int, int]

_CLOTH = {
    "black": (30, 30, 34), "white": (240, 240, 236), "gray": (138, 140, 144),
    "navy": (30, 42, 98), "blue": (38, 92, 196), "light blue": (146, 196, 238),
    "red": (206, 36, 40), "maroon": (116, 24, 46), "pink": (240, 148, 182),
    "orange": (240, 132, 32), "yellow": (244, 214, 56), "green": (46, 142, 70),
    "olive": (112, 114, 46), "purple": (124, 64, 166), "brown": (112, 70, 38),
    "beige": (214, 190, 146),
}  # fmt: skip
_SKIN = {
    "light": (240, 204, 178), "tan": (216, 168, 126), "brown": (160, 108, 74), "dark": (98, 64, 46),
}  # fmt: skip
_HAIR = {
    "black": (26, 23, 24), "brown": (94, 58, 32), "blonde": (224, 188, 104), "red": (172, 74, 32),
    "gray": (168, 168, 170),
}  # fmt: skip

# Part of the drawing -> (attribute that names its colour, table).
_PARTS = {
    "skin": ("skin", _SKIN),
    "hair": ("hair_color", _HAIR),
    "top": ("top_color", _CLOTH),
    "pattern": ("top_color2", _CLOTH),
    "outer": ("outer_color", _CLOTH),
    "bottom": ("bottom_color", _CLOTH),
    "shoes": ("shoes_color", _CLOTH),
    "bag": ("bag_color", _CLOTH),
    "hat": ("hat_color", _CLOTH),
    "scarf": ("scarf_color", _CLOTH),
}
_BALD_BEARD = (70, 46, 30)  # of the beard where no hair gives its colour
_GAIN = 0.08  # half range of the brightness of one part, relative
_SHIFT = 5  # half range of each channel of one part, of 255


def palette(person: Mapping[str, str], person_seed: int) -> dict[str, Rgb]:
    """Returns part -> RGB; the same part of the same person always has the same.

    Args:
      person: attribute -> value, without `conflicts`.
      person_seed: >= 0. A part's deviation depends on it alone, not on other attributes.
    """
    rng = np.random.default_rng((person_seed, 0xC0105))
    gains = 1 + rng.uniform(-_GAIN, _GAIN, len(_PARTS))
    shifts = rng.uniform(-_SHIFT, _SHIFT, (len(_PARTS), 3))
    found = {}
    for (part, (attribute, table)), gain, shift in zip(_PARTS.items(), gains, shifts, strict=True):
        rgb = table.get(person[attribute], _BALD_BEARD)  # "none": the part is not drawn
        found[part] = tuple(
            int(min(255, max(0, c * gain + s))) for c, s in zip(rgb, shift, strict=True)
        )
    return found


def shade(rgb: Rgb, factor: float) -> Rgb:
    """Returns the colour darker (factor < 1) or, towards white, lighter (factor > 1)."""
    if factor <= 1:
        return tuple(int(c * factor) for c in rgb)
    return tuple(int(c + (255 - c) * (factor - 1)) for c in rgb)


def edge(rgb: Rgb) -> Rgb:
    """Returns the colour of outlines on `rgb`: darker, on black lighter, so always seen."""
    return shade(rgb, 0.68) if sum(rgb) > 160 else shade(rgb, 1.18)
