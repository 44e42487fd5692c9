"""Interactive-PEDES (Lu et al., 2025): 54,749 images of 13,051 people with questions and answers.

    Interactive-PEDES/
      ...images, in imgs/ or by their paths in the folder itself
      Interactive-PEDES_interactive_annos.json

The file is a list of {split, file_path, id, initial_description, fine-grained_description,
questions, answers, captions}. Its name is that of the code of LLaVA-ReID; how the published copy is
named is not known to us, so without a file of that name the one .json of the folder is taken whose
first record has these keys. The numbers of each split are not known either: all splits together are
checked, and "val" may be absent; `PublishedConfig.val_people` then holds people out of train.

An image has one dialogue: the initial description opens it, question i and answer i are a round.
The captions are those that people wrote. The fine-grained description, of which questions and
answers were made, is checked and not kept.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from jaxreid.data.annotations import PersonImage
from jaxreid.data.dialogues import Dialogue, Round
from jaxreid.data.json_records import (
    MAX_ID,
    check_keys,
    image_file,
    integer,
    json_records,
    sentence,
    show,
    string,
)
from jaxreid.data.published import Counts, Layout
from jaxreid.data.published_builder import PublishedBuilder
from jaxreid.data.records import AnnotationError

_KEYS = (
    "split", "file_path", "id", "initial_description", "fine-grained_description", "questions",
    "answers", "captions",
)  # fmt: skip
_SPLITS = ("train", "val", "test")


def read_annotations(
    path: Path,
    *,
    splits: Collection[str],
    split: str | None = None,
    allow_unknown_keys: bool = False,
) -> list[PersonImage]:
    """Returns the records of one annotation file in the order of the file.

    Args:
      path: JSON file in UTF-8, a list with one object per image.
      splits: names the key "split" may have.
      split: the split of the whole file where each split has its own file.
      allow_unknown_keys: goes on with other keys, which are not read.

    Raises:
      AnnotationError: naming file, record and key of the first record that cannot be used.
    """
    images = []
    for index, record in enumerate(json_records(path)):
        check_keys(path, index, record, _KEYS, None if allow_unknown_keys else ())
        own = string(path, index, "split", record["split"])
        allowed = splits if split is None else (split,)
        if own not in allowed:
            raise AnnotationError(
                path, index, "split", f"must be one of {', '.join(allowed)}, got {show(own)}"
            )
        sentence(path, index, "fine-grained_description", record["fine-grained_description"])
        images.append(
            PersonImage(
                file=image_file(path, index, "file_path", record["file_path"]),
                person_id=integer(path, index, "id", record["id"], 0, MAX_ID),
                split=own,
                captions=_sentences(path, index, "captions", record),
                source=str(path),
                record=index,
                path_key="file_path",
                dialogues=(_dialogue(path, index, record),),
            )
        )
    return images


def find_annotations(folder: Path) -> Path | None:
    """Returns the one .json of a folder whose first record has the keys of the data set, or None.

    Raises:
      FileNotFoundError: there are several; names them.
    """
    found = [path for path in sorted(folder.glob("*.json")) if _has_the_keys(path)]
    if len(found) > 1:
        raise FileNotFoundError(
            f"{folder} has several annotation files of interactive_pedes "
            f"({', '.join(path.name for path in found)}); leave the one to be read, or name it "
            f"{LAYOUT.annotations[0]}"
        )
    return found[0] if found else None


def _has_the_keys(path: Path) -> bool:
    """Whether the first record of a file has the keys of the data set."""
    try:
        return set(_KEYS) <= set(next(json_records(path)))
    except (AnnotationError, StopIteration):
        return False


def _dialogue(path: Path, index: int, record: dict[str, Any]) -> Dialogue:
    """The dialogue of a record."""
    questions = _sentences(path, index, "questions", record)
    answers = _sentences(path, index, "answers", record)
    if len(questions) != len(answers):
        raise AnnotationError(
            path, index, "answers", f"are {len(answers)} to {len(questions)} questions"
        )
    opening = sentence(path, index, "initial_description", record["initial_description"])
    return Dialogue(tuple(map(Round, questions, answers)), opening)


def _sentences(path: Path, index: int, key: str, record: dict[str, Any]) -> tuple[str, ...]:
    """A list of sentences, which may be empty."""
    value = record[key]
    if not isinstance(value, list):
        raise AnnotationError(path, index, key, f"must be a list of sentences, got {show(value)}")
    for number, text in enumerate(value):
        if not string(path, index, key, text).strip():
            raise AnnotationError(path, index, key, f"sentence {number} is blank")
    return tuple(value)


LAYOUT = Layout(
    data_set="interactive_pedes",
    folders=("Interactive-PEDES", "Interactive_PEDES", "Interactive-PEDES-v1"),
    annotations=("Interactive-PEDES_interactive_annos.json",),
    without_splits=(),
    counts={split: Counts(images=None, people=None, captions=None) for split in _SPLITS},
    total=Counts(images=54_749, people=13_051, captions=None),
    read=read_annotations,
    find=find_annotations,
    images=("imgs", "images", ""),
    dialogues=True,
)

CITATION = """
@misc{lu2025llavareid,
  title={LLaVA-ReID: Selective Multi-image Questioner for Interactive Person Re-Identification},
  author={Lu, Yiding and others},
  year={2025}
}
"""


class InteractivePedes(PublishedBuilder):
    """Interactive-PEDES from its published folder."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """Take the annotations from XLearning-SCU/Interactive-PEDES-v1
    at Hugging Face and ask the authors of the data sets it draws on for the images: manual_dir is
    the folder with the .json file and the images, or its parent."""
