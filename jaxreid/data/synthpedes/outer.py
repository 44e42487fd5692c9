"""Draws the outer layer of a synthpedes person: jacket, coat, vest, cardigan, blazer."""

from jaxreid.data.synthpedes.brush import Brush
from jaxreid.data.synthpedes.figure import Figure, trunk_outline
from jaxreid.data.synthpedes.palette import Rgb, edge, shade
from jaxreid.data.synthpedes.pose import Point

_WIDER = 0.016  # than the trunk, on each side: more than the widest top


def draw_outer(brush: Brush, figure: Figure) -> None:
    """Draws the outer layer on the trunk; open, it leaves a strip of the top free in front."""
    person, cloth = figure.person, figure.colors["outer"]
    kind = person["outer_type"]
    if kind == "none":
        return
    hem = {"coat": 0.64, "blazer": 0.53, "cardigan": 0.52}.get(kind, 0.5)
    outline = trunk_outline(figure, hem, _WIDER)
    if figure.view == "front" and person["outer_open"] == "open":
        half = [*outline[: len(outline) // 2], (0.056, hem), (0.026, 0.16)]
        brush.shape(half, cloth)
        brush.shape([(-x, y) for x, y in half], cloth)
    else:
        brush.shape(outline, cloth)
        draw_shadow(brush, outline, cloth)
    _outer_marks(brush, figure, kind, hem, cloth)


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
        draw_collar(brush, view, shade(cloth, 0.8) if sum(cloth) > 160 else shade(cloth, 1.15))
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


def draw_collar(brush: Brush, view: str, rgb: Rgb) -> None:
    """Draws a collar, of a shirt as well."""
    if view == "front":
        for sign in (-1, 1):
            brush.shape(
                [(sign * 0.042, 0.152), (0, 0.182), (sign * 0.032, 0.208), (sign * 0.055, 0.17)],
                rgb,
            )
    else:
        half = 0.042 if view == "back" else 0.036
        brush.shape([(-half, 0.15), (half, 0.15), (half * 1.15, 0.176), (-half * 1.15, 0.176)], rgb)


def draw_shadow(brush: Brush, outline: list[Point], cloth: Rgb) -> None:
    """Darkens one rim of the trunk."""
    rim = [(x, y) for x, y in outline if x < -0.03]
    if len(rim) > 2:
        brush.fill([*rim, *[(x * 0.72, y) for x, y in reversed(rim)]], shade(cloth, 0.86))
