"""ICFG-PEDES (Ding et al., 2021): 54,522 images of 4,102 people, one caption each.

    ICFG-PEDES/
      imgs/{train,test}/...
      ICFG-PEDES.json

ICFG-PEDES.json is a list of {split, captions, file_path, processed_tokens, id}; ids count from 0.
The split is that of the record: the folders train and test are those of MSMT17. There is no val
split; `PublishedConfig.val_people` holds people out of train.
"""

import tensorflow_datasets as tfds

from jaxreid.data.published import Counts, Layout
from jaxreid.data.published_builder import PublishedBuilder

LAYOUT = Layout(
    data_set="icfg_pedes",
    folders=("ICFG-PEDES", "ICFG_PEDES"),
    annotations=("ICFG-PEDES.json", "ICFG_PEDES.json"),
    without_splits=(),
    counts={
        "train": Counts(images=34_674, people=3_102, captions=34_674),
        "test": Counts(images=19_848, people=1_000, captions=19_848),
    },
)

CITATION = """
@article{ding2021semantically,
  title={Semantically Self-Aligned Network for Text-to-Image Part-aware Person
         Re-identification},
  author={Ding, Zefeng and Ding, Changxing and Shao, Zhiyin and Tao, Dacheng},
  journal={arXiv:2107.12666},
  year={2021}
}
"""


class IcfgPedes(PublishedBuilder):
    """ICFG-PEDES from its published folder."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """Ask the authors of ICFG-PEDES for the data (academic use) and
    unpack it: manual_dir is the folder ICFG-PEDES with imgs/ and ICFG-PEDES.json, or its parent."""
