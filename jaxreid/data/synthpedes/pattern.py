"""Patterns of cloth, as textures that a `Brush` pastes into a garment."""

from math import cos, pi, sin

from PIL import Image, ImageDraw

from jaxreid.data.synthpedes.palette import Rgb, shade

# Units of the person's height. Chosen so that a picture of 96 x 48 pixels still shows them.
_STRIPE, _PLAID, _DOT, _FLOWER = 0.062, 0.085, 0.058, 0.088
_LEAF = (60, 120, 60)


def texture(
    pattern: str, size: tuple[int, int], scale: float, base: Rgb, second: Rgb
) -> Image.Image:
    """Returns a patterned cloth.

    Args:
      pattern: "striped", "plaid", "dotted" or "floral"; anything else gives plain cloth.
      size: width and height, pixels.
      scale: pixels per person's height.
      base: of the cloth.
      second: of the pattern.
    """
    cloth = Image.new("RGB", size, base)
    draw = ImageDraw.Draw(cloth)
    if pattern == "striped":
        _stripes(draw, size, _STRIPE * scale, 0.5, second)
    elif pattern == "plaid":
        _plaid(draw, size, scale, base, second)
    elif pattern == "dotted":
        for x, y in _lattice(size, _DOT * scale):
            _disc(draw, x, y, 0.3 * _DOT * scale, second)
    elif pattern == "floral":
        for x, y in _lattice(size, _FLOWER * scale):
            _flower(draw, x, y, 0.3 * _FLOWER * scale, second)
    return cloth


def _stripes(draw: ImageDraw.ImageDraw, size, period: float, share: float, rgb: Rgb) -> None:
    y = period * 0.4
    while y < size[1]:
        draw.rectangle((0, round(y), size[0], round(y + period * share) - 1), fill=rgb)
        y += period


def _plaid(draw: ImageDraw.ImageDraw, size, scale: float, base: Rgb, second: Rgb) -> None:
    """Bands of the second colour both ways on half-mixed ones, as woven."""
    period = _PLAID * scale
    mixed = tuple((a + b) // 2 for a, b in zip(base, second, strict=True))
    _stripes(draw, size, period, 0.45, mixed)
    x = period * 0.25
    while x < size[0]:
        draw.rectangle((round(x), 0, round(x + period * 0.45) - 1, size[1]), fill=mixed)
        y = period * 0.4
        while y < size[1]:
            corner = (round(x), round(y))
            far = (round(x + period * 0.45) - 1, round(y + period * 0.45) - 1)
            draw.rectangle((*corner, *far), fill=second)
            y += period
        x += period


def _flower(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, rgb: Rgb) -> None:
    _disc(draw, x + radius * 1.3, y + radius * 1.1, radius * 0.55, _LEAF)
    for petal in range(5):
        angle = 2 * pi * petal / 5
        around = (x + radius * 0.75 * sin(angle), y - radius * 0.75 * cos(angle))
        _disc(draw, *around, radius * 0.6, rgb)
    _disc(draw, x, y, radius * 0.45, shade(rgb, 0.45))


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, rgb: Rgb) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=rgb)


def _lattice(size: tuple[int, int], step: float) -> list[tuple[float, float]]:
    """Points of staggered rows, `step` pixels apart."""
    return [
        (step * (column + 0.5 * (row % 2)), step * (row + 0.4) * 0.9)
        for row in range(int(size[1] / (step * 0.9)) + 1)
        for column in range(int(size[0] / step) + 2)
    ]
