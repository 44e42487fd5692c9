"""Opens a split with composed queries: a reference image, and words for the image to be found."""

import bisect
import importlib
import itertools
import json
import operator
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from jaxreid.data.composed_sets import read_split
from jaxreid.data.dataset import (
    DATA_SETS,
    SPLITS,
    open_split,
    rendered_folder,
    unknown_name,
)
from jaxreid.data.prepared import prepare_published
from jaxreid.data.records import AnnotationError, Split, Triplets
from jaxreid.data.relative_captions import read_triplets, triplets_of_captions

# Data set made for composed queries -> module and class of its TFDS builder.
_MADE_FOR_IT = {
    "itcpr": ("jaxreid.data.itcpr", "Itcpr"),
    "tgcpr": ("jaxreid.data.tgcpr", "Tgcpr"),
    "syncpr": ("jaxreid.data.syncpr", "Syncpr"),
}
COMPOSED = (*DATA_SETS, *_MADE_FOR_IT)


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
    cuhk_pedes, icfg_pedes, rstpreid: the triplets of a file over their images, all of them the
    gallery, see `read_triplets`; without a file the triplets are made of the captions, see
    `triplets_of_captions`. itcpr, tgcpr, syncpr: as published, see their modules.

    Args:
      name: one of COMPOSED.
      split: one of SPLITS that the data set has.
      data_dir: as the following ones in `open_split`.
      manual_dir, variant, allow_partial, caption_limit: see there.
      val_people: of syncpr the instances held out as "val", else see there.
      triplets: JSON file over the images of a captioned published data set; "" is none.

    Raises:
      ValueError: an argument is unknown or does not fit the data set, or there are no triplets.
      FileNotFoundError: there is neither prepared data nor a published folder to prepare.
      AnnotationError: the published files or the triplets cannot be used, or prepared data is
        damaged.
    """
    if name not in COMPOSED:
        raise ValueError(unknown_name("data set", name, COMPOSED))
    if split not in SPLITS:
        raise ValueError(unknown_name("split", split, SPLITS))
    if triplets and (name in _MADE_FOR_IT or name == "synthpedes"):
        raise ValueError(f"triplets must be '' for {name}, which has its own; got {triplets!r}")
    if caption_limit is not None and caption_limit < 1:
        raise ValueError(f"caption_limit must be None or at least 1, got {caption_limit}")
    data_dir = Path(data_dir).expanduser().absolute()  # workers may run in another folder
    if name in _MADE_FOR_IT:
        if variant is not None:
            raise ValueError(f"variant must be None for {name}, got {variant!r}")
        folder = _prepare(name, split, data_dir, manual_dir, allow_partial, val_people)
        return read_split(name, split, folder, caption_limit)
    opened = open_split(
        name,
        split,
        data_dir=data_dir,
        manual_dir=manual_dir,
        variant=variant,
        allow_partial=allow_partial,
        caption_limit=caption_limit,
        val_people=val_people,
    )
    if name == "synthpedes":
        return _with_outfits(opened, data_dir, variant, caption_limit)
    if triplets:
        found = read_triplets(Path(triplets).expanduser(), opened, SPLITS)
        gallery = np.arange(len(opened.files), dtype=np.int32)
    else:
        found, gallery = triplets_of_captions(opened)
    return opened._replace(triplets=found, gallery=gallery)


def _with_outfits(
    first: Split, data_dir: Path, variant: str | None, caption_limit: int | None
) -> Split:
    """A split of rendered people with their second outfits and their twins, and its triplets."""
    name, split = first.data_set, first.split
    path = rendered_folder(name, data_dir, variant) / f"triplets_{split}.json"
    try:
        items = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise AnnotationError(
            path, None, None, f"prepared {name} is damaged, delete the folder: {error}"
        ) from error
    if not items:
        raise ValueError(
            f"{name} {variant or 'default'!r} has nobody in a second outfit in {split}, so it has "
            "no composed queries there"
        )
    present = tfds.builder_from_directory(str(path.parent)).info.splits
    others = [part for part in (f"{split}_changed", f"{split}_twins") if part in present]
    joined = _join(
        [
            first,
            *(
                open_split(
                    name, part, data_dir=data_dir, variant=variant, caption_limit=caption_limit
                )
                for part in others
            ),
        ]
    )
    # "val/00017_left.jpg", "val_changed/00017_left.jpg": all but the view is person and outfit.
    outfits: dict[str, int] = {}
    instance_id = np.array(
        [outfits.setdefault(file.rsplit("_", 1)[0], len(outfits)) for file in joined.files],
        np.int32,
    )
    place = {file: i for i, file in enumerate(joined.files)}
    target = np.array([place[item["target_image_path"]] for item in items], np.int32)
    found = Triplets(
        reference=np.array([place[item["reference_image_path"]] for item in items], np.int32),
        target=target,
        instance_id=instance_id[target],
        words=tuple(item["edit_caption"] for item in items),
    )
    gallery = np.arange(len(joined.files), dtype=np.int32)
    return joined._replace(
        person_id=instance_id,
        triplets=found,
        gallery=gallery,
        group=_alike(list(outfits))[instance_id],
    )


def _alike(outfits: list[str]) -> np.ndarray:
    """i32[instances], equal for a person in an outfit and the twin in it.

    Args:
      outfits: "val/00017", "val_changed/00017", "val_twins/01317_first" and so on, in the order of
        the instances; twins follow each other as those whose twins they are.
    """
    names = {name: i for i, name in enumerate(outfits)}
    changed = [name for name in outfits if "_changed/" in name]
    group = np.arange(len(outfits), dtype=np.int32)
    for outfit in ("first", "second"):
        twins = [name for name in outfits if name.endswith(f"_{outfit}")]
        for name, twin in zip(changed, twins, strict=bool(twins)):
            own = name if outfit == "second" else name.replace("_changed/", "/")
            group[names[twin]] = group[names[own]]
    return group


def _prepare(
    name: str,
    split: str,
    data_dir: Path,
    manual_dir: str | Path | None,
    allow_partial: bool,
    val_people: int,
) -> Path:
    """Folder of prepared data of a data set that is published with triplets."""
    module = importlib.import_module(_MADE_FOR_IT[name][0])
    can_hold_out = "train" in module.SPLITS
    if val_people < 0 or (val_people and not can_hold_out):
        allowed = "at least 0" if can_hold_out else "0"
        raise ValueError(f"val_people must be {allowed} for {name}, got {val_people}")
    if split not in module.SPLITS and not (split == "val" and val_people):
        hint = "; val_people > 0 holds so many people out of train as val" if can_hold_out else ""
        raise ValueError(f"{name} has no split {split!r}, only {', '.join(module.SPLITS)}{hint}")
    return prepare_published(
        getattr(module, _MADE_FOR_IT[name][1]),
        data_dir,
        manual_dir,
        lambda folder: module.locate(folder).sha256,
        allow_partial=allow_partial,
        val_people=val_people,
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
        dialogues=None
        if any(part.dialogues is None for part in parts)
        else tuple(itertools.chain.from_iterable(part.dialogues for part in parts)),
    )
