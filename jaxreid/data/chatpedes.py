"""ChatPedes (Bai et al., 2025): 37,128 images of 12,003 people with dialogues, no captions.

    ChatPedes/
      imgs/...
      train_reid.json
      test_reid.json

Each file is a list of {id, file_path, chats}; chats are a list of chats or one chat, see `chats`.
The images are those of CUHK-PEDES and handed out with it; those of its train and test splits add up
to the numbers above, so the counts of each split are theirs. There is no val split;
`PublishedConfig.val_people` holds people out of train. An image has no captions here.
"""

from collections.abc import Collection
from pathlib import Path

import tensorflow_datasets as tfds

from jaxreid.data.annotations import PersonImage
from jaxreid.data.chats import read_chats
from jaxreid.data.json_records import MAX_ID, check_keys, image_file, integer, json_records
from jaxreid.data.published import Counts, Layout
from jaxreid.data.published_builder import PublishedBuilder

_KEYS = ("id", "file_path", "chats")


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
      splits: not asked for: no record says its split.
      split: that of the file.
      allow_unknown_keys: goes on with other keys, which are not read.

    Raises:
      AnnotationError: naming file, record and key of the first record that cannot be used.
    """
    images = []
    for index, record in enumerate(json_records(path)):
        check_keys(path, index, record, _KEYS, None if allow_unknown_keys else ())
        images.append(
            PersonImage(
                file=image_file(path, index, "file_path", record["file_path"]),
                person_id=integer(path, index, "id", record["id"], 0, MAX_ID),
                split=split,
                captions=(),
                source=str(path),
                record=index,
                path_key="file_path",
                dialogues=read_chats(path, index, "chats", record["chats"]),
            )
        )
    return images


LAYOUT = Layout(
    data_set="chatpedes",
    folders=("ChatPedes", "CHATPEDES", "chatpedes"),
    annotations=(),
    without_splits=(),
    counts={
        "train": Counts(images=34_054, people=11_003, captions=None),
        "test": Counts(images=3_074, people=1_000, captions=None),
    },
    read=read_annotations,
    dialogues=True,
)

CITATION = """
@inproceedings{bai2025chat,
  title={Chat-based Person Retrieval via Dialogue-Refined Cross-Modal Alignment},
  author={Bai, Yang and Ji, Yucheng and Cao, Min and Wang, Jinqiao and Ye, Mang},
  booktitle={CVPR},
  year={2025}
}
"""


class Chatpedes(PublishedBuilder):
    """ChatPedes from its published folder."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """Ask the authors of CUHK-PEDES for the images (academic use),
    take train_reid.json and test_reid.json of ChatPedes from where its authors hand them out, and
    put them side by side: manual_dir is the folder ChatPedes with imgs/ and both files, or its
    parent."""
