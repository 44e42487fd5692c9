"""The synthpedes builder: what is in the data set, and that it is whole, equal and reproducible."""

import hashlib
import io
import json
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxreid.data import shards
from jaxreid.data.dataset import open_split
from jaxreid.data.synthpedes import builder as builder_module
from jaxreid.data.synthpedes import pictures, workers
from jaxreid.data.synthpedes.attributes import VIEWS, conflicts
from jaxreid.data.synthpedes.builder import Synthpedes
from jaxreid.data.synthpedes.population import look
from jaxreid.data.synthpedes.triplets import BODY
from jaxreid.data.synthpedes.visibility import visible

_PEOPLE = {"train": 24, "val": 8, "test": 8}
_RAW = {"image": tfds.decode.SkipDecoding()}


def _build(folder):
    builder = Synthpedes(data_dir=str(folder), config="tiny")
    builder.download_and_prepare(file_format="array_record")
    return Path(builder.data_dir)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return _build(tmp_path_factory.mktemp("synthpedes"))


@pytest.fixture(scope="module")
def records(folder):
    """split -> records, images as bytes."""
    builder = tfds.builder_from_directory(str(folder))
    return {s: list(builder.as_data_source(s, decoders=_RAW)) for s in builder.info.splits}


@pytest.fixture(scope="module")
def planned():
    config = next(c for c in Synthpedes.BUILDER_CONFIGS if c.name == "tiny")
    return pictures.plan(config.seed, _PEOPLE, config.changed, config.twins)


def _strip(record):
    """A record without bytes: text as str, JSON parsed."""
    texts = {k: record[k].decode() for k in ("file", "view", "attributes", "visible", "dialogues")}
    return texts | {k: json.loads(texts[k]) for k in ("attributes", "visible", "dialogues")}


def test_every_person_has_four_views_by_four_cameras(records):
    for split, people in _PEOPLE.items():
        assert len(records[split]) == 4 * people
        by_person = {}
        for record in records[split]:
            by_person.setdefault(int(record["person_id"]), []).append(record)
        assert len(by_person) == people
        for images in by_person.values():
            assert [image["view"].decode() for image in images] == list(VIEWS)
            assert len({int(image["camera"]) for image in images}) == 4
            assert len({image["attributes"] for image in images}) == 1


def test_ids_and_files_are_unique_and_ids_have_no_gaps(records):
    everything = [record for split in records.values() for record in split]
    for key in ("file", "image_id"):
        assert len({record[key] for record in everything}) == len(everything)
    ids = [sorted({int(r["person_id"]) for r in records[split]}) for split in _PEOPLE]
    assert sum(ids, []) == list(range(sum(_PEOPLE.values())))  # noqa: RUF017, three lists


def test_splits_share_no_family(records):
    families = [{int(record["family"]) for record in records[split]} for split in _PEOPLE]
    assert not families[0] & families[1]
    assert not families[0] & families[2]
    assert not families[1] & families[2]
    assert len(families[0]) < _PEOPLE["train"]  # there are look-alikes


def test_records_say_what_the_picture_shows(records):
    for record in records["test"]:
        image = Image.open(io.BytesIO(record["image"]))
        assert (image.format, image.size, image.mode) == ("JPEG", (32, 64), "RGB")
        told = _strip(record)
        assert not conflicts(told["attributes"])
        assert told["visible"] == sorted(visible(told["attributes"], told["view"]))
        assert len(told["dialogues"]) == 2
        for dialogue in told["dialogues"]:
            assert 5 <= len(dialogue["rounds"]) <= 10
        captions = [caption.decode() for caption in record["captions"]]
        assert len(captions) == len(set(captions)) == 2
        assert told["file"].startswith("test/")


def test_two_builds_are_equal_byte_by_byte(folder, tmp_path):
    again = _build(tmp_path)
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("captions-"))
    assert names == sorted(path.name for path in again.iterdir())
    for name in names:
        assert (folder / name).read_bytes() == (again / name).read_bytes(), name


def test_shards_hold_so_many_records_and_one_record_is_in_memory_at_a_time(
    folder, records, tmp_path, monkeypatch
):
    """Else a split of 1 GB, such as train of "large", would fill the memory or need TensorFlow."""
    unwritten, most = 0, 0

    class Writer(shards.ArrayRecordWriter):
        def write(self, record):
            nonlocal unwritten
            super().write(record)
            unwritten -= 1

    def counted(*arguments):
        nonlocal unwritten, most
        for record in make_records(*arguments):
            unwritten += 1
            most = max(most, unwritten)
            yield record

    make_records = builder_module.make_records
    monkeypatch.setattr(builder_module, "make_records", counted)
    monkeypatch.setattr(shards, "ArrayRecordWriter", Writer)
    monkeypatch.setattr(shards, "_RECORDS_PER_SHARD", 25)
    built = _build(tmp_path)
    assert (unwritten, most) == (0, 1)
    builder = tfds.builder_from_directory(str(built))
    for split, whole in records.items():
        lengths = builder.info.splits[split].shard_lengths
        full, rest = divmod(len(whole), 25)
        assert lengths == [25] * full + [rest] * (rest > 0)
        assert len(list(built.glob(f"*-{split}.array_record-*"))) == len(lengths)
        again = builder.as_data_source(split, decoders=_RAW)
        assert [r["file"] for r in again] == [r["file"] for r in whole]
        assert [r["image"] for r in again] == [r["image"] for r in whole]
    assert len(list(folder.glob("*-train.array_record-*"))) == 1


def test_another_seed_gives_another_data_set(planned):
    other = pictures.plan(1, _PEOPLE, 0.5, ("val", "test"))
    assert [p.person for p in other["train"]] != [p.person for p in planned["train"]]


def test_a_picture_can_be_made_alone(records, planned):
    made = pictures.make_record(planned["val"][9], 64, 32)
    stored = records["val"][9]
    assert made["image"] == stored["image"]
    assert list(made["captions"]) == [caption.decode() for caption in stored["captions"]]
    assert made["dialogues"] == json.loads(stored["dialogues"])


def test_processes_do_not_change_the_records(planned):
    chosen = planned["train"][:60]
    alone = list(workers.make_records("train", chosen, 64, 32, processes=1))
    assert list(workers.make_records("train", chosen, 64, 32, processes=2)) == alone


def test_stopped_helpers_cost_no_picture(planned, monkeypatch):
    def stop_after_three(chosen, height, width, processes):
        for picture in chosen[:3]:
            yield pictures.make_record(picture, height, width)
        raise BrokenProcessPool("killed")

    monkeypatch.setattr(workers, "_pooled", stop_after_three)
    chosen = planned["train"][:8]
    made = list(workers.make_records("train", chosen, 64, 32, processes=2))
    assert [record["image_id"] for record in made] == [picture.image_id for picture in chosen]


@pytest.mark.parametrize("problem", [KeyboardInterrupt, OSError])
def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch, problem):
    calls = []

    def fail_later(picture, height, width):
        calls.append(picture)
        if len(calls) == 5:
            raise problem
        return pictures.make_record(picture, height, width)

    monkeypatch.setattr(workers, "make_record", fail_later)
    with pytest.raises(problem):
        _build(tmp_path)
    assert list((tmp_path / "synthpedes" / "tiny").iterdir()) == []


def test_tensorflow_is_not_loaded(records):
    assert "tensorflow" not in sys.modules


def test_open_split_reads_it(folder):
    opened = open_split("synthpedes", "val", data_dir=folder.parents[2], variant="tiny")
    assert len(opened.files) == len(opened.captions) == 4 * _PEOPLE["val"]
    assert opened.images[5].shape == (64, 32, 3)
    assert opened.images[5].dtype == np.uint8
    assert all(len(captions) == 2 for captions in opened.captions)
    assert len(opened.dialogues) == len(opened.files)


def test_open_split_reads_the_dialogues_of_each_image(folder, records):
    for _ in range(2):  # from the records, then from the side file
        opened = open_split("synthpedes", "val", data_dir=folder.parents[2], variant="tiny")
        for told, record in zip(opened.dialogues, records["val"], strict=True):
            stored = json.loads(record["dialogues"])
            assert [d.opening for d in told] == ["", ""]
            assert [[list(r) for r in d.rounds] for d in told] == [d["rounds"] for d in stored]


def test_a_side_file_without_dialogues_is_made_again(folder):
    side = folder / "captions-test.json"
    open_split("synthpedes", "test", data_dir=folder.parents[2], variant="tiny")
    index = json.loads(side.read_bytes())
    side.write_text(json.dumps({key: index[key] for key in index if key != "dialogues"}))
    opened = open_split("synthpedes", "test", data_dir=folder.parents[2], variant="tiny")
    assert all(opened.dialogues)
    assert json.loads(side.read_bytes()) == index


def test_dialogues_of_an_image_are_of_different_witnesses(records):
    for record in records["train"]:
        first, second = json.loads(record["dialogues"])
        assert first["rounds"] != second["rounds"]


# Second outfits and triplets


def test_triplets_lead_to_the_same_body_in_other_clothes(folder, records):
    for split in _PEOPLE:
        both = {r["file"].decode(): r for s in (split, f"{split}_changed") for r in records[s]}
        triplets = json.loads((folder / f"triplets_{split}.json").read_text())
        assert len(triplets) == 2 * len(records[f"{split}_changed"]) > 0
        for item in triplets:
            reference, target = (both[item[f"{w}_image_path"]] for w in ("reference", "target"))
            assert item["reference_caption"] == reference["captions"][0].decode()
            assert item["target_caption"] == target["captions"][0].decode()
            assert item["edit_caption"].startswith("Wearing ")
            assert int(reference["person_id"]) == int(target["person_id"])
            old, new = (_strip(record)["attributes"] for record in (reference, target))
            assert {a: old[a] for a in BODY} == {a: new[a] for a in BODY}
            assert old != new


def test_a_cpr_id_stands_for_one_person_in_one_outfit(folder):
    targets = {}
    for split in _PEOPLE:
        for item in json.loads((folder / f"triplets_{split}.json").read_text()):
            assert isinstance(item["cpr_id"], int)
            outfit = item["target_image_path"].rsplit("_", 1)[0]
            targets.setdefault(item["cpr_id"], []).append(outfit)
    assert all(len(set(outfits)) == 1 and len(outfits) == 4 for outfits in targets.values())
    assert len({outfits[0] for outfits in targets.values()}) == len(targets)


def test_wrong_shares_of_changed_outfits_are_named():
    with pytest.raises(ValueError, match=r"changed must be in \[0, 1\], got 2"):
        pictures.plan(0, _PEOPLE, 2, ())


def test_sizes_of_the_published_configs():
    sizes = {
        c.name: (c.train, c.val, c.test, c.height, c.width) for c in Synthpedes.BUILDER_CONFIGS
    }
    assert sizes["default"] == (1_000, 100, 200, 128, 64)
    assert sizes["large"] == (20_000, 500, 1_000, 384, 128)
    assert sizes["tiny"] == (24, 8, 8, 64, 32)
    assert Synthpedes.BUILDER_CONFIGS[0].name == "default"
    assert sizes["composed"] == (800, 100, 200, 128, 64)
    assert sizes["chat"] == (1_000, 100, 400, 128, 64)
    seeds = {c.name: c.seed for c in Synthpedes.BUILDER_CONFIGS}
    assert seeds == {"default": 0, "chat": 3, "composed": 2, "large": 0, "medium": 1, "tiny": 0}
    twins = {c.name: c.twins for c in Synthpedes.BUILDER_CONFIGS}
    assert twins.pop("composed") == ("train", "val", "test")  # elsewhere nobody trains with them
    assert set(twins.values()) == {("val", "test")}
    assert {c.name: c.changed for c in Synthpedes.BUILDER_CONFIGS} == {
        "default": 0.25, "chat": 0.0, "composed": 1.0, "large": 0.25, "medium": 0.0, "tiny": 0.5,
    }  # fmt: skip


# Twins


@pytest.fixture(scope="module")
def twins(planned):
    """split -> [(pictures of a person in both outfits, those of its twin)]."""
    found = {}
    for split in ("val", "test"):
        of = {}
        for part in (split, f"{split}_changed"):
            for picture in planned[part]:
                of.setdefault(picture.person_id, []).append(picture)
        theirs = {}
        for picture in planned[f"{split}_twins"]:
            theirs.setdefault(picture.shades, []).append(picture)
        found[split] = [(of[person_id], theirs.get(person_id, [])) for person_id in of]
    return found


def test_everybody_with_a_second_outfit_has_a_twin_in_both(twins):
    for pairs in twins.values():
        assert any(theirs for _, theirs in pairs)
        for own, theirs in pairs:
            assert len(theirs) == (8 if len(own) == 8 else 0)
            for one, other in zip(own, theirs, strict=False):
                outfit = set(one.person) - set(BODY)
                assert {a: one.person[a] for a in outfit} == {a: other.person[a] for a in outfit}
                assert (one.view, one.family, one.shades) == (
                    other.view,
                    other.family,
                    other.shades,
                )


def test_a_twin_is_told_from_the_person_by_the_body_on_every_side(twins):
    for own, theirs in sum(twins.values(), []):  # noqa: RUF017, two lists
        for one, other in zip(own, theirs, strict=False):
            assert not conflicts(other.person)
            assert one.person["gender"] == other.person["gender"]
            shown = visible(one.person, one.view) & visible(other.person, one.view)
            different = [a for a in BODY if a in shown and one.person[a] != other.person[a]]
            assert len(different) >= 2


def test_a_twin_is_nobody_else(planned, twins):
    people = {picture.person_id for split in _PEOPLE for picture in planned[split]}
    for split, pairs in twins.items():
        looks = {
            look(picture.person)
            for part in (split, f"{split}_changed")
            for picture in planned[part]
        }
        for own, theirs in pairs:
            assert not {picture.person_id for picture in theirs} & people
            assert len({picture.person_id for picture in theirs}) == (len(own) == 8)
            assert len({frozenset({a: p.person[a] for a in BODY}.items()) for p in theirs}) <= 1
            assert not {look(picture.person) for picture in theirs} & looks


def test_there_are_twins_of_val_and_test_in_the_built_data_set(records, planned):
    assert set(records) == {*_PEOPLE, *(f"{s}_changed" for s in _PEOPLE), "val_twins", "test_twins"}
    for part in ("val_twins", "test_twins"):
        assert [r["file"].decode() for r in records[part]] == [p.file for p in planned[part]]
        assert records[part][0]["image"] == pictures.make_record(planned[part][0], 64, 32)["image"]


def test_without_second_outfits_there_are_no_twins():
    planned = pictures.plan(1, _PEOPLE, 0.0, ("val", "test"))
    assert [split for split, shown in planned.items() if shown] == list(_PEOPLE)


# What the first release of the data set held, which twins, dialogues and whatever comes later may
# not change: of three pictures a split, captions, attributes and ids, and the mean of the pixels of
# each channel.
_FIRST_RELEASE = {
    "train": (
        "b9c3b24ee1fc5714",
        [[176.77, 162.48, 156.42], [169.81, 150.99, 131.13], [93.85, 110.33, 136.51]],
    ),
    "val": (
        "588f2c3bec5c4032",
        [[134.26, 140.53, 154.17], [122.18, 127.33, 136.52], [143.45, 141.92, 141.64]],
    ),
    "test": (
        "9354829e1281ed0d",
        [[116.96, 87.93, 102.34], [147.26, 108.06, 86.72], [144.01, 125.59, 98.92]],
    ),
    "train_changed": (
        "a01ee692d239a520",
        [[98.12, 107.71, 72.08], [83.54, 90.33, 111.57], [134.03, 132.12, 96.6]],
    ),
    "val_changed": (
        "4953539643ce20b8",
        [[79.21, 57.61, 52.72], [84.54, 114.01, 82.34], [130.97, 113.2, 105.66]],
    ),
    "test_changed": (
        "dec857563de73e4a",
        [[186.81, 174.64, 169.16], [146.73, 129.37, 109.65], [94.94, 94.37, 107.41]],
    ),
}


@pytest.mark.parametrize("part", list(_FIRST_RELEASE))
def test_pictures_stay_those_of_the_first_release(planned, part):
    text, means = _FIRST_RELEASE[part]
    made = [pictures.make_record(planned[part][i], 64, 32) for i in (0, 5, -1)]
    pixels = [np.array(Image.open(io.BytesIO(record.pop("image")))) for record in made]
    np.testing.assert_allclose([p.mean((0, 1)) for p in pixels], means, atol=0.1)
    assert all(record.pop("dialogues") for record in made)
    assert hashlib.sha256(json.dumps(made).encode()).hexdigest()[:16] == text


def test_triplets_of_twins_lead_from_one_outfit_to_the_other():
    planned = pictures.plan(3, {"train": 9, "val": 2, "test": 2}, 1.0, ("train",))
    assert "val_twins" not in planned
    first, second = pictures.outfits_of(planned["train_twins"])
    assert len(first) == len(second) == len(planned["train"])
    asked = pictures.make_triplets(first, second)
    own = pictures.make_triplets(planned["train"], planned["train_changed"])
    assert len(asked) == len(own)
    assert {x["cpr_id"] for x in asked}.isdisjoint(x["cpr_id"] for x in own)
    for item in asked:
        paths = item["reference_image_path"], item["target_image_path"]
        assert len({path.split("_")[1] for path in paths}) == 1  # one twin
        assert len({path.split("_")[2] for path in paths}) == 2  # in both outfits
