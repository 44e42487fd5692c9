"""A sheet of the likeliest images of a search, each with its probability."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxreid.sheet import wrap

CELL_WIDTH, CELL_HEIGHT = 108, 208  # pixels of an image with its frame
COLUMNS = 10
_LINE, _MARGIN, _GAP, _FRAME, _FONT_SIZE = 18, 16, 8, 3, 13
_PAPER, _INK, _EDGE = (255, 255, 255), (25, 25, 25), (70, 90, 130)


def candidates_sheet(
    told: Sequence[str],
    images: Sequence[np.ndarray],
    files: Sequence[str],
    index: np.ndarray,
    probability: np.ndarray,
) -> Image.Image:
    """Draws images in the order of their probability, below what was said of the person.

    Args:
      told: lines above the images.
      images: images[i] is u8[h, w, 3]; only those shown are read.
      files: names of the images.
      index: i32[K], images to show, likeliest first; K >= 1.
      probability: f32[K].

    Raises:
      ValueError: nothing to show, or index and probability differ in length.
    """
    if not len(index) or len(index) != len(probability):
        raise ValueError(
            f"a sheet needs as many probabilities as images, at least 1, got {len(index)} and "
            f"{len(probability)}"
        )
    font = ImageFont.load_default(_FONT_SIZE)
    width = 2 * _MARGIN + COLUMNS * (CELL_WIDTH + _GAP) - _GAP
    lines = [line for text in told for line in wrap(text, font, width - 2 * _MARGIN, 3)]
    head = 2 * _MARGIN + len(lines) * _LINE
    height = CELL_HEIGHT + 2 * _LINE + _GAP  # of a row with its two lines of words
    rows = -(-len(index) // COLUMNS)
    sheet = Image.new("RGB", (width, head + rows * height + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((_MARGIN, _MARGIN + number * _LINE), line, _INK, font)
    for place, (i, p) in enumerate(zip(index, probability, strict=True)):
        row, column = divmod(place, COLUMNS)
        left, top = _MARGIN + column * (CELL_WIDTH + _GAP), head + row * height
        _paste(sheet, left, top, images[int(i)])
        name = wrap(files[int(i)].rsplit("/", 1)[-1], font, CELL_WIDTH, 1)[0]
        draw.text((left, top + CELL_HEIGHT), f"{place + 1}.  {100 * p:.1f} %", _INK, font)
        draw.text((left, top + CELL_HEIGHT + _LINE), name, _INK, font)
    return sheet


def _paste(sheet: Image.Image, left: int, top: int, image: np.ndarray) -> None:
    """Pastes one image into its cell, shrunk or grown as a whole."""
    box = (left, top, left + CELL_WIDTH - 1, top + CELL_HEIGHT - 1)
    ImageDraw.Draw(sheet).rectangle(box, outline=_EDGE, width=_FRAME)
    room = CELL_WIDTH - 2 * _FRAME, CELL_HEIGHT - 2 * _FRAME
    scale = min(room[0] / image.shape[1], room[1] / image.shape[0])
    size = tuple(max(1, round(scale * side)) for side in image.shape[1::-1])
    picture = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    corner = (left + (CELL_WIDTH - size[0]) // 2, top + (CELL_HEIGHT - size[1]) // 2)
    sheet.paste(picture, corner)
