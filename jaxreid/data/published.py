"""What the published person data sets share: layout on disk, counts per split, TFDS features.

A builder module states its `Layout` and calls these functions. They import no TensorFlow: the
features take paths of image files, whose bytes are stored as they are.
"""

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image

from jaxreid.data.annotations import PersonImage, check_identities, read_annotations
from jaxreid.data.chats import to_json
from jaxreid.data.records import AnnotationError

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
MAX_PIXELS = 25_000_000  # a crop of a person has 1e5; a file of 2 kB can claim 1e9
# One file per split, as the code of RaSa and of TBPS-CLIP writes them from the published file.
_FILES_PER_SPLIT = ("processed_data/{split}.json", "{split}_reid.json")


class Counts(NamedTuple):
    """Size of one split; None is not published."""

    images: int | None
    people: int | None
    captions: int | None


class Layout(NamedTuple):
    """Where a published data set keeps its files and what must be in them."""

    data_set: str  # name of the builder
    folders: tuple[str, ...]  # names its folder has under a common root
    annotations: tuple[str, ...]  # names of the file of all splits, the published one first
    without_splits: tuple[str, ...]  # files of other distributions, which do not say the split
    counts: Mapping[str, Counts]  # of every published split
    total: Counts | None = None  # of all splits, where those of each are not published
    read: Callable[..., list[PersonImage]] = read_annotations  # of one annotation file
    find: Callable[[Path], Path | None] = lambda folder: None  # a file of unknown name
    images: tuple[str, ...] = ("imgs", "images")  # names of the image folder; "" is the folder
    dialogues: bool = False  # whether there are any


class Source(NamedTuple):
    """The files of one copy of a data set."""

    images: Path  # image folder
    annotations: tuple[tuple[Path, str | None], ...]  # file, and its split if it has only one
    sha256: str  # of the annotation files


@dataclasses.dataclass(eq=False, kw_only=True)
class PublishedConfig(tfds.core.BuilderConfig):
    """Options that change what is prepared.

    Attributes:
      allow_partial: go on, with a log line, where counts differ from the published ones, a
        split is absent or records have unknown keys.
      val_people: train people held out as split "val", for a data set published without one.
    """

    allow_partial: bool = False
    val_people: int = 0


def info(
    builder: tfds.core.GeneratorBasedBuilder,
    description: str,
    citation: str,
    *,
    dialogues: bool = False,
) -> tfds.core.DatasetInfo:
    """Returns the TFDS description of a builder; those with dialogues have one feature more."""
    features = {
        "image": tfds.features.Image(),
        "file": tfds.features.Text(),
        "person_id": np.int64,
        "image_id": np.int64,
        "captions": tfds.features.Sequence(tfds.features.Text()),
    }
    if dialogues:
        features["dialogues"] = tfds.features.Text()  # JSON, see chats.to_json
    return tfds.core.DatasetInfo(
        builder=builder,
        description=description,
        features=tfds.features.FeaturesDict(features),
        citation=citation,
        disable_shuffling=True,  # gallery order, and so the order of ties, is the published one
    )


def locate(layout: Layout, manual_dir: Path, *, allow_partial: bool = False) -> Source:
    """Finds annotation files and image folder of a data set.

    Args:
      manual_dir: the folder of the data set, or the folder that holds it.
      allow_partial: accept files per split of which some are absent.

    Raises:
      FileNotFoundError: naming what was looked for and where.
    """
    manual_dir = Path(manual_dir)
    if not manual_dir.is_dir():
        raise FileNotFoundError(f"manual_dir {manual_dir} is not a folder")
    folders = [manual_dir, *(manual_dir / name for name in layout.folders)]
    for folder in folders:
        files = _annotation_files(layout, folder, allow_partial)
        if files:
            digest = hashlib.sha256()
            for path, split in files:
                digest.update(f"{split} ".encode() + hashlib.sha256(path.read_bytes()).digest())
            return Source(_image_folder(layout, folder), files, digest.hexdigest())
    for folder in folders:
        for name in layout.without_splits:
            if (folder / name).is_file():
                raise FileNotFoundError(
                    f"{folder / name} does not say which split an image is in; "
                    f"{folder / layout.annotations[0]} is needed"
                )
    names = [*layout.annotations, *_FILES_PER_SPLIT]
    raise FileNotFoundError(
        f"no annotation file of {layout.data_set} in {manual_dir}: looked for "
        f"{', '.join(names)} there and in its folders {', '.join(layout.folders)}"
    )


def read(source: Source, layout: Layout, config: PublishedConfig) -> dict[str, list[PersonImage]]:
    """Returns the images of every split that has any, all annotations and counts checked.

    Image files are not looked at: see `image_problem`.

    Raises:
      AnnotationError: a record cannot be used, records contradict each other, a split is empty
        or its counts differ from the published ones.
      ValueError: config.val_people does not fit the data set.
    """
    images = []
    for path, split in source.annotations:
        images += layout.read(
            path,
            splits=tuple(layout.counts),
            split=split,
            allow_unknown_keys=config.allow_partial,
        )
    check_identities(images)
    _check_counts(source, layout, images, config.allow_partial)
    splits = {split: [i for i in images if i.split == split] for split in layout.counts}
    if config.val_people:
        if "val" in layout.counts and (splits["val"] or layout.counts["val"].images is not None):
            raise ValueError(
                f"val_people must be 0 for {layout.data_set}, which has a val split; "
                f"got {config.val_people}"
            )
        splits["train"], splits["val"] = _hold_out(layout, splits["train"], config.val_people)
    return {split: images for split, images in splits.items() if images}


def count(images: Iterable[PersonImage]) -> Counts:
    """Returns the number of images, people and captions."""
    images = list(images)
    return Counts(
        images=len(images),
        people=len({image.person_id for image in images}),
        captions=sum(len(image.captions) for image in images),
    )


def equal(got: Counts, published: Counts) -> bool:
    """Returns whether counts are the published ones, as far as those are known."""
    return all(expected in (None, n) for n, expected in zip(got, published, strict=True))


def image_problem(path: Path) -> str | None:
    """Returns why an image file cannot be used, by its header alone, or None.

    Broken pixels behind a good header are found by `pixel_problem`.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        return f"is missing or unreadable: {error.strerror}"
    if not path.is_file():
        return "is not a file"
    if size == 0:
        return "is empty (0 bytes)"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our cap is lower
            with Image.open(path, formats=IMAGE_FORMATS) as image:
                width, height = image.size
    except Exception as error:  # readers of broken files raise far more than OSError
        return f"is no readable {', '.join(IMAGE_FORMATS)} image: {error}"
    if width * height > MAX_PIXELS:
        return f"has {width} x {height} pixels, more than {MAX_PIXELS}"
    return None


def pixel_problem(path: Path) -> str | None:
    """Returns why an image file with a good header cannot be decoded, or None."""
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            image.load()
    except Exception as error:  # readers of broken files raise far more than OSError
        return f"cannot be decoded: {error}"
    return None


def split_images(
    layout: Layout, config: PublishedConfig, manual_dir: Path
) -> tuple[Path, dict[str, list[PersonImage]]]:
    """Returns the image folder and the images per split, with every image file checked.

    Each is decoded, about 0.3 ms: a broken one of val would else end a run after its first epoch.

    Raises:
      AnnotationError: as `read`, or an image file is missing, unreadable, damaged or too large.
    """
    source = locate(layout, manual_dir, allow_partial=config.allow_partial)
    splits = read(source, layout, config)
    for images in splits.values():
        for image in images:
            path = source.images / image.file
            problem = image_problem(path) or pixel_problem(path)
            if problem:
                raise AnnotationError(
                    image.source, image.record, image.path_key, f"{path} {problem}"
                )
    for split, images in splits.items():
        logging.info("%s %s: %s", layout.data_set, split, _words(count(images)))
    return source.images, splits


def examples(
    folder: Path, images: Iterable[PersonImage], *, dialogues: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the TFDS examples of a split; image_id counts from 0 in published order."""
    for image_id, image in enumerate(images):
        example = {
            "image": str(folder / image.file),
            "file": image.file,
            "person_id": image.person_id,
            "image_id": image_id,
            "captions": list(image.captions),
        }
        if dialogues:
            example["dialogues"] = json.dumps(to_json(image.dialogues), ensure_ascii=False)
        yield image_id, example


def _annotation_files(
    layout: Layout, folder: Path, allow_partial: bool
) -> tuple[tuple[Path, str | None], ...]:
    """The annotation files of a folder; the published file goes before files per split."""
    for name in layout.annotations:
        if (folder / name).is_file():
            return ((folder / name, None),)
    found = layout.find(folder)
    if found is not None:
        return ((found, None),)
    for pattern in _FILES_PER_SPLIT:
        files = tuple((folder / pattern.format(split=split), split) for split in layout.counts)
        present = tuple((path, split) for path, split in files if path.is_file())
        if present and len(present) < len(files) and not allow_partial:
            absent = next(path for path, _ in files if not path.is_file())
            raise FileNotFoundError(f"{absent} is needed beside {present[0][0]}")
        if present:
            return present
    return ()


def _image_folder(layout: Layout, folder: Path) -> Path:
    """The image folder of a data-set folder."""
    for name in layout.images:
        if (folder / name).is_dir():
            return folder / name
    raise FileNotFoundError(f"no image folder {' or '.join(layout.images)} in {folder}")


def _check_counts(
    source: Source, layout: Layout, images: list[PersonImage], allow_partial: bool
) -> None:
    """Compares every split, and all of them together, with the published counts."""
    for split, expected in layout.counts.items():
        got = count(image for image in images if image.split == split)
        file = next((path for path, only in source.annotations if only in (None, split)), split)
        _compare(file, f"split {split!r}", got, expected, allow_partial)
    if layout.total is not None:
        file = source.annotations[0][0]
        _compare(file, "the data set", count(images), layout.total, allow_partial)


def _compare(
    file: Path | str, what: str, got: Counts, expected: Counts, allow_partial: bool
) -> None:
    """Refuses counts that are not the published ones, or tells the log."""
    if equal(got, expected):
        return
    problem = f"{what} has {_words(got)}, published are {_words(expected)}"
    if not allow_partial:
        raise AnnotationError(
            file, None, "split", f"{problem}; allow_partial=True takes what is there"
        )
    logging.warning("%s: %s", file, problem)


def _hold_out(
    layout: Layout, train: list[PersonImage], val_people: int
) -> tuple[list[PersonImage], list[PersonImage]]:
    """Train without and with only the held-out people, who are spread evenly over the ids."""
    people = sorted({image.person_id for image in train})
    if not 0 < val_people < len(people):
        raise ValueError(
            f"val_people must be in 0..{len(people) - 1} for {layout.data_set}, got {val_people}"
        )
    chosen = {people[i * len(people) // val_people] for i in range(val_people)}
    val = [image._replace(split="val") for image in train if image.person_id in chosen]
    return [image for image in train if image.person_id not in chosen], val


def _words(counts: Counts) -> str:
    """Counts in words."""
    return ", ".join(f"{n} {name}" for name, n in counts._asdict().items() if n is not None)
