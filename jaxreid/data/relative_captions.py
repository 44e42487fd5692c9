"""Triplets over a captioned data set: from a file of relative captions, or from its captions."""

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

import numpy as np
from absl import logging

from jaxreid.data.json_records import check_keys, image_file, json_records, sentence, show, string
from jaxreid.data.records import AnnotationError, Split, Triplets, caption_pairs

_KEYS = ("split", "reference", "target", "relative_caption")


def read_triplets(path: Path, split: Split, splits: Collection[str]) -> Triplets:
    """Returns the triplets that a file has for a split.

    The file is a JSON list of {split, reference, target, relative_caption, ...}: reference and
    target are image files as the annotations of the data set name them, and every outfit is a
    person_id there. Other keys are not read.

    Args:
      path: of the file.
      split: opened, with all its images.
      splits: names the key "split" may have.

    Raises:
      AnnotationError: naming file, record and key of the first record that cannot be used, or
        there is none of this split.
    """
    place: dict[str, int] = {}
    for i, file in enumerate(split.files):
        place.setdefault(file, i)
    ends, words = [], []
    for index, record in enumerate(json_records(path)):
        check_keys(path, index, record, _KEYS, None)
        of = string(path, index, "split", record["split"])
        if of not in splits:
            raise AnnotationError(
                path, index, "split", f"must be one of {', '.join(splits)}, got {show(of)}"
            )
        files = [image_file(path, index, key, record[key]) for key in ("reference", "target")]
        text = sentence(path, index, "relative_caption", record["relative_caption"])
        if of != split.split:
            continue
        for key, file in zip(("reference", "target"), files, strict=True):
            if file not in place:
                raise AnnotationError(
                    path, index, key, f"{show(file)} is not in {split.data_set} {split.split}"
                )
        reference, target = (place[file] for file in files)
        if split.person_id[reference] == split.person_id[target]:
            raise AnnotationError(
                path, index, "target",
                f"{show(files[1])} shows person {split.person_id[target]} as the reference does, "
                "which would itself be an answer; another outfit must be another person_id",
            )  # fmt: skip
        ends.append((reference, target))
        words.append(text)
    if not ends:
        raise AnnotationError(path, None, "split", f"no record is of {split.split!r}")
    reference, target = np.array(ends, np.int32).T
    return Triplets(reference, target, split.person_id[target].astype(np.int32), tuple(words))


def triplets_of_captions(split: Split) -> tuple[Triplets, np.ndarray]:
    """Returns triplets made of captions, and the gallery i32[G].

    The words are a caption, the target is its image, the reference another image of the person,
    and the instance is the person. In train the reference is the person's next image. Elsewhere
    it is the person's first, which is kept out of the gallery, as it would itself be an answer.
    People with one image stay in the gallery and are not asked for.

    Raises:
      ValueError: everybody has one image.
    """
    of_person: dict[int, list[int]] = defaultdict(list)
    for i, person in enumerate(split.person_id.tolist()):
        of_person[person].append(i)
    reference = np.full(len(split.files), -1, np.int32)
    hidden = set()
    for images in of_person.values():
        if len(images) > 1 and split.split == "train":
            reference[images] = [*images[1:], images[0]]
        elif len(images) > 1:
            reference[images[1:]] = images[0]
            hidden.add(images[0])
    alone = sum(len(images) == 1 for images in of_person.values())
    if alone == len(of_person):
        raise ValueError(f"{split.data_set} {split.split} has one image of everybody: no reference")
    logging.info(
        "%s %s: composed queries of captions, %d people with one image are not asked for",
        *(split.data_set, split.split, alone),
    )
    pairs = caption_pairs(split)
    pairs = pairs[reference[pairs[:, 0]] >= 0]
    target = pairs[:, 0]
    triplets = Triplets(
        reference=reference[target],
        target=target,
        instance_id=split.person_id[target].astype(np.int32),
        words=tuple(split.captions[i][j] for i, j in pairs.tolist()),
    )
    gallery = np.array([i for i in range(len(split.files)) if i not in hidden], np.int32)
    return triplets, gallery
