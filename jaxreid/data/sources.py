"""What a split offers to read: (image, caption) pairs to train on, images, captions."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxreid.data.records import Split, caption_pairs


class Pairs:
    """Training records, one per (image, caption).

    A record is {"image": u8[h, w, 3], "text": {key: row}, "caption": str, "person_id": i32,
    "image_id": i32 (place in the split), "file": str, "index": i32 (place in the pairs)}.

    person_id counts from 0 in the order of first appearance in the split, without gaps, as
    identity classifiers need it; it is not the published id.
    """

    def __init__(self, split: Split, texts: Mapping[str, np.ndarray]):
        """Args: texts, arrays with one row per `caption_pairs(split)`, from Method.tokenize."""
        self.split = split
        self.image_id, self._number = caption_pairs(split).T
        self._texts = _check_texts(split, texts, len(self.image_id))
        published = split.person_id[self.image_id]
        ids, first, inverse = np.unique(published, return_index=True, return_inverse=True)
        self.people = len(ids)
        self.person_id = np.argsort(np.argsort(first)).astype(np.int32)[inverse]  # i32[C]

    def __len__(self) -> int:
        return len(self.image_id)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image_id = self.image_id[index]
        return {
            "image": _read(self.split, image_id),
            "text": {key: rows[index] for key, rows in self._texts.items()},
            "caption": self.split.captions[image_id][self._number[index]],
            "person_id": self.person_id[index],
            "image_id": image_id,
            "file": self.split.files[image_id],
            "index": np.int32(index),
        }


class Images:
    """Gallery records, one per image: {"image", "image_id", "file", "index"}."""

    def __init__(self, split: Split):
        self.split = split

    def __len__(self) -> int:
        return len(self.split.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            "image": _read(self.split, index),
            "image_id": np.int32(index),
            "file": self.split.files[index],
            "index": np.int32(index),
        }


class Captions:
    """Query records, one per caption: {"text", "caption", "image_id", "file", "index"}."""

    def __init__(self, split: Split, texts: Mapping[str, np.ndarray]):
        """Args: texts, arrays with one row per `caption_pairs(split)`, from Method.tokenize."""
        self.split = split
        self.image_id, self._number = caption_pairs(split).T
        self._texts = _check_texts(split, texts, len(self.image_id))

    def __len__(self) -> int:
        return len(self.image_id)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image_id = self.image_id[index]
        return {
            "text": {key: rows[index] for key, rows in self._texts.items()},
            "caption": self.split.captions[image_id][self._number[index]],
            "image_id": image_id,
            "file": self.split.files[image_id],
            "index": np.int32(index),
        }


def _read(split: Split, image_id: int) -> np.ndarray:
    """One image; what fails names its file."""
    try:
        return split.images[image_id]
    except Exception as error:
        error.add_note(f"{split.data_set} {split.split}, image {image_id}: {split.files[image_id]}")
        raise


def _check_texts(
    split: Split, texts: Mapping[str, np.ndarray], captions: int
) -> Mapping[str, np.ndarray]:
    """Refuses arrays that do not have one row per caption."""
    for key, rows in texts.items():
        if len(rows) != captions:
            raise ValueError(
                f"texts[{key!r}] must have one row for each of the {captions} captions of "
                f"{split.data_set} {split.split}, got {len(rows)}"
            )
    return texts
