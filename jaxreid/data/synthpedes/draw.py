"""Draws a synthpedes person: the order in which the parts cover each other."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxreid.data.synthpedes.attributes import VIEWS, conflicts
from jaxreid.data.synthpedes.brush import Brush
from jaxreid.data.synthpedes.carried import draw_bag, draw_held, draw_straps
from jaxreid.data.synthpedes.clothes import (
    draw_arm,
    draw_leg,
    draw_lower_trunk,
    draw_top,
)
from jaxreid.data.synthpedes.figure import Figure
from jaxreid.data.synthpedes.head import draw_back_hair, draw_head
from jaxreid.data.synthpedes.outer import draw_outer
from jaxreid.data.synthpedes.palette import Rgb, palette
from jaxreid.data.synthpedes.pose import body, facing_joints, sample_gait, side_joints

_WIDEST = 0.5  # width of a person with bags, in heights
_HEAD = 1.14  # heads are drawn larger than they are, so that small pictures show faces
_CHIN = (0.0, 0.155)


class Frame(NamedTuple):
    """Where a person stands in a picture, in shares of the picture's height and width."""

    top: float  # of the head
    bottom: float  # the floor under the feet
    middle: float
    stretch: float = 1.0  # width over height of the person, 1 as seen from the person's own height


_PLAIN = Frame(0.06, 0.97, 0.5)


def draw(
    person: Mapping[str, str],
    person_seed: int,
    view: str,
    rng: np.random.Generator,
    height: int,
    width: int,
    ground: Rgb = (188, 190, 186),
) -> np.ndarray:
    """Returns u8[height, width, 3]: a person on a plain ground, without the effects of a camera.

    Args:
      person: attribute -> value, without `conflicts`.
      person_seed: >= 0; fixes the person's own shades of the named colours.
      view: one of VIEWS.
      rng: of the pose. The number of draws does not depend on the person.
      height, width: pixels, each >= 8.
      ground: RGB behind the person.

    Raises:
      ValueError: a person with conflicts, an unknown view, or a picture too small to draw in.
    """
    check_request(person, view, height, width)
    zoom = oversampling(height)
    canvas = Image.new("RGB", (width * zoom, height * zoom), ground)
    draw_figure(place(canvas, view, _PLAIN), person, person_seed, view, rng)
    return np.asarray(canvas.reduce(zoom))


def check_request(person: Mapping[str, str], view: str, height: int, width: int) -> None:
    """Raises ValueError where a picture cannot be drawn."""
    found = conflicts(dict(person))
    if found:
        raise ValueError(f"the person cannot be drawn: {'; '.join(found)}")
    if view not in VIEWS:
        raise ValueError(f"view must be one of {VIEWS}, got {view!r}")
    if height < 8 or width < 8:
        raise ValueError(f"height and width must be >= 8 pixels, got {height} and {width}")


def oversampling(height: int) -> int:
    """Returns how many times larger than the picture it is drawn, for smooth edges."""
    return 3 if height <= 192 else 2


def place(canvas: Image.Image, view: str, frame: Frame) -> Brush:
    """Returns a brush whose coordinates put the person into the frame."""
    width, height = canvas.size
    scale_y = (frame.bottom - frame.top) * height
    # In a narrow picture people are narrower too, as after a detector's crop is resized.
    scale_x = min(scale_y * frame.stretch, 0.96 * width / _WIDEST)
    # Seen from the front, the person's left is right in the picture; the left side looks left.
    mirrored = view in ("back", "left")
    origin = (frame.middle * width, frame.top * height)
    return Brush(canvas, origin, (scale_x, scale_y), mirrored)


def draw_figure(
    brush: Brush,
    person: Mapping[str, str],
    person_seed: int,
    view: str,
    rng: np.random.Generator,
) -> None:
    """Draws a person; `brush` comes from `place` with the same view, the rest as in `draw`."""
    gait = sample_gait(rng)
    measures = body(person)
    colors = palette(person, person_seed)
    bent = person["held_side"] if person["held"] != "umbrella" else "none"
    if view == "back":  # the thing held is hidden, so the arm must not give it away
        joints = facing_joints(gait, measures, "none")
    elif view == "front":
        joints = facing_joints(gait, measures, bent)
    else:
        joints = side_joints(gait, view, bent == view)
    figure = Figure(person, colors, measures, joints, view)
    if figure.facing:
        _facing(brush, figure)
    else:
        _aside(brush, figure)


def _facing(brush: Brush, figure: Figure) -> None:
    head = brush.enlarged(_HEAD, _CHIN)
    draw_back_hair(head, figure)
    for side in ("left", "right"):
        draw_leg(brush, figure, side)
    draw_lower_trunk(brush, figure)
    if figure.view == "back":  # a bent forearm is before the body
        _arms(brush, figure, ("left", "right"))
    draw_top(brush, figure)
    draw_outer(brush, figure)
    if figure.view == "front":
        draw_straps(brush, figure)
        draw_head(head, figure)
        _arms(brush, figure, ("left", "right"))
    else:
        draw_straps(brush, figure)
        draw_head(head, figure)
    draw_bag(brush, figure)
    draw_held(brush, figure)


def _aside(brush: Brush, figure: Figure) -> None:
    head = brush.enlarged(_HEAD, _CHIN)
    draw_arm(brush, figure, "far")
    draw_back_hair(head, figure)
    draw_leg(brush, figure, "far")
    draw_leg(brush, figure, "near")
    draw_lower_trunk(brush, figure)
    draw_top(brush, figure)
    draw_outer(brush, figure)
    draw_straps(brush, figure)
    draw_head(head, figure)
    draw_arm(brush, figure, "near")
    draw_bag(brush, figure)
    draw_held(brush, figure)


def _arms(brush: Brush, figure: Figure, sides: tuple[str, ...]) -> None:
    for side in sides:
        draw_arm(brush, figure, side)
