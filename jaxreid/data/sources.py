"""What a split offers to read: pairs and triplets to train on, gallery images, queries."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxreid.data.dialogue_text import read_columns
from jaxreid.data.records import Split, Triplets, said, said_pairs

_COLUMNS = 64


class Pairs:
    """Training records, one per (image, caption) or (image, dialogue).

    A record is {"image": u8[h, w, 3], "text": {key: row}, "caption": str or Dialogue, "person_id":
    i32, "image_id": i32 (place in the split), "file": str, "index": i32 (place in the pairs)}.

    person_id counts from 0 in the order of first appearance in the split, without gaps, as
    identity classifiers need it; it is not the published id.
    """

    def __init__(self, split: Split, texts: Mapping[str, np.ndarray], kind: str = "captions"):
        """Args: texts, arrays with one row per `said_pairs(split, kind)`, from Method.tokenize."""
        self.split, self._said = split, said(split, kind)
        self.image_id, self._number = said_pairs(split, kind).T
        self._texts = _check_texts(split, texts, len(self.image_id), kind)
        self.person_id, self.people = _from_0(split.person_id[self.image_id])
        self.group_id = _group(split)[self.image_id]

    def __len__(self) -> int:
        return len(self.image_id)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image_id = self.image_id[index]
        return {
            "image": _read(self.split, image_id),
            "text": {key: rows[index] for key, rows in self._texts.items()},
            "caption": self._said[image_id][self._number[index]],
            "person_id": self.person_id[index],
            "image_id": image_id,
            "file": self.split.files[image_id],
            "index": np.int32(index),
        }


class ComposedPairs:
    """Training records of composed queries, one per triplet whose target is known.

    A record is {"image": u8[h, w, 3] of the target, "reference": u8[h, w, 3], "text": {key: row},
    "caption": the words, "person_id": i32, "image_id": i32 (place of the target in the split),
    "file": str of the target, "index": i32 (place in the pairs)}.

    person_id is the instance, counted from 0 in the order of first appearance, without gaps.
    """

    def __init__(self, split: Split, texts: Mapping[str, np.ndarray]):
        """Args: texts, arrays with one row per triplet of the split, from Method.tokenize."""
        triplets = _triplets(split)
        self.split = split
        self._texts = _check_texts(split, texts, len(triplets.words), "triplets")
        self._triplet = np.flatnonzero(triplets.target >= 0)
        self.image_id = triplets.target[self._triplet].astype(np.int32)
        self.person_id, self.people = _from_0(triplets.instance_id[self._triplet])
        self.group_id = _group(split)[self.image_id]

    def __len__(self) -> int:
        return len(self.image_id)

    def __getitem__(self, index: int) -> dict[str, Any]:
        triplet, image_id = self._triplet[index], self.image_id[index]
        return {
            "image": _read(self.split, image_id),
            "reference": _read(self.split, self.split.triplets.reference[triplet]),
            "text": {key: rows[triplet] for key, rows in self._texts.items()},
            "caption": self.split.triplets.words[triplet],
            "person_id": self.person_id[index],
            "image_id": image_id,
            "file": self.split.files[image_id],
            "index": np.int32(index),
        }


class Images:
    """Gallery records, one per ranked image: {"image", "image_id", "file", "index"}.

    image_id i32[G] has the places in the split: `split.gallery`, or all of them without one.
    """

    def __init__(self, split: Split):
        self.split = split
        if split.gallery is None:
            self.image_id = np.arange(len(split.images), dtype=np.int32)
        else:
            self.image_id = split.gallery.astype(np.int32)

    def __len__(self) -> int:
        return len(self.image_id)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image_id = self.image_id[index]
        return {
            "image": _read(self.split, image_id),
            "image_id": image_id,
            "file": self.split.files[image_id],
            "index": np.int32(index),
        }


class Captions:
    """Query records, one per caption: {"text", "caption", "image_id", "file", "index"}."""

    def __init__(self, split: Split, texts: Mapping[str, np.ndarray], kind: str = "captions"):
        """Args: texts, arrays with one row per `said_pairs(split, kind)`, from Method.tokenize."""
        self.split, self._said = split, said(split, kind)
        self.image_id, self._number = said_pairs(split, kind).T
        self._texts = _check_texts(split, texts, len(self.image_id), kind)

    def __len__(self) -> int:
        return len(self.image_id)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image_id = self.image_id[index]
        return {
            "text": {key: rows[index] for key, rows in self._texts.items()},
            "caption": self._said[image_id][self._number[index]],
            "image_id": image_id,
            "file": self.split.files[image_id],
            "index": np.int32(index),
        }


class Dialogues(Captions):
    """Query records, one per dialogue, as those of `Captions`, with "turn": rounds to be read.

    Columns of tokens that no dialogue fills by then are left out, up to a multiple of _COLUMNS: few
    rounds are encoded fast, and few programs are compiled.
    """

    def __init__(self, split: Split, texts: Mapping[str, np.ndarray], turn: int):
        """Args: texts, of `encode_dialogues`; turn, >= 0, a shorter dialogue is read whole."""
        width = -(-read_columns(texts["rounds"], turn) // _COLUMNS) * _COLUMNS
        cut = {name: texts[name][:, :width] for name in ("tokens", "rounds")}
        super().__init__(split, {**texts, **cut}, "dialogues")
        self._turn = turn

    def __getitem__(self, index: int) -> dict[str, Any]:
        return super().__getitem__(index) | {"turn": self._turn}


class ComposedQueries:
    """Queries, one per triplet: {"reference", "text", "caption", "image_id", "file", "index"}.

    image_id and file are those of the reference image.
    """

    def __init__(self, split: Split, texts: Mapping[str, np.ndarray]):
        """Args: texts, arrays with one row per triplet of the split, from Method.tokenize."""
        triplets = _triplets(split)
        self.split = split
        self.image_id = triplets.reference.astype(np.int32)
        self._texts = _check_texts(split, texts, len(triplets.words), "triplets")

    def __len__(self) -> int:
        return len(self.image_id)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image_id = self.image_id[index]
        return {
            "reference": _read(self.split, image_id),
            "text": {key: rows[index] for key, rows in self._texts.items()},
            "caption": self.split.triplets.words[index],
            "image_id": image_id,
            "file": self.split.files[image_id],
            "index": np.int32(index),
        }


def _group(split: Split) -> np.ndarray:
    """i32[n], what batches are drawn by: those who look alike, else people."""
    return split.person_id if split.group is None else split.group


def _read(split: Split, image_id: int) -> np.ndarray:
    """One image; what fails names its file."""
    try:
        return split.images[image_id]
    except Exception as error:
        error.add_note(f"{split.data_set} {split.split}, image {image_id}: {split.files[image_id]}")
        raise


def _triplets(split: Split) -> Triplets:
    """The triplets of a split that must have some."""
    if split.triplets is None:
        raise ValueError(
            f"{split.data_set} {split.split} has no triplets; open it with "
            "jaxreid.data.composed.open_composed"
        )
    return split.triplets


def _from_0(ids: np.ndarray) -> tuple[np.ndarray, int]:
    """i32[n] ids counted from 0 in the order of first appearance, and how many there are."""
    unique, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first)).astype(np.int32)[inverse], len(unique)


def _check_texts(
    split: Split, texts: Mapping[str, np.ndarray], number: int, of: str
) -> Mapping[str, np.ndarray]:
    """Refuses arrays that do not have one row per caption or per triplet."""
    for key, rows in texts.items():
        if len(rows) != number:
            raise ValueError(
                f"texts[{key!r}] must have one row for each of the {number} {of} of "
                f"{split.data_set} {split.split}, got {len(rows)}"
            )
    return texts
