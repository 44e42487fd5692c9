"""What every drawing function of synthpedes knows about the person it draws."""

from collections.abc import Mapping
from typing import NamedTuple

from jaxreid.data.synthpedes.palette import Rgb
from jaxreid.data.synthpedes.pose import Body, Joints, Point


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


def between(start: Point, end: Point, share: float) -> Point:
    """Returns the point at `share` of the way from start to end."""
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share
