"""ITCPR (Liu et al., 2024): 2,202 composed queries over a gallery of 20,510 images; for tests only.

    ITCPR/
      Celeb-reID/001/1_1_0.jpg, PRCC/{train,val,test}/..., LAST/000000/...
      query.json, gallery.json

query.json is a list of {file_path, datasets, person_id, instance_id, caption}, gallery.json the
same without caption. instance_id is a person in an outfit, -1 in the gallery one nobody asks for.
The images are those of Celeb-reID, PRCC and LaST, each to be had from its own authors.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from jaxreid.data import composed_sets, itcpr_files, published
from jaxreid.data.composed_sets import ComposedImage, ComposedSource
from jaxreid.data.itcpr_files import GalleryCounts
from jaxreid.data.published import PublishedConfig
from jaxreid.data.shards import write_splits

# 2,225 pairs of a query and an image that answers it.
COUNTS = GalleryCounts(queries=2_202, gallery=20_510, relevant=2_225)
SPLITS = ("test",)

_CITATION = """
@article{liu2024word4per,
  title={Word for Person: Zero-shot Composed Person Retrieval},
  author={Liu, Delong and Li, Haiwen and Zhao, Zhicheng and Su, Fei and Meng, Hongying},
  journal={arXiv:2311.16515},
  year={2024}
}
"""


class Itcpr(tfds.core.GeneratorBasedBuilder):
    """ITCPR from its published files."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [PublishedConfig(name="default")]  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = """Get query.json and gallery.json of ITCPR (academic use) and
    the images of Celeb-reID, PRCC and LaST from their authors: manual_dir is the folder ITCPR
    with all of these, or its parent."""

    def _info(self) -> tfds.core.DatasetInfo:
        return published.info(self, __doc__, _CITATION)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        source = locate(Path(dl_manager.manual_dir))
        partial = self.builder_config.allow_partial
        folder, content = itcpr_files.read(source, COUNTS, allow_partial=partial)
        composed_sets.check_images(folder, content.images)
        composed_sets.write_queries(Path(self.data_dir), "test", content)
        return {"test": self._generate_examples(folder, content.images)}

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
    return composed_sets.locate("itcpr", manual_dir, ("ITCPR",), itcpr_files.FILES)
