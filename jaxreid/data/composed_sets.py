"""What the data sets made for composed queries share: files on disk, checks, prepared form.

Images are prepared by TFDS as those of every data set. Triplets, gallery and everything else but
pixels stand in one file a split beside them, so that a million triplets open in seconds.
"""

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from jaxreid.data.prepared import LazyImages, damaged, read_records
from jaxreid.data.published import image_problem, pixel_problem
from jaxreid.data.records import AnnotationError, Split, Triplets


class ComposedSource(NamedTuple):
    """The files of one copy of a data set."""

    images: Path  # image folder
    annotations: tuple[Path, ...]
    sha256: str  # of the annotation files


class ComposedImage(NamedTuple):
    """One image of a split and where it is named first, for messages."""

    file: str  # relative to the image folder, with forward slashes
    instance_id: int  # -1: nobody asks for it
    captions: tuple[str, ...]
    source: Path  # annotation file
    record: int  # index in that file, from 0
    key: str  # that holds `file` there


class ComposedSplit(NamedTuple):
    """A split as read from the annotation files."""

    images: Sequence[ComposedImage]
    triplets: Triplets
    gallery: np.ndarray  # i32[G], positions in `images`


def locate(
    data_set: str, manual_dir: Path, folders: Sequence[str], files: Sequence[str]
) -> ComposedSource:
    """Finds the annotation files of a data set and its image folder.

    Both may lie in the data set's folder or in "datasets" in it: the READMEs say the one, the code
    of the authors the other.

    Args:
      data_set: name of the builder, for messages.
      manual_dir: the folder of the data set, or the folder that holds it.
      folders: names the data set's folder has under a common root.
      files: names of the annotation files, all needed.

    Raises:
      FileNotFoundError: naming what was looked for and where.
    """
    manual_dir = Path(manual_dir)
    if not manual_dir.is_dir():
        raise FileNotFoundError(f"manual_dir {manual_dir} is not a folder")
    for root in (manual_dir, *(manual_dir / name for name in folders)):
        for folder in (root, root / "datasets"):
            present = [folder / name for name in files if (folder / name).is_file()]
            if present and len(present) < len(files):
                absent = next(folder / name for name in files if folder / name not in present)
                raise FileNotFoundError(f"{absent} is needed beside {present[0]}")
            if present:
                digest = hashlib.sha256()
                for path in present:
                    with path.open("rb") as file:
                        digest.update(hashlib.file_digest(file, "sha256").digest())
                return ComposedSource(folder, tuple(present), digest.hexdigest())
    raise FileNotFoundError(
        f"no {' and '.join(files)} of {data_set} in {manual_dir}: looked there and in its folders "
        f"{', '.join((*folders, 'datasets'))}"
    )


def image_folder(source: ComposedSource, files: Iterable[str]) -> Path:
    """Returns the folder that the image paths start from: that of the annotations or a neighbour.

    Args:
      source: where the annotations are.
      files: image paths as the annotations give them.
    """
    firsts = {file.split("/")[0] for file in files}
    folder = source.images
    for place in (folder, folder.parent if folder.name == "datasets" else folder / "datasets"):
        if any((place / first).is_dir() for first in firsts):
            return place
    return folder


def check_images(folder: Path, images: Iterable[ComposedImage]) -> None:
    """Decodes every image file once.

    Raises:
      AnnotationError: a file is missing, unreadable, damaged or too large.
    """
    for image in images:
        path = folder / image.file
        problem = image_problem(path) or pixel_problem(path)
        if problem:
            raise AnnotationError(image.source, image.record, image.key, f"{path} {problem}")


def check_count(path: Path, what: str, got: int, published: int, allow_partial: bool) -> None:
    """Compares a number with the published one; with `allow_partial` a difference is logged."""
    if got == published:
        return
    problem = f"there are {got} {what}, published are {published}"
    if not allow_partial:
        raise AnnotationError(
            path, None, None, f"{problem}; allow_partial=True takes what is there"
        )
    logging.warning("%s: %s", path, problem)


def examples(folder: Path, images: Iterable[ComposedImage]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the TFDS examples of a split; features as in `published.info`."""
    for image_id, image in enumerate(images):
        yield (
            image_id,
            {
                "image": str(folder / image.file),
                "file": image.file,
                "person_id": image.instance_id,
                "image_id": image_id,
                "captions": list(image.captions),
            },
        )


def write_queries(directory: Path, split: str, content: ComposedSplit) -> None:
    """Writes everything of a split but the pixels, for `read_split`."""
    images, triplets = content.images, content.triplets
    arrays = {
        "person_id": np.array([image.instance_id for image in images], np.int32),
        "captions_of": np.array([len(image.captions) for image in images], np.int32),
        "gallery": content.gallery.astype(np.int32),
        "reference": triplets.reference.astype(np.int32),
        "target": triplets.target.astype(np.int32),
        "instance_id": triplets.instance_id.astype(np.int32),
    }
    texts = {
        "files": [image.file for image in images],
        "captions": [caption for image in images for caption in image.captions],
        "words": triplets.words,
    }
    for name, strings in texts.items():
        encoded = [text.encode() for text in strings]
        arrays[name] = np.frombuffer(b"".join(encoded), np.uint8)
        arrays[f"{name}_end"] = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    with _queries_path(directory, split).open("wb") as file:  # TFDS renames the whole folder
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())


def read_split(name: str, split: str, directory: Path, caption_limit: int | None) -> Split:
    """Returns a split of a prepared folder.

    Raises:
      AnnotationError: prepared data is damaged.
    """
    images = len(read_records(name, split, directory))
    try:
        with np.load(_queries_path(directory, split), allow_pickle=False) as stored:
            files, words = _strings(stored, "files"), _strings(stored, "words")
            captions = iter(_strings(stored, "captions"))
            arrays = {
                key: stored[key]
                for key in ("person_id", "gallery", "reference", "target", "instance_id")
            }
            captions = tuple(
                tuple(itertools.islice(captions, int(n)))[:caption_limit]
                for n in stored["captions_of"]
            )
        if not images == len(files) == len(captions) == len(arrays["person_id"]):
            raise ValueError(f"{images} images, names of {len(files)}")
    except Exception as error:  # a cut zip file raises one of many
        raise damaged(name, split, directory, error) from error
    return Split(
        data_set=name,
        split=split,
        images=LazyImages(name, split, directory, files),
        files=files,
        person_id=arrays["person_id"],
        captions=captions,
        triplets=Triplets(arrays["reference"], arrays["target"], arrays["instance_id"], words),
        gallery=arrays["gallery"],
    )


def _strings(stored: np.lib.npyio.NpzFile, name: str) -> tuple[str, ...]:
    """The strings that `write_queries` wrote under a name."""
    text = stored[name].tobytes()
    ends = stored[f"{name}_end"].tolist()
    return tuple(text[a:b].decode() for a, b in itertools.pairwise((0, *ends)))


def _queries_path(directory: Path, split: str) -> Path:
    """The file of a split beside its images."""
    return directory / f"queries-{split}.npz"
