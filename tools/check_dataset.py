"""Checks a copy of a published data set: python tools/check_dataset.py cuhk_pedes --root DIR

Prints counts beside the published ones and whatever is wrong with captions and image files.
Exits with 0 if the copy is as published, 1 if not, 2 if there is nothing that can be checked.
"""

import argparse
import hashlib
import importlib
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jaxreid.data import published
from jaxreid.data.annotations import PersonImage, check_identities, read_annotations
from jaxreid.data.prepared import decode_image
from jaxreid.data.records import AnnotationError

_DATA_SETS = ("cuhk_pedes", "icfg_pedes", "rstpreid")
_SHOWN = 5  # examples of each kind of fault


def main(arguments: list[str] | None = None) -> int:
    """Prints the report; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_set", choices=_DATA_SETS)
    parser.add_argument("--root", required=True, type=Path, help="data-set folder or its parent")
    parser.add_argument(
        "--allow-unknown-keys", action="store_true", help="go on with keys no published file has"
    )
    options = parser.parse_args(arguments)
    layout = importlib.import_module(f"jaxreid.data.{options.data_set}").LAYOUT
    try:
        source = published.locate(layout, options.root, allow_partial=True)
        images = []
        for path, split in source.annotations:
            images += read_annotations(
                path,
                splits=tuple(layout.counts),
                split=split,
                allow_unknown_keys=options.allow_unknown_keys,
            )
        check_identities(images)
    except (AnnotationError, OSError) as error:
        print(f"{options.data_set}: {error}", file=sys.stderr)
        return 2
    for path, _ in source.annotations:
        print(f"annotations {path}")
    print(f"images      {source.images}\n")
    matches = report_counts(layout, images)
    report_statistics(images)
    whole = report_images(source.images, images)
    print(f"\n{options.data_set}: " + ("as published" if matches and whole else "NOT as published"))
    return 0 if matches and whole else 1


def report_counts(layout: published.Layout, images: list[PersonImage]) -> bool:
    """Prints counts per split beside the published ones; True if all are equal."""
    print(f"{'split':<7}{'images':>18}{'people':>18}{'captions':>18}   (here / published)")
    equal = True
    for split, expected in layout.counts.items():
        got = published.count(image for image in images if image.split == split)
        equal &= got == expected
        pairs = "".join(f"{f'{a} / {b}':>18}" for a, b in zip(got, expected, strict=True))
        print(f"{split:<7}{pairs}{'' if got == expected else '   differs'}")
    return equal


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
    print(f"words a caption: {min(words)} to {max(words)}, mean {sum(words) / len(words):.1f}")
    _list(
        "captions of more than one person",
        [f"{len(people)} people: {caption}" for caption, people in shared.items()],
    )


def report_images(folder: Path, images: list[PersonImage]) -> bool:
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
