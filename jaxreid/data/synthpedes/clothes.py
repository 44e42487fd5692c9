"""Draws the body of a synthpedes person and what is worn on it."""

from collections.abc import Mapping
from math import ceil, hypot
from typing import NamedTuple

from jaxreid.data.synthpedes.brush import Brush
from jaxreid.data.synthpedes.palette import Rgb, edge, shade
from jaxreid.data.synthpedes.pattern import texture
from jaxreid.data.synthpedes.pose import Body, Joints, Point

_SOLE = (70, 66, 64)
_WHITE_SOLE = (232, 232, 228)
_STITCHING = (196, 150, 84)


class Figure(NamedTuple):
    """All that a drawing function needs to know about the person."""

    person: Mapping[str, str]
    colors: Mapping[str, Rgb]
    body: Body
    joints: Joints
    view: str

    @property
    def facing(self) -> bool:
        """True from the front and from the back: the body is seen in full width."""
        return self.view in ("front", "back")


def trunk_outline(figure: Figure, hem: float, wider: float = 0.0) -> list[Point]:
    """Returns the outline of the trunk from the neck to y = hem, `wider` on each side."""
    body, woman = figure.body, figure.person["gender"] == "woman"
    if figure.facing:
        half = [
            (0.03, 0.158),
            (body.shoulder * 0.75 + wider, 0.18),
            (body.shoulder + wider, 0.212),
            ((body.shoulder * 0.9 + body.waist * 0.1) + wider, 0.27),
            (body.waist + wider, 0.375),
            (body.hip + wider * 1.2, 0.47),
            (body.hip * 1.02 + wider * 1.4, hem),
        ]
        half = [(x, y) for x, y in half if y <= hem]
        return [*half, *[(-x, y) for x, y in reversed(half)]]
    chest = 0.02 if woman else 0.004
    belly = 0.03 if figure.person["build"] == "heavy" else 0.0
    seat = 0.018 if woman else 0.01
    depth = body.depth
    front = [
        (0.02, 0.16),
        (depth * 0.6 + wider, 0.19),
        (depth + chest + wider, 0.265),
        (depth * 0.85 + belly + wider, 0.375),
        (depth * 0.9 + wider, hem),
    ]
    back = [
        (-depth - seat - wider, max(0.47, hem)),
        (-depth - seat - wider, 0.47),
        (-depth * 0.8 - wider, 0.37),
        (-depth * 1.05 - wider, 0.25),
        (-depth * 0.75 - wider, 0.185),
        (-0.025, 0.16),
    ]
    return [*front, *back]


def draw_leg(brush: Brush, figure: Figure, side: str) -> None:
    """Draws a leg with what is worn on it, shoe included."""
    hip, knee, ankle = figure.joints.legs[side]
    limb, bottom = figure.body.limb, figure.person["bottom_type"]
    skin, cloth = figure.colors["skin"], figure.colors["bottom"]
    if side == "far":
        skin, cloth = shade(skin, 0.85), shade(cloth, 0.8)
    thigh, calf, thin = 0.08 * limb, 0.058 * limb, 0.038 * limb
    if not figure.facing:
        thigh, calf = thigh * 1.15, calf * 1.05
    brush.limb(hip, knee, (thigh, calf), skin)
    brush.limb(knee, ankle, (calf, thin), skin)
    if bottom in ("pants", "jeans"):
        _shoe(brush, figure, side)
        cuff = (ankle[0], ankle[1] - 0.012)
        brush.limb(hip, knee, (thigh * 1.14, calf * 1.3), cloth)
        brush.limb(knee, cuff, (calf * 1.3, thin * (1.75 if bottom == "pants" else 1.55)), cloth)
        if bottom == "jeans":
            _denim(brush, (hip, knee, cuff), thigh, cloth)
        if figure.person["shoes_type"] == "boots":
            _shoe(brush, figure, side)
        return
    if bottom == "leggings":
        cuff = _between(knee, ankle, 0.86)
        brush.limb(hip, knee, (thigh * 1.03, calf * 1.05), cloth)
        brush.limb(knee, cuff, (calf * 1.05, thin * 1.1), cloth)
    elif bottom == "shorts":
        brush.limb(hip, _between(hip, knee, 0.8), (thigh * 1.25, calf * 1.65), cloth)
    _shoe(brush, figure, side)


def draw_lower_trunk(brush: Brush, figure: Figure) -> None:
    """Draws the hips, and the skirt where one is worn; the legs must be there already."""
    bottom, cloth = figure.person["bottom_type"], figure.colors["bottom"]
    if bottom == "skirt":
        _skirt(brush, figure, cloth, 0.4)
    elif bottom != "none" and not figure.facing:
        brush.oval((-0.01, 0.465), (figure.body.depth, 0.05), cloth)
    elif bottom != "none":
        outline = [(x, y) for x, y in trunk_outline(figure, 0.5) if y > 0.36]
        brush.fill(outline, cloth)
        belt = [(x, y) for x, y in trunk_outline(figure, 0.42) if y >= 0.37]
        brush.fill(belt, shade(cloth, 0.75))


def draw_top(brush: Brush, figure: Figure) -> None:
    """Draws the top on the trunk, a dress with its skirt."""
    person, cloth = figure.person, figure.colors["top"]
    kind = person["top_type"]
    hem = {"tank top": 0.45, "blouse": 0.475, "shirt": 0.485, "dress": 0.44}.get(kind, 0.465)
    loose = {"hoodie": 0.012, "sweater": 0.008, "blouse": 0.002}.get(kind, 0.0)
    if kind == "dress":
        _skirt(brush, figure, cloth, 0.4, patterned=True)
    outline = trunk_outline(figure, hem, loose)
    if kind == "blouse":  # a flared hem
        outline = [(x * 1.16, y) if y >= 0.45 else (x, y) for x, y in outline]
    brush.shape(outline, cloth)
    _pattern(brush, figure, outline)
    _shadow(brush, outline, cloth, person["top_pattern"])
    if kind == "dress":
        brush.line([(-0.075, 0.4), (0.075, 0.4)], edge(cloth), 0.012)
    if kind in ("sweater", "hoodie"):
        band = [(x, y) for x, y in outline if y >= hem - 0.012]
        brush.line([(x, y - 0.01) for x, y in band], shade(cloth, 0.7), 0.02)
    _neckline(brush, figure, kind, cloth)
    if person["top_pattern"] == "graphic" and figure.view == "front":
        _graphic(brush, figure.colors["pattern"], cloth)


def draw_outer(brush: Brush, figure: Figure) -> None:
    """Draws the outer layer on the trunk; open, it leaves a strip of the top free in front."""
    person, cloth = figure.person, figure.colors["outer"]
    kind = person["outer_type"]
    if kind == "none":
        return
    hem = {"coat": 0.64, "blazer": 0.53, "cardigan": 0.52}.get(kind, 0.48)
    wider = {"coat": 0.014, "jacket": 0.014, "vest": 0.012}.get(kind, 0.006)
    outline = trunk_outline(figure, hem, wider)
    if figure.view == "front" and person["outer_open"] == "open":
        half = [*outline[: len(outline) // 2], (0.056, hem), (0.026, 0.16)]
        brush.shape(half, cloth)
        brush.shape([(-x, y) for x, y in half], cloth)
    else:
        brush.shape(outline, cloth)
        _shadow(brush, outline, cloth, "plain")
    _outer_marks(brush, figure, kind, hem, cloth)


def draw_arm(brush: Brush, figure: Figure, side: str) -> None:
    """Draws an arm with its sleeves and the hand."""
    person, limb = figure.person, figure.body.limb
    shoulder, elbow, hand = figure.joints.arms[side]
    skin, top, outer = (figure.colors[part] for part in ("skin", "top", "outer"))
    if side == "far":
        skin, top, outer = (shade(rgb, 0.82) for rgb in (skin, top, outer))
    upper, lower = 0.05 * limb, 0.036 * limb
    brush.limb(shoulder, elbow, (upper, lower), skin)
    brush.limb(elbow, hand, (lower, lower * 0.75), skin)
    brush.oval(hand, (0.02, 0.022), skin)
    wrist = _between(elbow, hand, 0.85)
    covered = person["outer_type"] not in ("none", "vest")
    sleeves = "long" if covered else person["sleeves"]
    cloth = outer if covered else top
    if sleeves == "long":
        thick = 1.4 if covered or person["top_type"] in ("sweater", "hoodie") else 1.2
        brush.limb(shoulder, elbow, (upper * thick, lower * thick), cloth)
        brush.limb(elbow, wrist, (lower * thick, lower * thick), cloth)
        if not covered:
            _pattern(brush, figure, _strip(shoulder, elbow, upper * thick, lower * thick))
            _pattern(brush, figure, _strip(elbow, wrist, lower * thick, lower * thick))
        if not covered and person["top_type"] in ("sweater", "hoodie", "shirt"):
            brush.oval(wrist, (lower * 0.6, 0.012), shade(cloth, 0.7))
    elif sleeves == "short":
        end = _between(shoulder, elbow, 0.68)
        brush.limb(shoulder, end, (upper * 1.25, upper * 1.2), cloth)
        _pattern(brush, figure, _strip(shoulder, end, upper * 1.25, upper * 1.2))
        if person["top_type"] == "polo":
            brush.oval(end, (upper * 0.58, 0.01), shade(cloth, 0.6))


def _skirt(brush: Brush, figure: Figure, cloth: Rgb, waist: float, patterned: bool = False) -> None:
    """A flared skirt from the waist to the knees."""
    body = figure.body
    top, hem = (body.waist, body.hip * 1.45) if figure.facing else (body.depth, body.depth * 1.75)
    outline = [(-top, waist), (top, waist), (top * 1.3, 0.48), (hem, 0.68), (-hem, 0.68)]
    outline.append((-top * 1.3, 0.48))
    brush.shape(outline, cloth)
    if patterned:
        _pattern(brush, figure, outline)
    for fold in (-0.5, 0.1, 0.6):
        brush.line([(fold * hem * 0.8, 0.53), (fold * hem, 0.675)], edge(cloth), 0.004)


def _pattern(brush: Brush, figure: Figure, outline: list[Point]) -> None:
    kind = figure.person["top_pattern"]
    if kind in ("plain", "graphic"):
        return
    pixels = brush.pixels(outline)
    left, top = (int(min(p[axis] for p in pixels)) for axis in (0, 1))
    right, bottom = (ceil(max(p[axis] for p in pixels)) for axis in (0, 1))
    size = (max(1, right - left), max(1, bottom - top))
    cloth = texture(kind, size, brush.scale, figure.colors["top"], figure.colors["pattern"])
    brush.paste(outline, cloth, (left, top))


def _strip(start: Point, end: Point, first: float, last: float) -> list[Point]:
    """The sleeve's middle: patterned up to its shaded rim."""
    (x0, y0), (x1, y1) = start, end
    length = hypot(x1 - x0, y1 - y0)
    nx, ny = (y1 - y0) / length * 0.4, (x0 - x1) / length * 0.4
    a, b = first, last
    return [(x0 + nx * a, y0 + ny * a), (x1 + nx * b, y1 + ny * b),
            (x1 - nx * b, y1 - ny * b), (x0 - nx * a, y0 - ny * a)]  # fmt: skip


def _shadow(brush: Brush, outline: list[Point], cloth: Rgb, pattern: str) -> None:
    """Darkens the rim of the trunk; on patterned cloth a line, not to hide the pattern."""
    rim = [(x, y) for x, y in outline if x < -0.03]
    if pattern in ("plain", "graphic") and len(rim) > 2:
        brush.fill([*rim, *[(x * 0.72, y) for x, y in reversed(rim)]], shade(cloth, 0.86))


def _neckline(brush: Brush, figure: Figure, kind: str, cloth: Rgb) -> None:
    """What tells the kinds of tops apart: collars, hood, neckline, buttons."""
    skin, view = figure.colors["skin"], figure.view
    dark, light = shade(cloth, 0.62), shade(cloth, 1.45)
    contrast = light if sum(cloth) < 330 else dark
    if kind == "hoodie":
        if view == "back":
            brush.shape([(-0.065, 0.165), (0.065, 0.165), (0.05, 0.25), (0, 0.275), (-0.05, 0.25)],
                        shade(cloth, 0.84))  # fmt: skip
        else:
            x = 0.0 if view == "front" else -0.035
            brush.oval((x, 0.165), (0.07 if view == "front" else 0.055, 0.026), dark)
        if view == "front":
            for sign in (-1, 1):
                brush.line([(sign * 0.022, 0.185), (sign * 0.024, 0.26)], contrast, 0.007)
            pocket = [(-0.04, 0.365), (0.04, 0.365), (0.055, 0.43), (-0.055, 0.43)]
            brush.shape(pocket, shade(cloth, 0.9))
        return
    if kind in ("shirt", "polo"):
        _collar(brush, view, contrast if kind == "polo" else light)
        if view == "front":
            end = 0.47 if kind == "shirt" else 0.26
            brush.line([(0, 0.18), (0, end)], contrast, 0.008)
            for y in (0.22, 0.27, 0.32, 0.37, 0.42) if kind == "shirt" else (0.21, 0.24):
                brush.oval((0.0, y), (0.008, 0.008), contrast)
        elif kind == "shirt" and view == "back":
            brush.line([(-0.08, 0.225), (0.08, 0.225)], edge(cloth), 0.006)
        return
    if view == "back":
        drop = {"tank top": 0.05, "dress": 0.03}.get(kind, 0.006)
    else:
        drop = {"tank top": 0.07, "dress": 0.05, "blouse": 0.07, "t-shirt": 0.022}.get(kind, 0.01)
    if figure.facing:
        width = {"tank top": 0.06, "dress": 0.052, "blouse": 0.04}.get(kind, 0.036)
        point = 0.0 if kind == "blouse" else width * 0.7
        brush.fill(
            [(-width, 0.158), (width, 0.158), (point, 0.17 + drop), (-point, 0.17 + drop)], skin
        )
        if kind == "sweater":
            brush.line([(-0.036, 0.165), (0, 0.185), (0.036, 0.165)], dark, 0.016)
        if kind == "blouse" and view == "front":  # a ruffle along the neckline
            brush.line([(-width, 0.165), (0, 0.17 + drop), (width, 0.165)], light, 0.014)
    elif kind in ("tank top", "dress"):
        brush.fill([(-0.02, 0.155), (0.035, 0.155), (0.04, 0.2), (0.0, 0.2)], skin)


def _collar(brush: Brush, view: str, rgb: Rgb) -> None:
    if view == "front":
        for sign in (-1, 1):
            brush.shape(
                [(sign * 0.042, 0.152), (0, 0.182), (sign * 0.032, 0.208), (sign * 0.055, 0.17)],
                rgb,
            )
    else:
        half = 0.042 if view == "back" else 0.036
        brush.shape([(-half, 0.15), (half, 0.15), (half * 1.15, 0.176), (-half * 1.15, 0.176)], rgb)


def _graphic(brush: Brush, rgb: Rgb, cloth: Rgb) -> None:
    """A print on the chest: a disc with a bar below, large enough for small pictures."""
    brush.oval((0, 0.27), (0.05, 0.046), rgb)
    brush.oval((0.012, 0.262), (0.02, 0.018), cloth)
    brush.fill([(-0.05, 0.33), (0.05, 0.33), (0.05, 0.35), (-0.05, 0.35)], rgb)


def _outer_marks(brush: Brush, figure: Figure, kind: str, hem: float, cloth: Rgb) -> None:
    """What tells the kinds of outer layers apart."""
    view, dark = figure.view, edge(cloth)
    light = shade(cloth, 1.4) if sum(cloth) < 500 else shade(cloth, 0.5)
    closed = figure.person["outer_open"] == "closed"
    half = figure.body.waist * 0.95 if figure.facing else figure.body.depth * 0.85
    if kind == "vest" and (closed or view != "front"):
        for y in (0.24, 0.3, 0.36, 0.42):
            brush.line([(-half, y), (half, y)], dark, 0.008)
    if kind == "jacket" and (closed or view != "front"):
        brush.line([(-half, hem - 0.015), (half, hem - 0.015)], shade(cloth, 0.6), 0.024)
    if kind == "cardigan" and (closed or view != "front"):
        brush.line([(-half, hem - 0.012), (half, hem - 0.012)], light, 0.014)
    if view == "back":
        if kind in ("coat", "blazer"):
            brush.line([(0, hem - (0.16 if kind == "coat" else 0.07)), (0, hem)], dark, 0.008)
        if kind == "coat":
            brush.line([(-half, 0.385), (half, 0.385)], dark, 0.014)
        return
    if kind in ("jacket", "coat", "vest"):
        _collar(brush, view, shade(cloth, 0.8) if sum(cloth) > 160 else shade(cloth, 1.15))
    if view != "front":
        return
    if kind in ("coat", "blazer"):
        for sign in (-1, 1):  # lapels
            lapel = [(sign * 0.025, 0.162), (sign * 0.06, 0.19), (sign * 0.05, 0.24), (0, 0.32)]
            if not closed:
                lapel[-1] = (sign * 0.04, 0.33)
            brush.shape(lapel, shade(cloth, 0.82) if sum(cloth) > 160 else shade(cloth, 1.12))
    if not closed:
        return
    if kind in ("jacket", "vest"):
        brush.line([(0, 0.18), (0, hem)], light, 0.012)
    else:
        brush.line([(0, 0.32 if kind != "cardigan" else 0.2), (0, hem)], dark, 0.006)
        for y in {"coat": (0.34, 0.42, 0.5), "blazer": (0.36, 0.42)}.get(kind, (0.25, 0.32, 0.39)):
            brush.oval((0.012, y), (0.011, 0.011), light)
        if kind == "cardigan":
            brush.fill([(-0.036, 0.158), (0.036, 0.158), (0, 0.235)], figure.colors["skin"])


def _denim(brush: Brush, leg: tuple[Point, Point, Point], thigh: float, cloth: Rgb) -> None:
    """Faded fronts and a seam, which cloth trousers do not have."""
    hip, knee, ankle = leg
    faded = shade(cloth, 1.22)
    brush.limb(_between(hip, knee, 0.25), _between(hip, knee, 0.85), (thigh * 0.4,) * 2, faded)
    brush.line([_between(knee, ankle, 0.2), _between(knee, ankle, 0.7)], faded, thigh * 0.25)
    brush.line([(ankle[0] - 0.026, ankle[1] - 0.006), (ankle[0] + 0.026, ankle[1] - 0.006)],
               _STITCHING, 0.008)  # fmt: skip


def _shoe(brush: Brush, figure: Figure, side: str) -> None:
    ankle, kind = figure.joints.legs[side][2], figure.person["shoes_type"]
    rgb, skin = figure.colors["shoes"], figure.colors["skin"]
    if side == "far":
        rgb, skin = shade(rgb, 0.85), shade(skin, 0.85)
    if kind == "boots":
        knee = figure.joints.legs[side][1]
        top = _between(ankle, knee, 0.48)
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


def _between(start: Point, end: Point, share: float) -> Point:
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share
