"""Sheets of captions with the images found for them, right and wrong ones marked: ranks.png."""

import io
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxreid.files import write_atomic

RIGHT = (0, 140, 70)
WRONG = (205, 40, 40)
REFERENCE = (70, 90, 130)
FRAME = 4  # pixels around an image in the colour of its mark
CELL_WIDTH, CELL_HEIGHT = 72, 168  # of an image with its frame
TEXT_WIDTH = 300

_GAP = 6
_MARGIN = 16
_STRIP_GAP = 28
_LINE = 18
_FONT_SIZE = 14
_BADGE = 9  # radius of the mark in the corner of an image
_PAPER, _INK, _EMPTY = (255, 255, 255), (25, 25, 25), (225, 225, 225)


class SheetRow(NamedTuple):
    """One query of the sheet."""

    caption: str
    person_id: int
    rankings: Mapping[str, np.ndarray]  # name of the ranking -> i32[K], positions of images
    reference: int | None = None  # position of the image that the caption changes


def sheet_rows(
    captions: Sequence[str],
    query_ids: np.ndarray,
    rankings: Mapping[str, np.ndarray],
    count: int,
    reference: np.ndarray | None = None,
) -> list[SheetRow]:
    """Returns `count` queries spread evenly over all (all, if there are fewer).

    Args:
      captions: of the Q queries.
      query_ids: i32[Q].
      rankings: name -> i32[Q, K], for example {"coarse": .., "final": ..}.
      count: at least 1.
      reference: i32[Q], position of the image that each caption changes.
    """
    if count < 1:
        raise ValueError(f"a sheet needs at least 1 query, got {count}")
    for name, index in rankings.items():
        if not len(captions) == len(query_ids) == len(index):
            raise ValueError(
                f"captions, query_ids and ranking {name} must have one entry a query, "
                f"got {len(captions)}, {len(query_ids)} and {len(index)}"
            )
    picked = np.linspace(0, len(captions) - 1, min(count, len(captions))).round().astype(int)
    return [
        SheetRow(
            captions[q],
            int(query_ids[q]),
            {name: index[q] for name, index in rankings.items()},
            None if reference is None else int(reference[q]),
        )
        for q in picked
    ]


def sheet_title(data_set: str, results: Mapping[str, Any]) -> list[str]:
    """Returns the lines above the sheet: data set, sizes, and a line of scores a ranking."""
    lines = [f"{data_set}: {results['queries']:,} queries, {results['gallery']:,} images"]
    for name in ("coarse", "final"):
        scores = results[name]
        values = [f"{key} {scores[key]:.2f}" for key in ("R1", "R5", "R10", "mAP", "mINP")]
        lines.append(f"{name}: {'   '.join(values)}")
    return lines


def ranks_sheet(
    title: Sequence[str],
    rows: Sequence[SheetRow],
    images: Sequence[np.ndarray],
    gallery_ids: np.ndarray,
    *,
    top: int,
) -> Image.Image:
    """Draws one row a query: its caption, then a strip of images for each ranking.

    An image of the query's person has a green frame and a tick, another a red frame and a
    cross. The rankings stand side by side, best image left.

    Args:
      title: lines above the rows.
      rows: at least one; all have the same rankings.
      images: images[i] is u8[h, w, 3], the gallery; only those shown are read.
      gallery_ids: i32[G].
      top: images a strip, fewer where the rankings are shorter.

    Raises:
      ValueError: no rows, rankings that differ between rows, or an image that is not RGB.
    """
    columns = _columns(rows, top)
    names = list(rows[0].rankings)
    for number, row in enumerate(rows):
        if list(row.rankings) != names:
            raise ValueError(f"row {number} has rankings {list(row.rankings)}, row 0 has {names}")
    box = partial(cell_box, columns=columns, title_lines=len(title))
    sheet, write = _canvas(title, box(len(rows) - 1, len(names) - 1, columns - 1))
    for strip, name in enumerate(names):
        x, y = box(0, strip, 0)[:2]
        write((x, y - _LINE - 2), name)
    for number, row in enumerate(rows):
        _draw_query(sheet, write, box(number, 0, 0)[1], row, images)
        for strip, name in enumerate(names):
            _draw_strip(sheet, partial(box, number, strip), row, name, images, gallery_ids, top)
    return sheet


def stacked_sheet(
    title: Sequence[str],
    rows: Sequence[SheetRow],
    images: Sequence[np.ndarray],
    gallery_ids: np.ndarray,
    *,
    top: int,
) -> Image.Image:
    """Draws the rankings of each query under one another, each below its name.

    Args:
      title: lines above the rows.
      rows: at least one; all have equally many rankings, whose names may differ.
      images: images[i] is u8[h, w, 3], the gallery; only those shown are read.
      gallery_ids: i32[G].
      top: images a strip, fewer where the rankings are shorter.

    Raises:
      ValueError: no rows, numbers of rankings that differ, or an image that is not RGB.
    """
    columns, strips = _columns(rows, top), len(rows[0].rankings)
    for number, row in enumerate(rows):
        if len(row.rankings) != strips:
            raise ValueError(f"row {number} has {len(row.rankings)} rankings, row 0 has {strips}")
    box = partial(stacked_box, strips=strips, title_lines=len(title))
    left = box(0, 0, 0)[0]
    names = [(left, name) for row in rows for name in row.rankings]
    sheet, write = _canvas(title, box(len(rows) - 1, strips - 1, columns - 1), names)
    for number, row in enumerate(rows):
        _draw_query(sheet, write, box(number, 0, 0)[1], row, images)
        for strip, name in enumerate(row.rankings):
            x, y = box(number, strip, 0)[:2]
            write((x, y - _LINE - 2), name)
            _draw_strip(sheet, partial(box, number, strip), row, name, images, gallery_ids, top)
    return sheet


def save_sheet(path: str | os.PathLike, sheet: Image.Image) -> None:
    """Writes the sheet as PNG, as a whole or not at all."""
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    write_atomic(path, buffer.getvalue())


def cell_box(
    row: int, strip: int, rank: int, *, columns: int, title_lines: int
) -> tuple[int, int, int, int]:
    """Returns (left, top, right, bottom) in pixels of an image with its frame, right and bottom
    excluded; row, strip and rank count from 0."""
    strip_width = columns * (CELL_WIDTH + _GAP) - _GAP + _STRIP_GAP
    left = 2 * _MARGIN + TEXT_WIDTH + strip * strip_width + rank * (CELL_WIDTH + _GAP)
    header = 2 * _MARGIN + (title_lines + 1) * _LINE  # the title, then names of the strips
    top = header + row * (CELL_HEIGHT + _MARGIN)
    return left, top, left + CELL_WIDTH, top + CELL_HEIGHT


def stacked_box(
    row: int, strip: int, rank: int, *, strips: int, title_lines: int
) -> tuple[int, int, int, int]:
    """Returns what `cell_box` returns, of a `stacked_sheet`."""
    height = CELL_HEIGHT + _LINE + _GAP  # of a strip, its name and the space below
    left = 2 * _MARGIN + TEXT_WIDTH + rank * (CELL_WIDTH + _GAP)
    top = 2 * _MARGIN + title_lines * _LINE + row * (strips * height + _MARGIN)
    top += strip * height + _LINE
    return left, top, left + CELL_WIDTH, top + CELL_HEIGHT


def wrap(text: str, font, width: int, lines: int) -> list[str]:
    """Returns `text` in at most `lines` lines of `width` pixels; what is cut ends in "...".

    A word longer than a line is broken.
    """
    out = [""]
    for word in text.split():
        joined = f"{out[-1]} {word}".strip()
        if font.getlength(joined) <= width:
            out[-1] = joined
            continue
        if out[-1]:
            out.append("")
        for letter in word:
            if out[-1] and font.getlength(out[-1] + letter) > width:
                out.append("")
            out[-1] += letter
        if len(out) > lines:
            break
    if len(out) > lines:
        last = out[lines - 1]
        while last and font.getlength(last + "...") > width:
            last = last[:-1]
        out = [*out[: lines - 1], last + "..."]
    return out


def _columns(rows: Sequence[SheetRow], top: int) -> int:
    """Images of the longest strip."""
    if not rows or top < 1:
        raise ValueError(f"a sheet needs a query and an image, got {len(rows)} rows, top {top}")
    return max(min(top, len(index)) for row in rows for index in row.rankings.values())


def _canvas(title: Sequence[str], last: tuple[int, int, int, int], names=()):
    """A sheet with its title that holds its last cell and names, (x, text) each.

    Returns what writes at (x, y) on it, too.
    """
    font = ImageFont.load_default(_FONT_SIZE)
    lines = [*((_MARGIN, line) for line in title), *names]
    width = max([last[2], *(x + int(font.getlength(line)) for x, line in lines)])
    sheet = Image.new("RGB", (width + _MARGIN, last[3] + _MARGIN), _PAPER)
    write = partial(ImageDraw.Draw(sheet).text, fill=_INK, font=font)
    for number, line in enumerate(title):
        write((_MARGIN, _MARGIN + number * _LINE), line)
    return sheet, write


def _draw_query(sheet, write, top: int, row: SheetRow, images) -> None:
    """Writes a caption left of the images, as far as they reach; right of it its reference."""
    font, width = ImageFont.load_default(_FONT_SIZE), TEXT_WIDTH
    if row.reference is not None:
        width -= CELL_WIDTH + _GAP
        left = _MARGIN + width + _GAP
        box = (left, top, left + CELL_WIDTH, top + CELL_HEIGHT)
        _paste(sheet, box, images[row.reference], REFERENCE, row.reference)
    for place, line in enumerate(wrap(row.caption, font, width, CELL_HEIGHT // _LINE)):
        write((_MARGIN, top + place * _LINE), line)


def _draw_strip(sheet, box, row: SheetRow, name: str, images, gallery_ids, top: int) -> None:
    """Draws the first images of a ranking; box(rank) is the place of each."""
    for rank, index in enumerate(row.rankings[name][:top]):
        _draw_image(sheet, box(rank), images[index], gallery_ids[index] == row.person_id, index)


def _draw_image(sheet, box, image: np.ndarray, is_right: bool, index: int) -> None:
    """Pastes one image, shrunk into its frame, and marks it."""
    colour = RIGHT if is_right else WRONG
    _paste(sheet, box, image, colour, index)
    draw = ImageDraw.Draw(sheet)
    x, y = box[0] + FRAME + _BADGE, box[1] + FRAME + _BADGE
    draw.ellipse((x - _BADGE, y - _BADGE, x + _BADGE, y + _BADGE), fill=colour)
    if is_right:
        draw.line(((x - 5, y), (x - 1, y + 4), (x + 5, y - 4)), fill=_PAPER, width=2)
    else:
        draw.line((x - 4, y - 4, x + 4, y + 4), fill=_PAPER, width=2)
        draw.line((x - 4, y + 4, x + 4, y - 4), fill=_PAPER, width=2)


def _paste(sheet, box, image: np.ndarray, colour: tuple[int, int, int], index: int) -> None:
    """Pastes one image, shrunk into a frame of a colour."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image {index} must be u8[h, w, 3], got {image.dtype}{list(image.shape)}")
    left, top, right, bottom = box
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((left, top, right - 1, bottom - 1), fill=_EMPTY, outline=colour, width=FRAME)
    room = (CELL_WIDTH - 2 * FRAME, CELL_HEIGHT - 2 * FRAME)
    scale = min(room[0] / image.shape[1], room[1] / image.shape[0])
    size = tuple(max(1, round(scale * side)) for side in image.shape[1::-1])
    picture = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    sheet.paste(
        picture,
        (left + FRAME + (room[0] - size[0]) // 2, top + FRAME + (room[1] - size[1]) // 2),
    )
