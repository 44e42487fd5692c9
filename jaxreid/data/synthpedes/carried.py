"""Draws what a synthpedes person carries: bags, and things held in a hand."""

from jaxreid.data.synthpedes.brush import Brush
from jaxreid.data.synthpedes.figure import Figure
from jaxreid.data.synthpedes.palette import edge, shade
from jaxreid.data.synthpedes.pose import Point

_METAL = (150, 152, 156)
_PAPER = (246, 246, 242)


def draw_straps(brush: Brush, figure: Figure) -> None:
    """Draws the straps over the trunk and a backpack's body; the arms come over them."""
    bag, rgb = figure.person["bag_type"], figure.colors["bag"]
    if bag == "backpack":
        _backpack(brush, figure)
    elif bag == "shoulder bag" and figure.facing:
        x = figure.body.hip + 0.02
        if figure.person["bag_side"] == "right":
            x = -x
        sign = 1 if x > 0 else -1
        brush.line([(-sign * 0.06, 0.172), (x, 0.43)], edge(rgb), 0.022)
        brush.line([(-sign * 0.06, 0.172), (x, 0.43)], rgb, 0.016)


def draw_bag(brush: Brush, figure: Figure) -> None:
    """Draws a bag that hangs from a shoulder or a hand, over the arm; not a backpack."""
    person, rgb = figure.person, figure.colors["bag"]
    bag, side = person["bag_type"], person["bag_side"]
    if bag in ("none", "backpack") or (not figure.facing and side != figure.view):
        return
    if figure.facing:
        sign = 1 if side == "left" else -1
        hand = figure.joints.arms[side][2]
        hip = (sign * (figure.body.hip + 0.025), 0.44)
    else:
        sign = -1
        hand = figure.joints.arms["near"][2]
        hip = (-0.02, 0.44)
    if bag == "shoulder bag":
        if not figure.facing:
            brush.line([(0.0, 0.185), hip], rgb, 0.016)
        _satchel(brush, hip, figure)
    elif bag == "handbag":
        _handles(brush, hand, 0.035, 0.05, figure)
        x, y = hand[0], hand[1] + 0.05
        brush.shape(
            [(x - 0.05, y), (x + 0.05, y), (x + 0.066, y + 0.088), (x - 0.066, y + 0.088)], rgb
        )
        brush.line([(x - 0.05, y + 0.024), (x + 0.05, y + 0.024)], edge(rgb), 0.007)
        brush.oval((x, y + 0.03), (0.011, 0.011), (220, 190, 90))
    elif bag == "shopping bag":
        _handles(brush, hand, 0.03, 0.04, figure)
        x, y = hand[0], hand[1] + 0.038
        brush.shape(
            [(x - 0.058, y), (x + 0.058, y), (x + 0.058, y + 0.155), (x - 0.058, y + 0.155)], rgb
        )
        logo = shade(rgb, 0.45) if sum(rgb) > 380 else shade(rgb, 1.6)
        brush.oval((x, y + 0.078), (0.03, 0.032), logo)
    else:
        x = hand[0] + sign * (0.03 if figure.facing else 0.13)
        _suitcase(brush, (x, 0.76), hand, figure)


def draw_held(brush: Brush, figure: Figure) -> None:
    """Draws the thing in a hand, where the camera sees that hand."""
    thing, side = figure.person["held"], figure.person["held_side"]
    if thing == "none" or (not figure.facing and side != figure.view):
        return
    if figure.view == "back" and thing != "umbrella":
        return
    arm = figure.joints.arms[side if figure.facing else "near"]
    x, y = arm[2]
    if thing == "phone":
        brush.box(x - 0.024, y - 0.062, x + 0.024, y + 0.02, (24, 24, 28))
        brush.fill([(x - 0.016, y - 0.052), (x + 0.016, y - 0.052), (x + 0.016, y + 0.006),
                    (x - 0.016, y + 0.006)], (120, 214, 255))  # fmt: skip
    elif thing == "book":
        brush.box(x - 0.046, y - 0.085, x + 0.046, y + 0.03, (150, 44, 40))
        brush.line([(x - 0.04, y - 0.08), (x - 0.04, y + 0.025)], _PAPER, 0.012)
        brush.line([(x - 0.015, y - 0.05), (x + 0.032, y - 0.05)], (240, 204, 96), 0.014)
    elif thing == "bottle":
        brush.box(x - 0.02, y - 0.07, x + 0.02, y + 0.045, (92, 190, 210))
        brush.box(x - 0.01, y - 0.098, x + 0.01, y - 0.068, (30, 90, 170))
        brush.line([(x - 0.018, y - 0.02), (x + 0.018, y - 0.02)], _PAPER, 0.03)
    elif thing == "cup":
        brush.shape([(x - 0.032, y - 0.062), (x + 0.032, y - 0.062), (x + 0.022, y + 0.022),
                     (x - 0.022, y + 0.022)], _PAPER)  # fmt: skip
        brush.fill([(x - 0.029, y - 0.036), (x + 0.029, y - 0.036), (x + 0.025, y),
                    (x - 0.025, y)], (150, 100, 56))  # fmt: skip
        brush.line([(x - 0.034, y - 0.064), (x + 0.034, y - 0.064)], (60, 40, 30), 0.012)
    elif thing == "papers":
        for left in (x - 0.036, x - 0.05):
            brush.shape([(left, y - 0.09), (left + 0.094, y - 0.1), (left + 0.102, y + 0.03),
                         (left + 0.006, y + 0.04)], _PAPER)  # fmt: skip
        for line in (-0.06, -0.035, -0.01):
            brush.line([(x - 0.03, y + line), (x + 0.032, y + line - 0.004)], _METAL, 0.007)
    else:
        brush.line([(x, y - 0.05), (x, y + 0.05)], (120, 84, 48), 0.016)
        brush.shape([(x - 0.03, y + 0.04), (x + 0.03, y + 0.04), (x + 0.006, y + 0.32),
                     (x - 0.006, y + 0.32)], (96, 46, 120))  # fmt: skip
        brush.line([(x, y + 0.05), (x, y + 0.3)], (150, 100, 176), 0.008)


def _backpack(brush: Brush, figure: Figure) -> None:
    rgb, dark = figure.colors["bag"], edge(figure.colors["bag"])
    if figure.view == "front":
        for sign in (-1, 1):
            brush.line([(sign * 0.062, 0.178), (sign * 0.072, 0.33)], rgb, 0.02)
        return
    if figure.view == "back":
        brush.box(-0.088, 0.185, 0.088, 0.425, rgb)
        brush.line([(-0.08, 0.26), (0.08, 0.26)], dark, 0.008)
        brush.box(-0.06, 0.315, 0.06, 0.41, shade(rgb, 0.85))
        return
    depth = figure.body.depth
    brush.box(-depth - 0.105, 0.19, -depth + 0.012, 0.425, rgb)
    brush.box(-depth - 0.125, 0.31, -depth - 0.07, 0.41, shade(rgb, 0.85))
    brush.line([(-depth * 0.4, 0.182), (depth * 0.35, 0.25), (-depth * 0.6, 0.35)], rgb, 0.018)


def _satchel(brush: Brush, corner: Point, figure: Figure) -> None:
    rgb = figure.colors["bag"]
    x, y = corner
    brush.box(x - 0.062, y - 0.012, x + 0.062, y + 0.105, rgb)
    brush.line([(x - 0.055, y + 0.045), (x + 0.055, y + 0.045)], edge(rgb), 0.008)
    brush.oval((x, y + 0.05), (0.01, 0.012), (214, 186, 90))


def _handles(brush: Brush, hand: Point, half: float, height: float, figure: Figure) -> None:
    x, y = hand
    points = [
        (x - half, y + height),
        (x - half * 0.5, y),
        (x + half * 0.5, y),
        (x + half, y + height),
    ]
    brush.line(points, edge(figure.colors["bag"]), 0.011)


def _suitcase(brush: Brush, top: Point, hand: Point, figure: Figure) -> None:
    rgb = figure.colors["bag"]
    x, y = top
    for side in (-0.02, 0.02):
        brush.line([(x + side, y), (hand[0] + side * 0.7, hand[1] + 0.01)], _METAL, 0.008)
    brush.box(x - 0.062, y, x + 0.062, 0.978, rgb)
    for rib in (-0.028, 0.0, 0.028):
        brush.line([(x + rib, y + 0.02), (x + rib, 0.955)], edge(rgb), 0.006)
    for wheel in (-0.045, 0.045):
        brush.oval((x + wheel, 0.988), (0.013, 0.012), (26, 26, 28))
