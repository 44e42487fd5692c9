"""Makes composed triplets (reference image, words, target image) of images with attributes.

    python tools/make_triplets.py cuhk_pedes --root DIR --attributes attributes.csv --out t.json
    python tools/make_triplets.py synthpedes:default --data-dir ~/data --out t.json --sheet t.png

Pairs people of the same body in other outfits, writes the words from the attributes that differ,
and keeps what passes four filters: quality, identity, alignment, inferability. The report says what
each of them removed. Forms of attribute tables: jaxreid/data/triplet_maker/tables.py; callables for
a language model, a generator and scorers: jaxreid/data/triplet_maker/plugs.py.

Exit codes: 0, 1 (no triplet was kept), 2 (what a user can mend), 130 (Ctrl-C; no file of triplets).
"""

import argparse
import io
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from jaxreid.data.triplet_maker import plugs as plugged  # noqa: E402
from jaxreid.data.triplet_maker.formats import (  # noqa: E402
    FORMATS,
    Files,
    files_generated,
    files_of_set,
    row,
)
from jaxreid.data.triplet_maker.inferability import AnswerLimits  # noqa: E402
from jaxreid.data.triplet_maker.maker import PAIRS, Judged, Limits, Plan, make  # noqa: E402
from jaxreid.data.triplet_maker.quality import ImageLimits, TextLimits  # noqa: E402
from jaxreid.data.triplet_maker.records import Collection, attribute_values  # noqa: E402
from jaxreid.data.triplet_maker.report import Report  # noqa: E402
from jaxreid.data.triplet_maker.scheme import Scheme, make_scheme  # noqa: E402
from jaxreid.data.triplet_maker.sets import (  # noqa: E402
    PUBLISHED,
    RENDERED,
    read_published,
    read_rendered,
)
from jaxreid.data.triplet_maker.tables import MARKET_1501, Mapped, read_mapping, read_table  # noqa: E402
from jaxreid.files import write_atomic, write_json  # noqa: E402
from jaxreid.sheet import CELL_HEIGHT, CELL_WIDTH, TEXT_WIDTH, save_sheet, wrap  # noqa: E402

_SPLITS = ("train", "val", "test")
_SECONDS = 5  # between lines of progress
_SHEET_ROWS = 20
_MARGIN, _LINE, _FONT_SIZE = 16, 18, 14  # pixels


class Kept(NamedTuple):
    """A triplet to be written."""

    judged: Judged
    collection: Collection
    files: Files
    split: str


def main(arguments: Sequence[str]) -> int:
    """Makes, writes and reports; returns the exit code."""
    options = parse(arguments)
    try:
        plugs = _plugs(options)
        if plugs.generate and not options.images_out:
            raise ValueError("--generate needs --images-out, the folder of the images it makes")
        collections = open_collections(options)
        scheme = _scheme(collections, options)
        kept, reports = make_all(collections, scheme, options, plugs)
        write_all(kept, reports, options)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; no triplets are written", file=sys.stderr)
        return 130
    for split, report in reports.items():
        print(f"\n{split}\n{report.as_text()}")
    print(f"\n{len(kept):,} triplets in {options.out}")
    return 0 if kept else 1


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of a command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("set", help=f"{', '.join(PUBLISHED)}, or {RENDERED}:VARIANT")
    add("--root", type=Path, metavar="DIR", help="published folder or its parent")
    add("--attributes", type=Path, metavar="FILE", help="table of attributes, .json or .csv")
    add("--mapping", type=Path, metavar="FILE", help="cells of the table, .json, or market_1501")
    add("--data-dir", type=Path, metavar="DIR", help=f"prepared data, of {RENDERED}")
    add("--split", action="append", choices=_SPLITS, help="again for each; by default all")
    add("--out", type=Path, required=True, metavar="FILE", help="triplets, .json")
    add("--format", choices=FORMATS, default="ids", help="ids (default), or the keys of SynCPR")
    add("--report", type=Path, metavar="FILE", help="the report as .json")
    add("--sheet", type=Path, metavar="FILE", help=f"{_SHEET_ROWS} triplets drawn, .png")
    add("--seed", type=int, default=0)
    add("--limit", type=int, metavar="N", help="triplets of a split; by default no limit")
    add("--per-image", type=int, default=1, metavar="N", help="triplets of a reference image (1)")
    add("--tries", type=int, default=4, metavar="N", help="candidates of a reference image (4)")
    add("--pairs", choices=PAIRS, default="body", help="what both images share (body)")
    add("--body", default="", metavar="A,B", help="attributes of the body; by default by name")
    add("--ignore", default="", metavar="A,B", help="columns of the table that are not read")
    add("--allow-missing", action="store_true", help="leave out images that the table lacks")
    for name, (kind, default, what) in _THRESHOLDS.items():
        add(f"--{name}", type=kind, default=default, metavar="X", help=f"{what} ({default})")
    for name, what in _PLUGS.items():
        add(f"--{name}", metavar="MODULE:FUNCTION", help=what)
    add("--images-out", type=Path, metavar="DIR", help="folder of generated images")
    return parser.parse_args(arguments)


_THRESHOLDS = {
    "fewest-changes": (int, 1, "parts of the outfit that differ, at least"),
    "most-changes": (int, 4, "parts of the outfit that differ, at most"),
    "least-width": (int, 24, "quality: pixels"),
    "least-height": (int, 48, "quality: pixels"),
    "least-sharpness": (float, 20.0, "quality: variance of the Laplacian of grey levels"),
    "least-contrast": (float, 12.0, "quality: standard deviation of grey levels"),
    "least-exposure": (float, 0.5, "quality: share of pixels neither black nor white"),
    "fewest-words": (int, 2, "quality of the words"),
    "most-words": (int, 60, "quality of the words"),
    "least-known": (float, 0.8, "quality: share of words that the captions use"),
    "least-identity": (float, 1.0, "identity: share of equal attributes of the body"),
    "least-embedding": (float, 0.5, "identity: cosine of the embeddings of --embed"),
    "least-alignment": (float, 1.0, "alignment: share of phrases that the target shows"),
    "least-score": (float, 0.0, "alignment: what --score returns"),
    "fewest-by-words": (int, 2, "inferability: looks that the words alone leave, at least"),
    "fewest-by-reference": (int, 2, "inferability: other outfits of the body, at least"),
    "most-by-both": (int, 1, "inferability: looks that reference and words leave, at most"),
}
_PLUGS = {
    "write": "writes the words: (reference, target, differences) -> text",
    "generate": "draws both images: (caption, caption) -> two images",
    "embed": "embeds who is on an image: image -> vector",
    "score": "scores words: (target image, words) -> number",
}


def open_collections(options: argparse.Namespace) -> dict[str, Collection]:
    """Returns the splits that are asked for.

    Raises:
      ValueError: options do not fit the set, or a file of it is wrong.
      FileNotFoundError: a file is missing.
    """
    name, _, variant = options.set.partition(":")
    if name == RENDERED:
        if options.root or options.attributes or options.mapping:
            raise ValueError(f"{RENDERED} has attributes: no --root, --attributes or --mapping")
        if not options.data_dir:
            raise ValueError(f"{RENDERED} needs --data-dir")
        splits = options.split or _SPLITS
        return {
            split: read_rendered(variant or "default", split, data_dir=options.data_dir)
            for split in splits
        }
    if name not in PUBLISHED or variant:
        raise ValueError(
            f"set must be one of {', '.join(PUBLISHED)}, {RENDERED}:VARIANT, got {options.set!r}"
        )
    if not options.root or not options.attributes:
        raise ValueError(f"{name} needs --root and --attributes")
    mapping = _mapping(options.mapping) if options.mapping else None
    table = read_table(options.attributes, mapping=mapping, ignore=_names(options.ignore))
    found = read_published(name, options.root, table, allow_missing=options.allow_missing)
    for split in options.split or ():
        if split not in found:
            raise ValueError(f"{name} has no images of --split {split}, only {', '.join(found)}")
    return {split: found[split] for split in options.split or found}


def make_all(
    collections: Mapping[str, Collection],
    scheme: Scheme,
    options: argparse.Namespace,
    plugs: plugged.Plugs,
) -> tuple[list[Kept], dict[str, Report]]:
    """Returns the triplets kept and a report a split; generated images are written at once."""
    limits, plan = _limits(options), _plan(options)
    kept: list[Kept] = []
    reports: dict[str, Report] = {}
    first_id = 0
    for split, collection in collections.items():
        rng = np.random.default_rng((options.seed, _SPLITS.index(split)))
        report = reports[split] = Report()
        progress = _Progress(split, len(collection.records), options.limit)
        for judged in make(collection, scheme, limits, plan, rng, plugs):
            report.add(judged, collection)
            for candidate in judged:
                if not candidate.kept:
                    continue
                if candidate.images is None:
                    files = files_of_set(candidate, collection, first_id)
                else:
                    files = files_generated(len(kept))
                    _write_images(candidate, files, options.images_out)
                    candidate = candidate._replace(images=())  # they would fill the memory
                kept.append(Kept(candidate, collection, files, split))
            progress(report)
        first_id += len(collection.records)  # there are no more looks than images
    return kept, reports


def write_all(
    kept: Sequence[Kept], reports: Mapping[str, Report], options: argparse.Namespace
) -> None:
    """Writes the triplets, the report and the sheet, each whole or not at all."""
    write_json(options.out, [row(options.format, k.judged, k.files, k.split) for k in kept])
    if options.report:
        splits = {split: report.as_json() for split, report in reports.items()}
        chosen = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in vars(options).items()
        }
        write_json(options.report, {"options": chosen, "splits": splits})
    if options.sheet and kept:
        picked = np.linspace(0, len(kept) - 1, min(_SHEET_ROWS, len(kept))).round().astype(int)
        save_sheet(options.sheet, draw_sheet([kept[i] for i in picked], options.images_out))


def draw_sheet(kept: Sequence[Kept], images_out: Path | None) -> Image.Image:
    """Draws a row a triplet: reference, words, target.

    Args:
      kept: at least one.
      images_out: folder of generated images.
    """
    font = ImageFont.load_default(_FONT_SIZE)
    width = 2 * CELL_WIDTH + TEXT_WIDTH + 4 * _MARGIN
    step = CELL_HEIGHT + _MARGIN
    columns = 2 if len(kept) > 1 else 1
    rows = -(-len(kept) // columns)
    sheet = Image.new("RGB", (columns * width, rows * step + _MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for number, one in enumerate(kept):
        left = number // rows * width + _MARGIN
        top = number % rows * step + _MARGIN
        right = left + CELL_WIDTH + TEXT_WIDTH + 2 * _MARGIN
        for x, image in zip((left, right), _pictures(one, images_out), strict=True):
            _paste(sheet, image, x, top)
        lines = wrap(one.judged.words, font, TEXT_WIDTH, CELL_HEIGHT // _LINE - 2)
        scores = "  ".join(f"{v.filter} {v.score:.2g}" for v in one.judged.verdicts)
        lines += ["", *wrap(scores, ImageFont.load_default(_FONT_SIZE - 3), TEXT_WIDTH, 2)]
        for place, line in enumerate(lines):
            at = (left + CELL_WIDTH + _MARGIN, top + place * _LINE)
            draw.text(at, line, fill=(25, 25, 25), font=font)
    return sheet


def _pictures(one: Kept, images_out: Path | None) -> tuple[Image.Image, Image.Image]:
    """Reference and target of a triplet."""
    if one.judged.images is not None:
        files = one.files
        return tuple(Image.open(images_out / name) for name in (files.reference, files.target))
    images = one.collection.images
    return tuple(Image.fromarray(images[i]) for i in (one.judged.reference, one.judged.target))


def _paste(sheet: Image.Image, image: Image.Image, left: int, top: int) -> None:
    """Pastes an image, as large as a cell allows."""
    scale = min(CELL_WIDTH / image.width, CELL_HEIGHT / image.height)
    size = tuple(max(1, round(scale * side)) for side in image.size)
    sheet.paste(image.convert("RGB").resize(size, Image.Resampling.BILINEAR), (left, top))


def _write_images(candidate: Judged, files: Files, folder: Path) -> None:
    """Writes the two images of a generator."""
    for image, name in zip(candidate.images, (files.reference, files.target), strict=True):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        write_atomic(folder / name, buffer.getvalue())


class _Progress:
    """Prints how far it is, every few seconds."""

    def __init__(self, split: str, images: int, limit: int | None):
        self._split, self._images, self._limit = split, images, limit
        self._started = self._shown = time.monotonic()

    def __call__(self, report: Report) -> None:
        now = time.monotonic()
        if now - self._shown < _SECONDS:
            return
        self._shown = now
        rate = report.references / (now - self._started)
        left = (self._images - report.references) / rate
        if self._limit and report.kept:
            left = min(left, (self._limit - report.kept) * (now - self._started) / report.kept)
        print(
            f"{self._split}: {report.references:,} of {self._images:,} images, {report.kept:,} "
            f"triplets, {rate:.0f} images/s, {left:.0f} s left",
            file=sys.stderr, flush=True,
        )  # fmt: skip


def _mapping(path: Path) -> Mapped:
    """A mapping from a file, or that of Market-1501 by its name."""
    return read_mapping(MARKET_1501 if str(path) == MARKET_1501.stem else path)


def _scheme(collections: Mapping[str, Collection], options: argparse.Namespace) -> Scheme:
    """Roles of the attributes of all splits together."""
    records = [record for collection in collections.values() for record in collection.records]
    ignored = _names(options.ignore)
    names = [name for name in attribute_values(records) if name not in ignored]
    return make_scheme(names, _names(options.body))


def _limits(options: argparse.Namespace) -> Limits:
    """Thresholds of the filters."""
    for name in ("identity", "alignment", "known", "exposure"):
        value = getattr(options, f"least_{name}")
        if not 0 <= value <= 1:
            raise ValueError(f"--least-{name} must be in [0, 1], got {value}")
    return Limits(
        ImageLimits(
            options.least_width, options.least_height, options.least_sharpness,
            options.least_contrast, options.least_exposure,
        ),
        TextLimits(options.fewest_words, options.most_words, options.least_known),
        options.least_identity,
        options.least_embedding,
        options.least_alignment,
        options.least_score,
        AnswerLimits(options.fewest_by_words, options.fewest_by_reference, options.most_by_both),
    )  # fmt: skip


def _plan(options: argparse.Namespace) -> Plan:
    """What is proposed and kept."""
    if options.seed < 0:
        raise ValueError(f"--seed must be >= 0, got {options.seed}")
    changes = (options.fewest_changes, options.most_changes)
    return Plan(options.pairs, changes, options.tries, options.per_image, options.limit)


def _plugs(options: argparse.Namespace) -> plugged.Plugs:
    """The callables of the options; modules beside the user are found."""
    if any(getattr(options, name) for name in _PLUGS):
        sys.path.append(str(Path.cwd()))
    return plugged.Plugs(
        **{
            name: plugged.load(getattr(options, name), f"--{name}")
            for name in _PLUGS
            if getattr(options, name)
        }
    )


def _names(text: str) -> tuple[str, ...]:
    """The names of a list with commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
