"""Draws the head of a synthpedes person: face, hair, glasses, beard, hat, and the scarf."""

from math import cos, pi, sin

from jaxreid.data.synthpedes.brush import Brush
from jaxreid.data.synthpedes.figure import Figure
from jaxreid.data.synthpedes.palette import Rgb, edge, shade
from jaxreid.data.synthpedes.pose import Point

_EYE = (34, 28, 28)
_DARK_LENS = (16, 16, 20)
_LENS = (206, 226, 236)
_LIPS = (186, 54, 66)
_HAIR_END = {"medium": 0.2, "long": 0.33}  # y of the tips


def draw_back_hair(brush: Brush, figure: Figure) -> None:
    """Draws what hangs behind the neck and the trunk, so it must come before them."""
    length, style = figure.person["hair_length"], figure.person["hair_style"]
    if length not in _HAIR_END or style in ("ponytail", "bun") or figure.view == "back":
        return
    end, rgb = _HAIR_END[length], shade(figure.colors["hair"], 0.9)
    if figure.view == "front":
        outline = [(-0.062, 0.07), (0.062, 0.07), (0.078, end), (-0.078, end)]
    else:
        outline = [(-0.065, 0.06), (0.0, 0.06), (-0.01, end * 0.9), (-0.04, end), (-0.085, end)]
    _lock(brush, figure, outline, rgb)


def draw_head(brush: Brush, figure: Figure) -> None:
    """Draws neck, head, hair and scarf; the trunk and what is worn on it must be there."""
    skin, view, size = figure.colors["skin"], figure.view, figure.body.head
    face = (0.048 * size, 0.062 * size) if figure.facing else (0.052 * size, 0.062 * size)
    neck = 0.026 if figure.person["gender"] == "woman" else 0.032
    brush.fill([(-neck, 0.12), (neck, 0.12), (neck * 1.1, 0.168), (-neck * 1.1, 0.168)],
               shade(skin, 0.85))  # fmt: skip
    center = (0.0 if figure.facing else 0.012, 0.082)
    if figure.facing:
        for sign in (-1, 1):
            brush.oval((sign * face[0], 0.086), (0.01, 0.016), shade(skin, 0.88))
    brush.oval(center, face, skin)
    if view == "front":
        _face(brush, figure)
    elif view != "back":
        _profile(brush, figure)
    if _hair_shows(figure):
        _hair(brush, figure, size)
    if figure.person["scarf_color"] != "none":
        _scarf(brush, figure)
    if view == "back":
        _hair_on_back(brush, figure)
    elif figure.person["hair_style"] == "ponytail" and view != "front":
        end = 0.2 if figure.person["hair_length"] == "medium" else 0.29
        tail = [(-0.035, 0.045), (-0.075, 0.06), (-0.105, end * 0.75), (-0.085, end), (-0.06, 0.1)]
        _lock(brush, figure, tail, figure.colors["hair"])
    if figure.person["hat_type"] == "none":
        if figure.person["hair_style"] == "bun":
            x = 0.0 if figure.facing else -0.025
            brush.oval((x, 0.005), (0.03, 0.026), edge(figure.colors["hair"]))
            brush.oval((x, 0.004), (0.026, 0.022), figure.colors["hair"])
    else:
        _hat(brush, figure, size)


def _hair_shows(figure: Figure) -> bool:
    """False for a bald head and for short hair that a beanie covers."""
    length = figure.person["hair_length"]
    return length != "bald" and not (length == "short" and figure.person["hat_type"] == "beanie")


def _face(brush: Brush, figure: Figure) -> None:
    person, skin = figure.person, figure.colors["skin"]
    if person["beard"] == "beard":
        _beard(brush, figure)
    for sign in (-1, 1):
        eye = (sign * 0.02, 0.08)
        if person["glasses"] == "none":
            brush.oval(eye, (0.008, 0.007), _EYE)
        else:
            brush.oval(eye, (0.021, 0.018), _DARK_LENS)
            if person["glasses"] == "glasses":
                brush.oval(eye, (0.013, 0.01), _LENS)
    if person["glasses"] != "none":
        brush.line([(-0.05, 0.076), (0.05, 0.076)], _DARK_LENS, 0.006)
    brush.line([(0, 0.088), (0.004, 0.101)], shade(skin, 0.75), 0.006)
    lips = _LIPS if person["gender"] == "woman" else shade(skin, 0.62)
    brush.line([(-0.014, 0.12), (0.014, 0.12)], lips, 0.009)


def _profile(brush: Brush, figure: Figure) -> None:
    person, skin = figure.person, figure.colors["skin"]
    brush.fill([(0.056, 0.075), (0.076, 0.1), (0.058, 0.104)], skin)  # nose
    if person["beard"] == "beard":
        _beard(brush, figure)
    if person["glasses"] == "none":
        brush.oval((0.046, 0.08), (0.007, 0.008), _EYE)
    else:
        brush.line([(-0.01, 0.078), (0.05, 0.078)], _DARK_LENS, 0.009)
        brush.oval((0.05, 0.081), (0.017, 0.018), _DARK_LENS)
        if person["glasses"] == "glasses":
            brush.oval((0.05, 0.081), (0.01, 0.01), _LENS)
    lips = _LIPS if person["gender"] == "woman" else shade(skin, 0.62)
    brush.line([(0.044, 0.12), (0.058, 0.119)], lips, 0.009)


def _beard(brush: Brush, figure: Figure) -> None:
    rgb = figure.colors["hair"]
    if figure.view == "front":
        outline = [(-0.049, 0.088), (-0.03, 0.106), (0.03, 0.106), (0.049, 0.088), (0.042, 0.128)]
        brush.fill([*outline, (0.02, 0.152), (-0.02, 0.152), (-0.042, 0.128)], rgb)
    else:
        outline = [(0.0, 0.085), (0.02, 0.108), (0.062, 0.108), (0.06, 0.135), (0.04, 0.152)]
        brush.fill([*outline, (0.005, 0.13)], rgb)


def _hair(brush: Brush, figure: Figure, size: float) -> None:
    """The hair on the head itself, down to the ears."""
    person, rgb = figure.person, figure.colors["hair"]
    flat = person["hair_length"] == "short" and person["hat_type"] != "none"
    curly = person["hair_style"] == "curly" and not flat  # a hat presses short curls down
    if figure.view == "back":
        brush.oval((0, 0.074), (0.056 * size, 0.072 * size), rgb)
        if curly:
            _curls(brush, (0, 0.07), (0.054 * size, 0.066 * size), (0, 2 * pi), rgb)
        else:
            brush.line([(0, 0.02), (0, 0.1)], edge(rgb), 0.005)
        return
    if figure.view == "front":
        down = 0.1 if person["hair_length"] in _HAIR_END else 0.075
        if person["hair_style"] in ("ponytail", "bun"):
            down = 0.07
        outline = _arc((0, 0.07), (0.056 * size, 0.07 * size), (pi, 2 * pi))
        hairline = [(0.054, down), (0.044, 0.07), (0.03, 0.042), (-0.012, 0.036)]
        brush.fill([*outline, *hairline, (-0.044, 0.07), (-0.054, down)], rgb)
        if curly:
            _curls(brush, (0, 0.066), (0.054 * size, 0.062 * size), (pi * 0.95, pi * 2.05), rgb)
        elif person["hair_length"] in _HAIR_END and person["hair_style"] == "straight":
            end = 0.15 if person["hair_length"] == "medium" else 0.27
            for sign in (-1, 1):  # strands before the shoulders
                brush.fill(
                    [(sign * 0.04, 0.05), (sign * 0.058, 0.07), (sign * 0.075, end),
                     (sign * 0.046, end), (sign * 0.045, 0.1)], rgb
                )  # fmt: skip
        return
    outline = _arc((0.004, 0.07), (0.06 * size, 0.07 * size), (pi * 0.95, pi * 1.9))
    low = 0.118 if person["hair_style"] in ("straight", "curly") else 0.1
    brush.fill([*outline, (0.03, 0.045), (0.012, 0.06), (0.004, 0.095), (-0.03, low),
                (-0.052, low)], rgb)  # fmt: skip
    if curly:
        _curls(brush, (0.0, 0.068), (0.056 * size, 0.064 * size), (pi * 0.8, pi * 1.85), rgb)


def _hair_on_back(brush: Brush, figure: Figure) -> None:
    """Hair that falls on the back, over everything worn there."""
    person, rgb = figure.person, figure.colors["hair"]
    if person["hair_length"] not in _HAIR_END or person["hair_style"] == "bun":
        return
    end = _HAIR_END[person["hair_length"]]
    if person["hair_style"] == "ponytail":
        tail = [(-0.012, 0.05), (0.012, 0.05), (0.03, end * 0.7), (0.014, end), (-0.014, end)]
        _lock(brush, figure, [*tail, (-0.03, end * 0.7)], shade(rgb, 1.12))
        brush.line([(-0.018, 0.058), (0.018, 0.058)], (214, 60, 80), 0.012)
    else:
        _lock(brush, figure, [(-0.055, 0.07), (0.055, 0.07), (0.072, end), (-0.072, end)], rgb)


def _lock(brush: Brush, figure: Figure, outline: list[Point], rgb: Rgb) -> None:
    """A mass of hair; curly hair gets a wavy rim."""
    brush.shape(outline, rgb)
    if figure.person["hair_style"] == "curly":
        for (x0, y0), (x1, y1) in zip(outline, [*outline[1:], outline[0]], strict=True):
            steps = max(1, round((abs(x1 - x0) + abs(y1 - y0)) / 0.035))
            for i in range(steps):
                at = (x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps)
                brush.oval(at, (0.02, 0.019), rgb)


def _curls(brush: Brush, center: Point, radii: Point, turn: Point, rgb: Rgb) -> None:
    for x, y in _arc(center, radii, turn):
        brush.oval((x, y), (0.019, 0.018), rgb)
        brush.oval((x * 0.9 + center[0] * 0.1, y), (0.006, 0.005), edge(rgb))


def _hat(brush: Brush, figure: Figure, size: float) -> None:
    kind, rgb, view = figure.person["hat_type"], figure.colors["hat"], figure.view
    x = 0.0 if figure.facing else 0.006
    wide = 0.06 * size
    if kind == "hat":
        crown = [(x - wide * 0.95, 0.045), (x - wide * 0.8, -0.018), (x + wide * 0.8, -0.018)]
        brush.shape([*crown, (x + wide * 0.95, 0.045)], rgb)
        brush.line([(x - wide * 0.92, 0.032), (x + wide * 0.92, 0.032)], edge(rgb), 0.014)
        brush.oval((x, 0.05), (0.108, 0.014), edge(rgb))
        brush.oval((x, 0.048), (0.105, 0.011), rgb)
        return
    low = 0.05 if kind == "cap" else 0.062
    brush.shape(_arc((x, low), (wide, low + 0.012), (pi, 2 * pi)), rgb)
    if kind == "beanie":
        brush.box(x - wide * 1.04, low - 0.022, x + wide * 1.04, low + 0.012, shade(rgb, 0.82))
        brush.oval((x, -0.012), (0.02, 0.018), shade(rgb, 1.2))
    elif view == "front":
        brush.shape(
            [(-wide, low - 0.006), (wide, low - 0.006), (wide * 0.8, low + 0.016),
             (-wide * 0.8, low + 0.016)], shade(rgb, 0.75)
        )  # fmt: skip
    elif view == "back":
        brush.oval((0, low - 0.002), (0.018, 0.012), edge(rgb))
    else:
        brush.shape(
            [(0.03, low - 0.016), (0.12, low + 0.004), (0.12, low + 0.012), (0.03, low + 0.004)],
            shade(rgb, 0.75),
        )


def _scarf(brush: Brush, figure: Figure) -> None:
    rgb = figure.colors["scarf"]
    half = 0.062 if figure.facing else 0.058
    wrap = [(-half, 0.138), (half, 0.138), (half * 1.25, 0.185), (-half * 1.25, 0.185)]
    brush.shape(wrap, rgb)
    brush.line([(-half, 0.16), (half, 0.163)], edge(rgb), 0.006)
    x = -0.03 if figure.view != "back" else 0.02
    if not figure.facing:
        x = 0.012
    brush.shape([(x, 0.18), (x + 0.045, 0.18), (x + 0.05, 0.33), (x + 0.005, 0.33)], rgb)
    brush.line([(x + 0.005, 0.315), (x + 0.048, 0.315)], edge(rgb), 0.006)


def _arc(center: Point, radii: Point, turn: Point) -> list[Point]:
    """Nine points of an ellipse between two angles; pi to 2 pi is its upper half."""
    steps = [turn[0] + (turn[1] - turn[0]) * i / 8 for i in range(9)]
    return [(center[0] + radii[0] * cos(a), center[1] + radii[1] * sin(a)) for a in steps]
