"""What the TFDS builders of published captioned data sets do alike."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import tensorflow_datasets as tfds

from jaxreid.data import published
from jaxreid.data.annotations import PersonImage
from jaxreid.data.published import PublishedConfig
from jaxreid.data.shards import write_splits


class PublishedBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A data set from its published folder.

    The module of a builder says what is in that folder, LAYOUT, and whose it is, CITATION; its
    docstring describes the data set.
    """

    BUILDER_CONFIGS = [PublishedConfig(name="default")]  # noqa: RUF012

    def _info(self) -> tfds.core.DatasetInfo:
        module = self._module()
        dialogues = module.LAYOUT.dialogues
        return published.info(self, module.__doc__, module.CITATION, dialogues=dialogues)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        folder, splits = published.split_images(
            self._module().LAYOUT, self.builder_config, Path(dl_manager.manual_dir)
        )
        return {split: self._generate_examples(folder, splits[split]) for split in splits}

    def _generate_examples(
        self, folder: Path, images: list[PersonImage]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        dialogues = self._module().LAYOUT.dialogues
        return published.examples(folder, images, dialogues=dialogues)

    def _generate_splits(
        self,
        dl_manager: tfds.download.DownloadManager,
        download_config: tfds.download.DownloadConfig,
    ) -> list[tfds.core.SplitInfo]:
        return write_splits(self, self._split_generators(dl_manager))

    def _module(self) -> ModuleType:
        """The module of the builder."""
        return importlib.import_module(type(self).__module__)
