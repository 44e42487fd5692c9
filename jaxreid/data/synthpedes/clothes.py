"""Draws the body of a synthpedes person and what is worn on it."""

from math import ceil, hypot

from jaxreid.data.synthpedes.brush import Brush
from jaxreid.data.synthpedes.figure import Figure, between, trunk_outline
from jaxreid.data.synthpedes.outer import draw_collar, draw_shadow
from jaxreid.data.synthpedes.palette import Rgb, edge, shade
from jaxreid.data.synthpedes.pattern import texture
from jaxreid.data.synthpedes.pose import Point
from jaxreid.data.synthpedes.shoes import draw_shoe

_STITCHING = (196, 150, 84)


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
        draw_shoe(brush, figure, side)
        cuff = (ankle[0], ankle[1] - 0.012)
        brush.limb(hip, knee, (thigh * 1.14, calf * 1.3), cloth)
        brush.limb(knee, cuff, (calf * 1.3, thin * (1.75 if bottom == "pants" else 1.55)), cloth)
        if bottom == "jeans":
            _denim(brush, (hip, knee, cuff), thigh, cloth)
        if figure.person["shoes_type"] == "boots":
            draw_shoe(brush, figure, side)
        return
    if bottom == "leggings":
        cuff = between(knee, ankle, 0.86)
        brush.limb(hip, knee, (thigh * 1.03, calf * 1.05), cloth)
        brush.limb(knee, cuff, (calf * 1.05, thin * 1.1), cloth)
    elif bottom == "shorts":
        brush.limb(hip, between(hip, knee, 0.8), (thigh * 1.25, calf * 1.65), cloth)
    draw_shoe(brush, figure, side)


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
    if person["outer_type"] != "none" and not (
        figure.view == "front" and person["outer_open"] == "open"
    ):
        return  # nothing of it may look out from under the outer layer
    outline = trunk_outline(figure, hem, loose)
    if kind == "blouse":  # a flared hem
        outline = [(x * 1.25, y) if y >= 0.45 else (x, y) for x, y in outline]
    brush.shape(outline, cloth)
    _pattern(brush, figure, outline)
    if person["top_pattern"] in ("plain", "graphic"):  # a pattern shows better without
        draw_shadow(brush, outline, cloth)
    if kind == "dress":
        half = figure.body.waist if figure.facing else figure.body.depth * 0.9
        brush.line([(-half, 0.4), (half, 0.4)], edge(cloth), 0.012)
    if kind in ("sweater", "hoodie"):
        band = [(x, y) for x, y in outline if y >= hem - 0.012]
        brush.line([(x, y - 0.01) for x, y in band], shade(cloth, 0.7), 0.02)
    _neckline(brush, figure, kind, cloth)
    if person["top_pattern"] == "graphic" and figure.view == "front":
        _graphic(brush, figure.colors["pattern"], cloth)


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
    wrist = between(elbow, hand, 0.85)
    covered = person["outer_type"] not in ("none", "vest")
    sleeves = "long" if covered else person["sleeves"]
    cloth = outer if covered else top
    if sleeves == "long":
        thick = 1.4 if covered or person["top_type"] in ("sweater", "hoodie") else 1.2
        brush.limb(shoulder, elbow, (upper * thick, lower * thick), cloth)
        brush.limb(elbow, wrist, (lower * thick, lower * thick), cloth)
        if person["outer_type"] == "none":
            _pattern(brush, figure, _strip(shoulder, elbow, upper * thick, lower * thick))
            _pattern(brush, figure, _strip(elbow, wrist, lower * thick, lower * thick))
        if not covered and person["top_type"] in ("sweater", "hoodie", "shirt"):
            brush.oval(wrist, (lower * 0.6, 0.012), shade(cloth, 0.7))
    elif sleeves == "short":
        end = between(shoulder, elbow, 0.68)
        brush.limb(shoulder, end, (upper * 1.25, upper * 1.2), cloth)
        if person["outer_type"] == "none":
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
        draw_collar(brush, view, contrast if kind == "polo" else light)
        if view == "front":
            end = 0.47 if kind == "shirt" else 0.26
            brush.line([(0, 0.18), (0, end)], contrast, 0.008 if kind == "shirt" else 0.014)
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


def _graphic(brush: Brush, rgb: Rgb, cloth: Rgb) -> None:
    """A print on the chest: a disc with a bar below, large enough for small pictures."""
    brush.oval((0, 0.27), (0.05, 0.046), rgb)
    brush.oval((0.012, 0.262), (0.02, 0.018), cloth)
    brush.fill([(-0.05, 0.33), (0.05, 0.33), (0.05, 0.35), (-0.05, 0.35)], rgb)


def _denim(brush: Brush, leg: tuple[Point, Point, Point], thigh: float, cloth: Rgb) -> None:
    """Faded fronts and a seam, which cloth trousers do not have."""
    hip, knee, ankle = leg
    faded = shade(cloth, 1.22)
    brush.limb(between(hip, knee, 0.25), between(hip, knee, 0.85), (thigh * 0.4,) * 2, faded)
    brush.line([between(knee, ankle, 0.2), between(knee, ankle, 0.7)], faded, thigh * 0.25)
    brush.line([(ankle[0] - 0.026, ankle[1] - 0.006), (ankle[0] + 0.026, ankle[1] - 0.006)],
               _STITCHING, 0.008)  # fmt: skip
