"""What stands behind and before a synthpedes person: places and occluders."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from jaxreid.data.synthpedes.brush import Brush
from jaxreid.data.synthpedes.palette import Rgb, shade

PLACES = ("street", "plaza", "park", "hall", "station", "shop", "night")

_HEIGHT, _WIDTH = 288, 1152  # of a whole place, pixels; a picture shows a random part
# Wall above, wall below, floor far, floor near; height of the floor's far end.
_GROUNDS = {
    "street": ((176, 182, 188), (146, 140, 132), (128, 128, 130), (104, 104, 108), 0.62),
    "plaza": ((206, 214, 222), (186, 178, 164), (190, 182, 168), (158, 150, 138), 0.55),
    "park": ((170, 192, 200), (96, 124, 84), (118, 140, 84), (92, 112, 66), 0.5),
    "hall": ((198, 192, 182), (178, 168, 154), (150, 132, 112), (124, 106, 90), 0.66),
    "station": ((150, 160, 170), (128, 138, 148), (116, 122, 128), (92, 98, 104), 0.6),
    "shop": ((220, 220, 220), (196, 194, 196), (206, 204, 200), (178, 176, 172), 0.64),
    "night": ((52, 56, 72), (74, 72, 78), (88, 84, 82), (66, 64, 64), 0.58),
}
_OCCLUDED = 0.1  # share of the images


def background(place: str, rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Returns a random part of a place; nothing in it depends on the person.

    Args:
      place: one of PLACES.
      rng: of the part shown and of what happens to stand there.
      size: width and height, pixels.

    Raises:
      ValueError: unknown place.
    """
    if place not in PLACES:
        raise ValueError(f"place must be one of {PLACES}, got {place!r}")
    shown, at, flipped = rng.uniform(0.82, 1.0), rng.random(), rng.random() < 0.5
    clutter = rng.random((2, 8))
    high = _HEIGHT * shown
    wide = min(high * size[0] / size[1], _WIDTH)
    left, top = at * (_WIDTH - wide), _HEIGHT - high
    picture = _place(place).resize(
        size, Image.Resampling.BILINEAR, box=(left, top, left + wide, _HEIGHT)
    )
    if flipped:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for numbers in clutter:
        if numbers[0] < 0.4:
            _stand_about(ImageDraw.Draw(picture), place, numbers, size)
    return picture


def occlude(brush: Brush, rng: np.random.Generator) -> None:
    """Draws, in one image of ten, something that hides less than a third of the person.

    Args:
      brush: in whose coordinates the person was drawn.
      rng: the number of draws is fixed.
    """
    happens, which, *numbers = rng.random(10)
    if happens < _OCCLUDED:
        _OCCLUDERS[int(which * len(_OCCLUDERS))](brush, numbers)


def drop_shadow(brush: Brush) -> None:
    """Darkens the floor under the person's feet."""
    (x, y) = brush.pixels([(0, 0.985)])[0]
    width, height = brush.canvas.size
    spot = (min(max(int(x), 0), width - 1), min(max(int(y), 0), height - 1))
    brush.oval((0, 0.985), (0.15, 0.022), shade(brush.canvas.getpixel(spot), 0.7))


@lru_cache(maxsize=len(PLACES))
def _place(place: str) -> Image.Image:
    """The whole place, the same in every process."""
    sky, wall, far, near, horizon = _GROUNDS[place]
    rng = np.random.default_rng(PLACES.index(place))
    y = np.linspace(0, 1, _HEIGHT, dtype=np.float32)[:, None, None]
    up, down = np.clip(y / horizon, 0, 1), np.clip((y - horizon) / (1 - horizon), 0, 1)
    rows = np.where(
        y < horizon,
        np.float32(sky) * (1 - up) + np.float32(wall) * up,
        np.float32(far) * (1 - down) + np.float32(near) * down,
    )
    rough = rng.normal(0, 4, (_HEIGHT, _WIDTH, 1)).astype(np.float32)
    picture = Image.fromarray(np.clip(rows + rough, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    floor = int(horizon * _HEIGHT)
    if place == "park":
        _trees(draw, rng, floor)
    else:
        _facade(draw, rng, floor, wall)
    if place in ("plaza", "hall", "shop"):
        _tiles(draw, floor, shade(near, 0.88))
    elif place in ("street", "station", "night"):
        draw.rectangle((0, floor, _WIDTH, floor + 9), fill=shade(far, 1.25))
        for x in range(0, _WIDTH, 120):
            draw.polygon(
                [
                    (x, _HEIGHT - 28),
                    (x + 64, _HEIGHT - 28),
                    (x + 54, _HEIGHT - 16),
                    (x - 12, _HEIGHT - 16),
                ],
                fill=shade(near, 1.4),
            )
    return picture.filter(ImageFilter.GaussianBlur(1.2))


def _facade(draw: ImageDraw.ImageDraw, rng: np.random.Generator, floor: int, wall: Rgb) -> None:
    """Panels with windows, doors and posters of dull colours."""
    x = 0
    while x < _WIDTH:
        wide = int(rng.integers(40, 130))
        tone = shade(wall, float(rng.uniform(0.78, 1.2)))
        draw.rectangle((x, 0, x + wide, floor), fill=tone)
        if rng.random() < 0.7:
            pane = tuple(int(c) for c in rng.integers(60, 150) + rng.integers(-18, 19, 3))
            top = int(floor * rng.uniform(0.1, 0.4))
            low = int(floor * rng.uniform(0.6, 1.0))
            draw.rectangle((x + 8, top, x + wide - 8, low), fill=pane, outline=shade(tone, 0.7))
            draw.line((x + wide // 2, top, x + wide // 2, low), fill=shade(tone, 0.75), width=3)
        x += wide


def _trees(draw: ImageDraw.ImageDraw, rng: np.random.Generator, floor: int) -> None:
    for _ in range(34):
        x, high = int(rng.integers(0, _WIDTH)), int(rng.integers(40, floor))
        green = tuple(int(c) for c in np.array((70, 104, 58)) * rng.uniform(0.75, 1.3))
        draw.rectangle((x - 4, floor - high, x + 4, floor + 6), fill=(92, 74, 56))
        wide = int(rng.integers(22, 50))
        draw.ellipse((x - wide, floor - high - 30, x + wide, floor - high + 40), fill=green)
    for _ in range(160):
        x, y = int(rng.integers(0, _WIDTH)), int(rng.integers(floor, _HEIGHT))
        draw.line((x, y, x + 3, y - 9), fill=(84, 108, 58), width=2)


def _tiles(draw: ImageDraw.ImageDraw, floor: int, joint: Rgb) -> None:
    y, step = float(floor), 5.0
    while y < _HEIGHT:
        draw.line((0, y, _WIDTH, y), fill=joint, width=1)
        y, step = y + step, step * 1.35
    for x in range(-_WIDTH, 2 * _WIDTH, 40):
        draw.line((x, floor, _WIDTH / 2 + (x - _WIDTH / 2) * 1.6, _HEIGHT), fill=joint, width=1)


def _stand_about(draw: ImageDraw.ImageDraw, place: str, numbers: np.ndarray, size) -> None:
    """A bin, a sign or a far passer-by, of a dull colour."""
    width, height = size
    horizon = _GROUNDS[place][-1]
    _, kind, at, red, green, blue, large, _ = numbers
    rgb = tuple(int(60 + 60 * (large + c)) for c in (red, green, blue))
    x, foot = at * width, (horizon + 0.08 + 0.1 * large) * height
    half = (0.02 + 0.025 * large) * height
    if kind < 0.4:
        draw.rounded_rectangle((x - half, foot - 4 * half, x + half, foot), half / 3, rgb)
    elif kind < 0.7:
        draw.rectangle((x - half / 6, foot - 9 * half, x + half / 6, foot), fill=(110, 110, 112))
        draw.rectangle((x - half, foot - 10 * half, x + half, foot - 7.5 * half), fill=rgb)
    else:
        draw.rectangle((x - half / 2, foot - 4 * half, x + half / 2, foot), fill=(70, 70, 78))
        draw.rounded_rectangle((x - half * 0.8, foot - 7 * half, x + half * 0.8, foot - 3.4 * half),
                               half / 2, rgb)  # fmt: skip
        draw.ellipse((x - half / 2, foot - 8.4 * half, x + half / 2, foot - 7 * half),
                     fill=(170, 134, 112))  # fmt: skip


def _pole(brush: Brush, numbers: list[float]) -> None:
    at, wide = -0.12 + 0.24 * numbers[0], 0.012 + 0.01 * numbers[1]
    metal = tuple(int(90 + 60 * numbers[2] + shift) for shift in (0, 3, 6))
    brush.fill([(at - wide, -0.5), (at + wide, -0.5), (at + wide, 1.5), (at - wide, 1.5)], metal)
    brush.fill([(at - wide, -0.5), (at - wide * 0.4, -0.5), (at - wide * 0.4, 1.5),
                (at - wide, 1.5)], shade(metal, 0.8))  # fmt: skip


def _bench(brush: Brush, numbers: list[float]) -> None:
    top, left = 0.86 + 0.05 * numbers[0], -0.5 + 0.4 * numbers[1]
    wood = tuple(int(c * (0.8 + 0.4 * numbers[2])) for c in (124, 92, 64))
    for row in (0.0, 0.05):
        y = top + row
        brush.fill([(left, y), (left + 0.6, y), (left + 0.6, y + 0.036), (left, y + 0.036)], wood)
    for x in (left + 0.06, left + 0.52):
        brush.fill([(x, top), (x + 0.02, top), (x + 0.02, 1.2), (x, 1.2)], (60, 60, 64))


def _bush(brush: Brush, numbers: list[float]) -> None:
    side = 1 if numbers[0] < 0.5 else -1
    for number, lower in zip(numbers[1:7], (0.0, 0.04, 0.08, 0.12, 0.05, 0.1), strict=True):
        green = tuple(int(c * (0.75 + 0.5 * number)) for c in (62, 96, 52))
        brush.oval((side * (0.08 + 0.14 * number), 0.88 + lower), (0.075, 0.06), green)


def _passer_by(brush: Brush, numbers: list[float]) -> None:
    """The shoulder and arm of somebody who stands nearer, cut by the edge of the picture."""
    side = 1 if numbers[0] < 0.5 else -1
    inner = 0.075 + 0.05 * numbers[1]
    cloth = tuple(int(50 + 130 * c) for c in numbers[2:5])
    points = [(inner + 0.06, 0.18), (inner + 0.01, 0.24), (inner, 0.55), (inner + 0.02, 1.3)]
    brush.shape([*[(side * x, y) for x, y in points], (side, 1.3), (side, 0.14)], cloth)


_OCCLUDERS: tuple[Callable[[Brush, list[float]], None], ...] = (_pole, _bench, _bush, _passer_by)
