"""SynCPR (Liu et al., 2025): 1,153,220 composed triplets of rendered people, for training.

    SynCPR/
      test1/sub_img/{img_left,img_right}/10732-1_left.png, test2/..., ...
      SynCPR.json

SynCPR.json is a list of {reference_caption, target_caption, reference_image_path,
target_image_path, edit_caption, cpr_id}. A cpr_id stands for a person in an outfit, the one of the
targets; a pair of images is there in both directions, with a cpr_id each. There is one split,
train.

The captions of an image are those that the triplets say it has. Its person_id is the cpr_id of the
triplets that lead to it, -1 if none does. Where triplets of several cpr_ids lead to one image these
cpr_ids are one instance, of the least of them: equality of person and outfit has to hold both ways.
"""

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from jaxreid.data import composed_sets, published
from jaxreid.data.composed_sets import (
    ComposedImage,
    ComposedSource,
    ComposedSplit,
    check_count,
    image_folder,
)
from jaxreid.data.json_records import (
    MAX_ID,
    check_keys,
    image_file,
    integer,
    json_records,
    sentence,
)
from jaxreid.data.published import PublishedConfig
from jaxreid.data.records import AnnotationError, Triplets
from jaxreid.data.shards import write_splits

COUNTS = {"triplets": 1_153_220, "cpr_ids": 177_530}
SPLITS = ("train",)
_ENDS = ("reference", "target")
_KEYS = (
    "reference_caption", "target_caption", "reference_image_path", "target_image_path",
    "edit_caption", "cpr_id",
)  # fmt: skip

_CITATION = """
@inproceedings{liu2025fafa,
  title={Automatic Synthetic Data and Fine-grained Adaptive Feature Alignment for Composed Person
         Retrieval},
  author={Liu, Delong and Li, Haiwen and Hou, Zhaohui and Zhao, Zhicheng and Su, Fei and
          Dong, Yuan},
  booktitle={NeurIPS},
  year={2025}
}
"""


class Syncpr(tfds.core.GeneratorBasedBuilder):
    """SynCPR from its published folder."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [PublishedConfig(name="default")]  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = """Get SynCPR from its authors (academic use) and unpack it:
    manual_dir is the folder SynCPR with SynCPR.json and test1/, test2/, ..., or its parent."""

    def _info(self) -> tfds.core.DatasetInfo:
        return published.info(self, __doc__, _CITATION)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        folder, splits = read(locate(Path(dl_manager.manual_dir)), self.builder_config)
        for split, content in splits.items():
            composed_sets.check_images(folder, content.images)
            composed_sets.write_queries(Path(self.data_dir), split, content)
        return {
            split: self._generate_examples(folder, content.images)
            for split, content in splits.items()
        }

    def _generate_examples(
        self, folder: Path, images: Sequence[ComposedImage]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        return composed_sets.examples(folder, images)

    def _generate_splits(
        self,
        dl_manager: tfds.download.DownloadManager,
        download_config: tfds.download.DownloadConfig,
    ) -> list[tfds.core.SplitInfo]:
        return write_splits(self, self._split_generators(dl_manager))


def locate(manual_dir: Path) -> ComposedSource:
    """Finds the files of a copy, see `composed_sets.locate`."""
    return composed_sets.locate("syncpr", manual_dir, ("SynCPR",), ("SynCPR.json",))


def read(source: ComposedSource, config: PublishedConfig) -> tuple[Path, dict[str, ComposedSplit]]:
    """Returns the image folder and the splits: "train", and "val" if config.val_people > 0.

    val has the triplets of so many instances, spread evenly over the ids. No image is in both
    splits: triplets of other instances that share an image with val, such as the way back from a
    target of val to its reference, are in neither, and the log says how many. The gallery of a
    split is all its images, in order of their first appearance.

    Args:
      source: the files.
      config: with allow_partial differing counts and unknown keys are logged, and triplets with an
        absent image file are left out.

    Raises:
      AnnotationError: a record cannot be used or counts differ.
      ValueError: config.val_people does not fit.
    """
    (path,) = source.annotations
    table = Table(path, config.allow_partial)
    folder = image_folder(source, table.place)
    partial = config.allow_partial
    check_count(path, "triplets", len(table.words), COUNTS["triplets"], partial)
    check_count(path, "cpr_ids", len(set(table.cpr_id)), COUNTS["cpr_ids"], partial)
    chosen = np.arange(len(table.words))
    ends = np.stack([np.frombuffer(table.ends[end], np.int64) for end in _ENDS])  # [2, T]
    if partial:
        there = np.array([(folder / file).is_file() for file in table.place])
        chosen = np.flatnonzero(there[ends].all(axis=0))
        if not len(chosen):
            raise AnnotationError(path, None, None, f"no triplet has its images in {folder}")
        if len(chosen) < len(table.words):
            left = len(table.words) - len(chosen)
            logging.warning("%s: %d triplets without their images are left out", path, left)
    instance = _instances(path, np.array(table.cpr_id, np.int64)[chosen], ends[1, chosen])
    parts = {"train": np.arange(len(chosen))}
    if config.val_people:
        parts = _hold_out(path, instance, ends[:, chosen], config.val_people)
    return folder, {
        split: table.split(chosen[rows], ends[:, chosen[rows]], instance[rows])
        for split, rows in parts.items()
    }


class Table:
    """All records of SynCPR.json, each string once: there are a million."""

    def __init__(self, path: Path, allow_unknown_keys: bool):
        """Raises AnnotationError naming the first record that cannot be used."""
        self.path = path
        self.place: dict[str, int] = {}  # image file -> its number
        self.captions: list[tuple[str, ...]] = []  # of each image
        self.first = array("q")  # 2 * record + (0 reference, 1 target) that names the image first
        self.ends = {end: array("q") for end in _ENDS}  # image of each triplet
        self.cpr_id = array("q")
        self.words: list[str] = []
        for index, record in enumerate(json_records(path)):
            check_keys(path, index, record, _KEYS, None if allow_unknown_keys else ())
            for way, end in enumerate(_ENDS):
                self.ends[end].append(self._image(index, way, record))
            self.cpr_id.append(integer(path, index, "cpr_id", record["cpr_id"], 0, MAX_ID))
            self.words.append(sentence(path, index, "edit_caption", record["edit_caption"]))

    def split(self, rows: np.ndarray, ends: np.ndarray, instance: np.ndarray) -> ComposedSplit:
        """The split of the triplets `rows`; ends i64[2, rows] images, instance i64[rows]."""
        used = np.unique(ends)  # ascending: numbers go by first appearance
        person_id = np.full(len(self.place), -1, np.int64)
        person_id[ends[1]] = instance
        files = list(self.place)
        images = [self._described(i, files[i], int(person_id[i])) for i in used.tolist()]
        reference, target = np.searchsorted(used, ends).astype(np.int32)
        words = tuple(self.words[i] for i in rows.tolist())
        triplets = Triplets(reference, target, instance.astype(np.int32), words)
        return ComposedSplit(images, triplets, np.arange(len(images), dtype=np.int32))

    def images(self) -> list[ComposedImage]:
        """Returns all images as nobody's, in order of first appearance."""
        return [self._described(i, file, -1) for i, file in enumerate(self.place)]

    def _described(self, i: int, file: str, instance_id: int) -> ComposedImage:
        """Image i with what is known of it."""
        record, way = divmod(self.first[i], 2)
        key = f"{_ENDS[way]}_image_path"
        return ComposedImage(file, instance_id, self.captions[i], self.path, record, key)

    def _image(self, index: int, way: int, record: dict[str, Any]) -> int:
        """The number of an image of a record, with what the record says of it kept."""
        key = f"{_ENDS[way]}_image_path"
        file = image_file(self.path, index, key, record[key])
        key = f"{_ENDS[way]}_caption"
        caption = sentence(self.path, index, key, record[key])
        number = self.place.setdefault(file, len(self.place))
        if number == len(self.captions):
            self.captions.append((caption,))
            self.first.append(2 * index + way)
        elif caption not in self.captions[number]:
            self.captions[number] += (caption,)
        return number


def _instances(path: Path, cpr_id: np.ndarray, target: np.ndarray) -> np.ndarray:
    """i64[T] instance of each triplet: cpr_ids that lead to one image become the least of them."""
    parent = {i: i for i in np.unique(cpr_id).tolist()}

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    first: dict[int, int] = {}  # image -> a cpr_id that leads to it
    merged = 0
    for i, image in zip(cpr_id.tolist(), target.tolist(), strict=True):
        low, high = sorted((root(i), root(first.setdefault(image, i))))
        merged += low != high
        parent[high] = low
    if merged:
        logging.warning(
            "%s: %d cpr_ids lead to images of another cpr_id too and are one with it", path, merged
        )
    return np.array([root(i) for i in cpr_id.tolist()], np.int64)


def _hold_out(
    path: Path, instance: np.ndarray, ends: np.ndarray, val_people: int
) -> dict[str, np.ndarray]:
    """Rows of the triplets of train and of val."""
    ids = np.unique(instance)
    if not 0 < val_people < len(ids):
        raise ValueError(f"val_people must be in 0..{len(ids) - 1} for syncpr, got {val_people}")
    held = ids[np.arange(val_people) * len(ids) // val_people]
    val = np.isin(instance, held)
    shared = np.isin(ends, ends[:, val]).any(axis=0) & ~val
    if shared.any():
        logging.info("%s: %d triplets share images with val, train lacks them", path, shared.sum())
    if (val | shared).all():
        raise ValueError(f"val_people must leave triplets to train, {val_people} leave none")
    return {"train": np.flatnonzero(~val & ~shared), "val": np.flatnonzero(val)}
