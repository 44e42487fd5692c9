"""CUHK-PEDES (Li et al., 2017): 40,206 images of 13,003 people, 80,440 captions.

    CUHK-PEDES/
      imgs/{cam_a,cam_b,CUHK01,CUHK03,Market,test_query,train_query}/...
      reid_raw.json

reid_raw.json is a list of {split, captions, file_path, processed_tokens, id}; ids count from 1.
Most images have two captions; nine have more. Papers that keep the first two of each image
(`caption_limit=2`) test with 6,148 queries instead of 6,156.
"""

import tensorflow_datasets as tfds

from jaxreid.data.published import Counts, Layout
from jaxreid.data.published_builder import PublishedBuilder

LAYOUT = Layout(
    data_set="cuhk_pedes",
    folders=("CUHK-PEDES", "CUHK_PEDES"),
    annotations=("reid_raw.json",),
    without_splits=("caption_all.json",),
    counts={
        "train": Counts(images=34_054, people=11_003, captions=68_126),
        "val": Counts(images=3_078, people=1_000, captions=6_158),
        "test": Counts(images=3_074, people=1_000, captions=6_156),
    },
)

CITATION = """
@inproceedings{li2017person,
  title={Person Search with Natural Language Description},
  author={Li, Shuang and Xiao, Tong and Li, Hongsheng and Zhou, Bolei and Yue, Dayu and
          Wang, Xiaogang},
  booktitle={CVPR},
  year={2017}
}
"""


class CuhkPedes(PublishedBuilder):
    """CUHK-PEDES from its published folder."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """Ask the authors of CUHK-PEDES for the data (academic use) and
    unpack it: manual_dir is the folder CUHK-PEDES with imgs/ and reid_raw.json, or its parent."""
