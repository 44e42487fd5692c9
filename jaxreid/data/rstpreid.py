"""RSTPReid (Zhu et al., 2021): 20,505 images of 4,101 people, two captions each.

    RSTPReid/
      imgs/*.jpg
      data_captions.json

data_captions.json is a list of {id, img_path, captions, split}; ids count from 0. Every person
has five images.
"""

import tensorflow_datasets as tfds

from jaxreid.data.published import Counts, Layout
from jaxreid.data.published_builder import PublishedBuilder

LAYOUT = Layout(
    data_set="rstpreid",
    folders=("RSTPReid", "RSTPReid-Dataset"),
    annotations=("data_captions.json",),
    without_splits=(),
    counts={
        "train": Counts(images=18_505, people=3_701, captions=37_010),
        "val": Counts(images=1_000, people=200, captions=2_000),
        "test": Counts(images=1_000, people=200, captions=2_000),
    },
)

CITATION = """
@inproceedings{zhu2021dssl,
  title={DSSL: Deep Surroundings-person Separation Learning for Text-based Person Retrieval},
  author={Zhu, Aichun and Wang, Zijie and Li, Yifeng and Wan, Xili and Jin, Jing and Wang, Tian
          and Hu, Fangqiang and Hua, Gang},
  booktitle={ACM Multimedia},
  year={2021}
}
"""


class Rstpreid(PublishedBuilder):
    """RSTPReid from its published folder."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """Ask the authors of RSTPReid for the data (academic use) and
    unpack it: manual_dir is the folder RSTPReid (imgs/, data_captions.json) or its parent."""
