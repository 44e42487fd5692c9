"""Draws the shoes of a synthpedes person."""

from jaxreid.data.synthpedes.brush import Brush
from jaxreid.data.synthpedes.figure import Figure, between
from jaxreid.data.synthpedes.palette import Rgb, edge, shade
from jaxreid.data.synthpedes.pose import Point

_SOLE = (70, 66, 64)
_WHITE_SOLE = (232, 232, 228)


def draw_shoe(brush: Brush, figure: Figure, side: str) -> None:
    """Draws the shoe at the end of a leg."""
    ankle, kind = figure.joints.legs[side][2], figure.person["shoes_type"]
    rgb, skin = figure.colors["shoes"], figure.colors["skin"]
    if side == "far":
        rgb, skin = shade(rgb, 0.85), shade(skin, 0.85)
    if kind == "boots":
        knee = figure.joints.legs[side][1]
        top = between(ankle, knee, 0.48)
        wide = 0.064 * figure.body.limb
        brush.limb(top, ankle, (wide * 1.15, wide), rgb)
        brush.oval(top, (wide * 0.55, 0.01), edge(rgb))
    if figure.facing:
        _shoe_ahead(brush, ankle, kind, rgb, skin)
    else:
        _shoe_aside(brush, ankle, kind, rgb, skin)


def _shoe_ahead(brush: Brush, ankle: Point, kind: str, rgb: Rgb, skin: Rgb) -> None:
    """A shoe seen from the front or the back."""
    x, y = ankle[0], ankle[1] + 0.02
    if kind == "sandals":
        brush.oval((x, y + 0.008), (0.03, 0.026), skin)
        for strap in (-0.01, 0.014):
            brush.line([(x - 0.032, y + strap), (x + 0.032, y + strap)], rgb, 0.013)
        brush.line([(x - 0.032, y + 0.03), (x + 0.032, y + 0.03)], rgb, 0.012)
    elif kind == "heels":
        brush.oval((x, y - 0.012), (0.018, 0.02), skin)
        shoe = [(x - 0.028, y - 0.008), (x, y + 0.006), (x + 0.028, y - 0.008), (x, y + 0.04)]
        brush.shape(shoe, rgb)
    else:
        high = 0.03 if kind == "shoes" else 0.036
        brush.oval((x, y + 0.004), (0.034, high), rgb)
        if kind == "sneakers":
            sole = _WHITE_SOLE if sum(rgb) < 600 else shade(rgb, 0.6)
            brush.line([(x - 0.034, y + 0.03), (x + 0.034, y + 0.03)], sole, 0.018)
            brush.line([(x - 0.014, y - 0.004), (x + 0.014, y - 0.004)], sole, 0.01)
        else:
            sole = _SOLE if sum(rgb) > 160 else (0, 0, 0)
            brush.line([(x - 0.032, y + 0.03), (x + 0.032, y + 0.03)], sole, 0.01)


def _shoe_aside(brush: Brush, ankle: Point, kind: str, rgb: Rgb, skin: Rgb) -> None:
    """A shoe seen from a side; x > 0 is where the toes are."""
    x, y = ankle[0], ankle[1] + 0.038
    heel, toe = x - 0.034, x + 0.088
    if kind == "sandals":
        foot = [
            (heel, y),
            (heel + 0.012, y - 0.04),
            (x + 0.025, y - 0.036),
            (toe, y - 0.012),
            (toe, y),
        ]
        brush.fill(foot, skin)
        brush.line([(heel, y), (toe, y)], rgb, 0.018)
        brush.line([(x - 0.03, y - 0.034), (x + 0.03, y - 0.034)], rgb, 0.014)
        brush.line([(x + 0.035, y - 0.034), (x + 0.055, y)], rgb, 0.016)
        return
    if kind == "heels":
        brush.line([(heel + 0.012, y - 0.03), (heel + 0.008, y + 0.006)], rgb, 0.013)
        shoe = [
            (heel, y - 0.045),
            (heel + 0.02, y - 0.022),
            (x + 0.03, y + 0.004),
            (toe, y + 0.004),
        ]
        brush.shape([*shoe, (x + 0.05, y - 0.018), (x + 0.02, y - 0.026), (x, y - 0.05)], rgb)
        return
    high = 0.048 if kind == "shoes" else 0.056
    brush.shape(
        [(heel, y), (heel, y - high), (x + 0.022, y - high), (toe - 0.02, y - 0.026), (toe, y)], rgb
    )
    if kind == "sneakers":
        sole = _WHITE_SOLE if sum(rgb) < 600 else shade(rgb, 0.6)
        brush.line([(heel, y - 0.004), (toe, y - 0.004)], sole, 0.02)
        brush.line([(x + 0.01, y - 0.034), (x + 0.035, y - 0.024)], sole, 0.01)
    else:
        brush.line([(heel, y), (toe, y)], _SOLE if sum(rgb) > 160 else (0, 0, 0), 0.011)
