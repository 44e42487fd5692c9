"""What a split of a data set is, once read: the same for every data set."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxreid.data.dialogues import Dialogue


class AnnotationError(ValueError):
    """A record of an annotation file that cannot be used; names file, record and key."""

    def __init__(self, file, record, key, problem: str):
        where = f"{file}" + ("" if record is None else f", record {record}")
        super().__init__(f"{where}{'' if key is None else f', key {key!r}'}: {problem}")
        self._parts = (str(file), record, key, problem)

    def __reduce__(self):
        # Exceptions pickle their message as the only argument; worker processes send this one.
        return type(self), self._parts


class CaptionError(ValueError):
    """A caption that cannot be used, by its number among those given, from 0."""

    def __init__(self, number: int, problem: str):
        super().__init__(number, problem)  # as they are: an exception pickles its arguments
        self.number, self.problem = number, problem

    def __str__(self) -> str:
        return f"caption {self.number} {self.problem}"


class Triplets(NamedTuple):
    """T composed queries over the images of a split: a reference image, and words for another.

    The words say what the person of the reference image wears where it is to be found. Every image
    of the gallery whose person_id is instance_id is a right answer.
    """

    reference: np.ndarray  # i32[T], position in the split
    target: np.ndarray  # i32[T], position of an image to be found; -1 where only its id is known
    instance_id: np.ndarray  # i32[T], person_id of the images to be found
    words: tuple[str, ...]


class Split(NamedTuple):
    """One split: n images in a fixed order, each with a person and its captions.

    images[i] decodes image i only when asked, so a split of any size opens at once. In a split with
    triplets a person in another outfit is another person_id, and -1 is a person nobody asks for.
    """

    data_set: str  # name of the builder, e.g. "cuhk_pedes"
    split: str  # "train" | "val" | "test"
    images: Sequence[np.ndarray]  # images[i] is u8[h, w, 3], RGB, the size of the file
    files: tuple[str, ...]  # path of each image relative to the image folder
    person_id: np.ndarray  # i32[n], as published (0- or 1-based)
    captions: tuple[tuple[str, ...], ...]  # captions[i] are those of image i
    triplets: Triplets | None = None
    gallery: np.ndarray | None = None  # i32[G], positions of the images that are ranked; None: all
    group: np.ndarray | None = None  # i32[n], equal for images that look alike; None: person_id
    # dialogues[i] are those about image i; None in a data set without conversations
    dialogues: tuple[tuple[Dialogue, ...], ...] | None = None


def said(split: Split, kind: str) -> tuple[tuple, ...]:
    """Returns what is said of each image: its captions, or its dialogues.

    Args:
      split: one.
      kind: "captions" | "dialogues".

    Raises:
      ValueError: nothing is said in this way of any image.
    """
    texts = split.captions if kind == "captions" else split.dialogues
    if texts is None or not any(texts):
        has = "dialogues" if kind == "captions" and split.dialogues else ""
        raise ValueError(
            f"{split.data_set} {split.split} has no {kind}" + (f", only {has}" if has else "")
        )
    return texts


def said_pairs(split: Split, kind: str) -> np.ndarray:
    """i32[C, 2]: (image index, number) of every caption or dialogue, in order of the images."""
    return np.array(
        [(i, j) for i, texts in enumerate(said(split, kind)) for j in range(len(texts))], np.int32
    ).reshape(-1, 2)


def caption_pairs(split: Split) -> np.ndarray:
    """i32[C, 2]: (image index, caption number) of every caption, in order of the images."""
    return said_pairs(split, "captions")
