"""Draws shapes given in the units of a person's height into a picture of any size."""

from collections.abc import Sequence
from math import hypot

from PIL import Image, ImageDraw

from jaxreid.data.synthpedes.palette import Rgb, edge, shade
from jaxreid.data.synthpedes.pose import Point


class Brush:
    """A canvas with the coordinates of `pose`: x from the middle of the person, y from the top."""

    def __init__(self, canvas: Image.Image, origin: Point, scale: Point, mirrored: bool):
        """Takes the canvas.

        Args:
          canvas: mode RGB, drawn into.
          origin: pixel of the person's (0, 0).
          scale: pixels per unit of x and of y, > 0.
          mirrored: whether x > 0 is on the left of the picture.
        """
        self.canvas = canvas
        self._draw = ImageDraw.Draw(canvas)
        self._x, self._y = origin
        self._scale_x = -scale[0] if mirrored else scale[0]
        self._scale_y = scale[1]
        self.scale = scale[1]  # pixels per height
        self.pen = max(1, round(scale[1] / 130))  # width of outlines, pixels

    def enlarged(self, factor: float, fixed: Point) -> "Brush":
        """Returns a brush for the same canvas that enlarges about the point `fixed`."""
        (x, y), sx, sy = self.pixels([fixed])[0], abs(self._scale_x), self._scale_y
        mirrored = self._scale_x < 0
        scale = (sx * factor, sy * factor)
        origin = (x + fixed[0] * (scale[0] if mirrored else -scale[0]), y - fixed[1] * scale[1])
        return Brush(self.canvas, origin, scale, mirrored)

    def pixels(self, points: Sequence[Point]) -> list[Point]:
        """Returns the points in pixels of the canvas."""
        x0, y0, sx, sy = self._x, self._y, self._scale_x, self._scale_y
        return [(x0 + x * sx, y0 + y * sy) for x, y in points]

    def fill(self, points: Sequence[Point], rgb: Rgb) -> None:
        """Fills a polygon."""
        self._draw.polygon(self.pixels(points), fill=rgb)

    def shape(self, points: Sequence[Point], rgb: Rgb) -> None:
        """Fills a polygon and draws its outline."""
        pixels = self.pixels(points)
        self._draw.polygon(pixels, fill=rgb)
        self._draw.line([*pixels, pixels[0]], fill=edge(rgb), width=self.pen)

    def line(self, points: Sequence[Point], rgb: Rgb, width: float) -> None:
        """Draws an open line, `width` in units of the height, at least one pixel."""
        pixels = max(1, round(width * self._scale_y))
        self._draw.line(self.pixels(points), fill=rgb, width=pixels)

    def oval(self, center: Point, radii: Point, rgb: Rgb) -> None:
        """Fills an ellipse."""
        (x, y), rx, ry = self.pixels([center])[0], radii[0] * abs(self._scale_x), radii[1]
        ry *= self._scale_y
        self._draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=rgb)

    def box(self, left: float, top: float, right: float, bottom: float, rgb: Rgb) -> None:
        """Fills an upright rectangle with rounded corners and an outline."""
        (x0, y0), (x1, y1) = self.pixels([(left, top), (right, bottom)])
        x0, x1 = min(x0, x1), max(x0, x1)
        radius = min(x1 - x0, y1 - y0) * 0.2
        self._draw.rounded_rectangle((x0, y0, x1, y1), radius, rgb, edge(rgb), self.pen)

    def limb(self, start: Point, end: Point, widths: tuple[float, float], rgb: Rgb) -> None:
        """Draws a tapered limb with round ends and a shaded side; widths are full widths."""
        (x0, y0), (x1, y1) = start, end
        length = hypot(x1 - x0, y1 - y0) or 1e-6
        nx, ny = (y1 - y0) / length, (x0 - x1) / length  # points to x > 0 for a hanging limb
        a, b = widths[0] / 2, widths[1] / 2
        self.oval(start, (a, a), rgb)
        self.oval(end, (b, b), rgb)
        outer = [(x0 + nx * a, y0 + ny * a), (x1 + nx * b, y1 + ny * b)]
        inner = [(x1 - nx * b, y1 - ny * b), (x0 - nx * a, y0 - ny * a)]
        self.fill([*outer, *inner], rgb)
        a, b = a * 0.35, b * 0.35
        self.fill(
            [*inner, (x0 - nx * a, y0 - ny * a), (x1 - nx * b, y1 - ny * b)], shade(rgb, 0.84)
        )
        dark = edge(rgb)
        self._draw.line(self.pixels(outer), fill=dark, width=self.pen)
        self._draw.line(self.pixels(inner), fill=dark, width=self.pen)

    def paste(self, points: Sequence[Point], texture: Image.Image, corner: tuple[int, int]) -> None:
        """Fills a polygon with `texture`, whose top left pixel lies at `corner`."""
        mask = Image.new("L", texture.size)
        shifted = [(x - corner[0], y - corner[1]) for x, y in self.pixels(points)]
        ImageDraw.Draw(mask).polygon(shifted, fill=255)
        self.canvas.paste(texture, corner, mask)
