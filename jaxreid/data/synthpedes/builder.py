"""TFDS builder of synthpedes, the embedded data set: rendered on the spot, nothing downloaded."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from jaxreid.data.shards import write_splits
from jaxreid.data.synthpedes.pictures import Picture, make_triplets, outfits_of, plan
from jaxreid.data.synthpedes.workers import make_records

_DESCRIPTION = """\
Drawn people before drawn scenes, for language-based person retrieval. Every person is seen from
four sides by four of seven cameras, with two captions and two dialogues an image. Captions tell
only what the image shows; the witnesses of the dialogues saw no more of it, but forget and err.
Many people have look-alikes. A share of the people is there in a second outfit, too (splits
"<split>_changed"), with composed triplets in triplets_<split>.json. In val and test each of those
has a twin, another body in the same two outfits (splits "<split>_twins"); where train has twins, it
has their triplets too.
"""
_CITATION = "@misc{jaxreid, title={jaxreid: language-based person retrieval in JAX}}"
_AS_JSON = ("attributes", "visible", "dialogues")


@dataclasses.dataclass(eq=False, kw_only=True)
class SynthpedesConfig(tfds.core.BuilderConfig):
    """What is rendered.

    Attributes:
      train, val, test: people of the splits; each has four images.
      height, width: pixels of an image.
      changed: share of the people that are rendered in a second outfit as well.
      twins: splits in which each of those has a twin.
      seed: of everything; equal configs give equal bytes.
    """

    train: int
    val: int
    test: int
    height: int
    width: int
    changed: float = 0.25
    twins: tuple[str, ...] = ("val", "test")
    seed: int = 0


class Synthpedes(tfds.core.GeneratorBasedBuilder):
    """The embedded data set of drawn people."""

    name = "synthpedes"
    VERSION = tfds.core.Version("1.2.0")
    BUILDER_CONFIGS = [  # noqa: RUF012, the first one is TFDS's default
        SynthpedesConfig(
            name="default", train=1_000, val=100, test=200, height=128, width=64,
            description="1,000 people to train on, minutes on a laptop.",
        ),
        SynthpedesConfig(
            name="chat", train=1_000, val=100, test=400, height=128, width=64, changed=0.0, seed=3,
            description="Other people than the default's, for conversations and for asking.",
        ),
        SynthpedesConfig(
            name="composed", train=800, val=100, test=200, height=128, width=64, changed=1.0,
            twins=("train", "val", "test"), seed=2,
            description="People in two outfits, each with a twin in both: for composed queries.",
        ),
        SynthpedesConfig(
            name="large", train=20_000, val=500, test=1_000, height=384, width=128,
            description="20,000 people in the size that the published methods work with.",
        ),
        SynthpedesConfig(
            name="medium", train=10_000, val=100, test=200, height=128, width=64, changed=0.0,
            seed=1, description="10,000 other people than the default's, for start weights.",
        ),
        SynthpedesConfig(
            name="tiny", train=24, val=8, test=8, height=64, width=32, changed=0.5,
            description="A few people, for tests.",
        ),
    ]  # fmt: skip

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(config.height, config.width, 3)),
                    "file": tfds.features.Text(),
                    "image_id": np.int64,
                    "person_id": np.int64,
                    "family": np.int64,
                    "camera": np.int64,
                    "view": tfds.features.Text(),
                    "captions": tfds.features.Sequence(tfds.features.Text()),
                    "attributes": tfds.features.Text(),  # JSON: attribute -> value
                    "visible": tfds.features.Text(),  # JSON: the attributes that the image shows
                    "dialogues": tfds.features.Text(),  # JSON, see chats.to_json
                }
            ),
            citation=_CITATION,
            disable_shuffling=True,  # images of a person follow each other
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        config = self.builder_config
        people = {"train": config.train, "val": config.val, "test": config.test}
        logging.info("drawing %d people for synthpedes", sum(people.values()))
        pictures = plan(config.seed, people, config.changed, config.twins)
        for split in people:
            triplets = make_triplets(pictures[split], pictures[f"{split}_changed"])
            if split == "train":  # elsewhere nobody asks for a twin
                triplets += make_triplets(*outfits_of(pictures.get("train_twins", [])))
            # TFDS renames the whole folder when every split is written.
            path = Path(self.data_dir) / f"triplets_{split}.json"
            path.write_text(json.dumps(triplets, indent=1))
        return {
            split: self._generate_examples(split, shown)
            for split, shown in pictures.items()
            if shown
        }

    def _generate_examples(
        self, split: str, pictures: list[Picture]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        records = make_records(split, pictures, config.height, config.width)
        for key, record in enumerate(records):
            # TFDS takes the bytes of a JPEG as they are, arrays would need TensorFlow.
            yield key, record | {name: json.dumps(record[name]) for name in _AS_JSON}

    def _generate_splits(
        self,
        dl_manager: tfds.download.DownloadManager,
        download_config: tfds.download.DownloadConfig,
    ) -> list[tfds.core.SplitInfo]:
        return write_splits(self, self._split_generators(dl_manager))
