"""TG-CPR: 1,658 composed queries over a gallery of 3,544 images; for tests only.

    TG-CPR/
      DeepChange/..., CCVID/..., COCAS-Real2/..., VCCR/...
      query.json, gallery.json

The files have the schema of ITCPR. The images are those of the four data sets, each to be had from
its own authors.
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

COUNTS = GalleryCounts(queries=1_658, gallery=3_544, relevant=None)
SPLITS = ("test",)

_CITATION = """
@misc{tgcpr, title={TG-CPR, a test set of composed person retrieval}}
"""


class Tgcpr(tfds.core.GeneratorBasedBuilder):
    """TG-CPR from its published files."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [PublishedConfig(name="default")]  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = """Get query.json and gallery.json of TG-CPR (academic
    use) and the images of DeepChange, CCVID, COCAS-Real2 and VCCR from their authors: manual_dir
    is the folder TG-CPR with all of these, or its parent."""

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
    return composed_sets.locate(
        "tgcpr", manual_dir, ("TG-CPR", "TGCPR", "TG_CPR"), itcpr_files.FILES
    )
