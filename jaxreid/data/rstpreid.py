"""RSTPReid (Zhu et al., 2021): 20,505 images of 4,101 people, two captions each.

    RSTPReid/
      imgs/*.jpg
      data_captions.json

data_captions.json is a list of {id, img_path, captions, split}; ids count from 0. Every person
has five images.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from jaxreid.data import published
from jaxreid.data.annotations import PersonImage
from jaxreid.data.published import Counts, Layout, PublishedConfig
from jaxreid.data.shards import write_splits

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

_CITATION = """
@inproceedings{zhu2021dssl,
  title={DSSL: Deep Surroundings-person Separation Learning for Text-based Person Retrieval},
  author={Zhu, Aichun and Wang, Zijie and Li, Yifeng and Wan, Xili and Jin, Jing and Wang, Tian
          and Hu, Fangqiang and Hua, Gang},
  booktitle={ACM Multimedia},
  year={2021}
}
"""


class Rstpreid(tfds.core.GeneratorBasedBuilder):
    """RSTPReid from its published folder."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [PublishedConfig(name="default")]  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = """Ask the authors of RSTPReid for the data (academic use) and
    unpack it: manual_dir is the folder RSTPReid (imgs/, data_captions.json) or its parent."""

    def _info(self) -> tfds.core.DatasetInfo:
        return published.info(self, __doc__, _CITATION)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        folder, splits = published.split_images(
            LAYOUT, self.builder_config, Path(dl_manager.manual_dir)
        )
        return {split: self._generate_examples(folder, splits[split]) for split in splits}

    def _generate_examples(
        self, folder: Path, images: list[PersonImage]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        return published.examples(folder, images)

    def _generate_splits(
        self,
        dl_manager: tfds.download.DownloadManager,
        download_config: tfds.download.DownloadConfig,
    ) -> list[tfds.core.SplitInfo]:
        return write_splits(self, self._split_generators(dl_manager))
