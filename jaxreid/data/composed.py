"""Opens a split with composed queries: a reference image, and words for the image to be found."""

import bisect
import itertools
import json
import operator
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxreid.data.dataset import SPLITS, open_split, rendered_folder
from jaxreid.data.records import AnnotationError, Split, Triplets


def open_composed(
    name: str,
    split: str,
    *,
    data_dir: str | Path,
    manual_dir: str | Path | None = None,
    variant: str | None = None,
    allow_partial: bool = False,
    caption_limit: int | None = None,
    val_people: int = 0,
    triplets: str | Path = "",
) -> Split:
    """Returns a split with triplets and a gallery, prepared as `open_split` does.

    synthpedes: the images of both outfits and of the twins, all of them the gallery. An instance
    is a person in an outfit, so neither the reference image nor a twin is an answer.

    Args:
      name: one of COMPOSED.
      split: one of SPLITS.
      data_dir: folder of prepared data.
      manual_dir: as in `open_split`.
      variant: as in `open_split`.
      allow_partial: as in `open_split`.
      caption_limit: as in `open_split`.
      val_people: as in `open_split`.
      triplets: "" for synthpedes.

    Raises:
      ValueError, FileNotFoundError, AnnotationError: as `open_split`; or there are no triplets.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if name != "synthpedes":
        raise ValueError(f"name must be synthpedes, got {name!r}")
    if triplets:
        raise ValueError(f"triplets must be '' for {name}, which has its own; got {triplets!r}")
    data_dir = Path(data_dir).expanduser().absolute()
    folder = rendered_folder(name, data_dir, variant)
    parts = (split, f"{split}_changed", *([f"{split}_twins"] if split != "train" else []))
    path = folder / f"triplets_{split}.json"
    try:
        items = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise AnnotationError(
            path, None, None, f"prepared {name} is damaged, delete the folder: {error}"
        ) from error
    if not items:
        raise ValueError(f"{name} {variant!r} has no people in a second outfit in {split}")
    opened = _join(
        [
            open_split(name, part, data_dir=data_dir, variant=variant, caption_limit=caption_limit)
            for part in parts
        ]
    )
    # "val/00017_left.jpg", "val_changed/00017_left.jpg": all but the view is the person and outfit
    outfits: dict[str, int] = {}
    instance_id = np.array(
        [outfits.setdefault(file.rsplit("_", 1)[0], len(outfits)) for file in opened.files],
        np.int32,
    )
    place = {file: i for i, file in enumerate(opened.files)}
    target = np.array([place[item["target_image_path"]] for item in items], np.int32)
    found = Triplets(
        reference=np.array([place[item["reference_image_path"]] for item in items], np.int32),
        target=target,
        instance_id=instance_id[target],
        words=tuple(item["edit_caption"] for item in items),
    )
    return opened._replace(
        person_id=instance_id,
        triplets=found,
        gallery=np.arange(len(opened.files), dtype=np.int32),
    )


class JoinedImages(Sequence[np.ndarray]):
    """The images of several splits one after the other."""

    def __init__(self, parts: Sequence[Sequence[np.ndarray]]):
        self._parts = tuple(parts)
        self._ends = list(itertools.accumulate(map(len, self._parts)))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> np.ndarray:
        """u8[h, w, 3] of one image."""
        index = range(len(self))[operator.index(index)]
        part = bisect.bisect_right(self._ends, index)
        return self._parts[part][index - self._ends[part] + len(self._parts[part])]


def _join(parts: Sequence[Split]) -> Split:
    """The images of several splits as one, with the name of the first."""
    return parts[0]._replace(
        images=JoinedImages([part.images for part in parts]),
        files=tuple(itertools.chain.from_iterable(part.files for part in parts)),
        person_id=np.concatenate([part.person_id for part in parts]),
        captions=tuple(itertools.chain.from_iterable(part.captions for part in parts)),
    )
