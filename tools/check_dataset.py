"""Checks a copy of a published data set: python tools/check_dataset.py cuhk_pedes --root DIR

Prints counts beside the published ones and whatever is wrong with captions and image files.
Exits with 0 if the copy is as published, 1 if not, 2 if there is nothing that can be checked.
"""

import argparse
import hashlib
import importlib
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jaxreid.data import itcpr_files, published, syncpr
from jaxreid.data.annotations import PersonImage, check_identities
from jaxreid.data.composed_sets import ComposedSource, image_folder
from jaxreid.data.prepared import decode_image
from jaxreid.data.records import AnnotationError

_CAPTIONED = ("cuhk_pedes", "icfg_pedes", "rstpreid")
_DIALOGUES = ("chatpedes", "interactive_pedes")
_COMPOSED = ("itcpr", "tgcpr", "syncpr")
_SHOWN = 5  # examples of each kind of fault


def main(arguments: list[str] | None = None) -> int:
    """Prints the report; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_set", choices=(*_CAPTIONED, *_DIALOGUES, *_COMPOSED))
    parser.add_argument("--root", required=True, type=Path, help="data-set folder or its parent")
    parser.add_argument(
        "--allow-unknown-keys", action="store_true", help="go on with keys no published file has"
    )
    options = parser.parse_args(arguments)
    check = check_composed if options.data_set in _COMPOSED else check_described
    try:
        whole = check(options.data_set, options.root, options.allow_unknown_keys)
    except (AnnotationError, OSError) as error:
        print(f"{options.data_set}: {error}", file=sys.stderr)
        return 2
    print(f"\n{options.data_set}: " + ("as published" if whole else "NOT as published"))
    return 0 if whole else 1


def check_described(data_set: str, root: Path, allow_unknown_keys: bool) -> bool:
    """Prints the report of a data set of captions or dialogues; True if it is as published."""
    layout = importlib.import_module(f"jaxreid.data.{data_set}").LAYOUT
    source = published.locate(layout, root, allow_partial=True)
    images = []
    for path, split in source.annotations:
        images += layout.read(
            path,
            splits=tuple(layout.counts),
            split=split,
            allow_unknown_keys=allow_unknown_keys,
        )
    check_identities(images)
    for path, _ in source.annotations:
        print(f"annotations {path}")
    print(f"images      {source.images}\n")
    matches = report_counts(layout, images)
    report_statistics(images)
    files = [path for path, _ in source.annotations]
    return report_images(source.images, images, files) and matches


def check_composed(data_set: str, root: Path, allow_unknown_keys: bool) -> bool:
    """Prints the report of a data set of composed queries; True if it is as published."""
    module = importlib.import_module(f"jaxreid.data.{data_set}")
    source = module.locate(root)
    read = _read_syncpr if data_set == "syncpr" else _read_itcpr
    images, counts, lists = read(source, module.COUNTS, allow_unknown_keys)
    folder = image_folder(source, (image.file for image in images))
    for path in source.annotations:
        print(f"annotations {path}")
    print(f"images      {folder}\n\n{'':<26}{'here / published':>24}")
    for what, (got, expected) in counts.items():
        differs = expected is not None and got != expected
        shown = f"{got} / {'not published' if expected is None else expected}"
        print(f"{what:<26}{shown:>24}{'   differs' if differs else ''}")
    print()
    for title, lines in lists.items():
        _list(title, lines)
    matches = all(expected in (None, got) for got, expected in counts.values())
    return report_images(folder, images, source.annotations) and matches


def _read_itcpr(
    source: ComposedSource, published_counts: itcpr_files.GalleryCounts, allow_unknown_keys: bool
) -> tuple[list[PersonImage], dict[str, tuple[int, int | None]], dict[str, list[str]]]:
    """Images, counts here and published, and what else is to be told."""
    queries, gallery = (
        itcpr_files.read_rows(path, captions=captions, allow_unknown_keys=allow_unknown_keys)
        for path, captions in zip(source.annotations, (True, False), strict=True)
    )
    relevant = sum(row.instance_id >= 0 for row in gallery)
    got = itcpr_files.GalleryCounts(len(queries), len(gallery), relevant)
    names = ("queries", "gallery images", "of them asked for")
    rows = {row.file: row for row in (*queries, *gallery)}  # the gallery knows whom it shows
    images = [_image(row.file, row.instance_id, row.source, row.record) for row in rows.values()]
    lost = itcpr_files.unanswered(queries, gallery)
    again = [file for file, n in Counter(row.file for row in gallery).items() if n > 1]
    return (
        images,
        dict(zip(names, zip(got, published_counts, strict=True), strict=True)),
        {
            "queries whose instance_id is in no row of the gallery": [
                f"{row.instance_id} (record {row.record})" for row in lost
            ],
            "images in the gallery more than once": again,
        },
    )


def _read_syncpr(
    source: ComposedSource, published_counts: Mapping[str, int], allow_unknown_keys: bool
) -> tuple[list[PersonImage], dict[str, tuple[int, int | None]], dict[str, list[str]]]:
    """Images, counts here and published, and what else is to be told: nothing."""
    table = syncpr.Table(source.annotations[0], allow_unknown_keys)
    got = {"triplets": len(table.words), "cpr_ids": len(set(table.cpr_id))}
    images = [_image(image.file, -1, image.source, image.record) for image in table.images()]
    return images, {what: (got[what], n) for what, n in published_counts.items()}, {}


def _image(file: str, person_id: int, source: Path, record: int) -> PersonImage:
    """An image as `report_images` takes it."""
    return PersonImage(file, person_id, "", (), str(source), record, "")


def report_counts(layout: published.Layout, images: list[PersonImage]) -> bool:
    """Prints counts per split beside the published ones; True if all are equal."""
    print(f"{'split':<7}{'images':>18}{'people':>18}{'captions':>18}   (here / published)")
    counts = {
        split: (published.count(image for image in images if image.split == split), expected)
        for split, expected in layout.counts.items()
    }
    if layout.total is not None:
        counts["all"] = published.count(images), layout.total
    whole = True
    for split, (got, expected) in counts.items():
        equal = published.equal(got, expected)
        whole &= equal
        pairs = "".join(f"{_pair(a, b):>18}" for a, b in zip(got, expected, strict=True))
        print(f"{split:<7}{pairs}{'' if equal else '   differs'}")
    return whole


def _pair(here: int, expected: int | None) -> str:
    """A number here and as published."""
    return f"{here} / {'?' if expected is None else expected}"


def report_statistics(images: list[PersonImage]) -> None:
    """Prints how images and captions spread over people; these are no faults."""
    per_person = Counter(image.person_id for image in images)
    per_image = Counter(len(image.captions) for image in images)
    words = [len(caption.split()) for image in images for caption in image.captions]
    people_of = defaultdict(set)
    for image in images:
        for caption in image.captions:
            people_of[caption].add(image.person_id)
    shared = {caption: people for caption, people in people_of.items() if len(people) > 1}
    print(
        f"\nimages a person: {min(per_person.values())} to {max(per_person.values())}, "
        f"{sum(n == 1 for n in per_person.values())} people with one"
    )
    print(
        "captions an image: "
        + ", ".join(f"{n} in {images} images" for n, images in sorted(per_image.items()))
    )
    _spread("words a caption", words)
    dialogues = [dialogue for image in images for dialogue in image.dialogues]
    if dialogues:
        per_image = Counter(len(image.dialogues) for image in images)
        print(
            "dialogues an image: "
            + ", ".join(f"{n} in {images} images" for n, images in sorted(per_image.items()))
        )
        _spread("rounds a dialogue", [len(dialogue.rounds) for dialogue in dialogues])
        _spread("words a dialogue", [len(dialogue.plain().split()) for dialogue in dialogues])
    _list(
        "captions of more than one person",
        [f"{len(people)} people: {caption}" for caption, people in shared.items()],
    )


def report_images(
    folder: Path, images: list[PersonImage], annotations: Iterable[Path] = ()
) -> bool:
    """Prints image files that are unusable, equal or unused; True if all can be used."""
    problems, same = [], defaultdict(list)
    for image in images:
        path = folder / image.file
        problem = published.image_problem(path)
        if problem is None:
            encoded = path.read_bytes()
            same[hashlib.sha256(encoded).digest()].append(image)
            problem = _pixel_problem(encoded)
        if problem:
            problems.append(f"{image.file} (record {image.record}) {problem}")
    twice = [group for group in same.values() if len(group) > 1]
    conflicts = [group for group in twice if len({image.person_id for image in group}) > 1]
    used = {Path(image.file) for image in images}
    used |= {path.relative_to(folder) for path in annotations if path.is_relative_to(folder)}
    unused = sorted(
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder) not in used
    )
    print()
    _list("image files that cannot be used", problems)
    _list("images listed twice (equal bytes)", map(_names, twice))
    _list("images listed twice for different people", map(_names, conflicts))
    _list("files in the image folder that no record names", map(str, unused))
    return not problems


def _spread(what: str, numbers: list[int]) -> None:
    """Prints the least, the largest and the mean number, if there are any."""
    if numbers:
        mean = sum(numbers) / len(numbers)
        print(f"{what}: {min(numbers)} to {max(numbers)}, mean {mean:.1f}")


def _pixel_problem(encoded: bytes) -> str | None:
    """Why an image with a good header cannot be decoded, or None."""
    try:
        decode_image(encoded)
    except ValueError as error:
        return str(error)
    return None


def _names(group: list[PersonImage]) -> str:
    """The files of images with equal bytes."""
    return ", ".join(f"{image.file} (person {image.person_id})" for image in group)


def _list(title: str, lines: Iterable[str]) -> None:
    """Prints how many there are and the first few."""
    lines = list(lines)
    print(f"{title}: {len(lines)}")
    for line in lines[:_SHOWN]:
        print(f"  {line}")
    if len(lines) > _SHOWN:
        print(f"  ... and {len(lines) - _SHOWN} more")


if __name__ == "__main__":
    sys.exit(main())
