"""Composed queries of every data set: who is asked for, who is ranked, and what no answer is."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from copies import path_of, records, write_copy

from jaxreid.data import queries
from jaxreid.data.composed import COMPOSED, open_composed
from jaxreid.data.dataset import open_split
from jaxreid.data.pipeline import ComposedPairs, ComposedQueries, Images
from jaxreid.data.records import AnnotationError
from jaxreid.data.relative_captions import triplets_of_captions
from jaxreid.data.synthpedes.builder import Synthpedes, SynthpedesConfig

SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def rendered(data_dir):
    """Split -> synthpedes "tiny" with its triplets."""
    return {
        split: open_composed("synthpedes", split, data_dir=data_dir, variant="tiny")
        for split in SPLITS
    }


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A tiny copy of CUHK-PEDES that no test changes."""
    return write_copy(tmp_path_factory.mktemp("copies"), "cuhk_pedes")


def _open(copy, data_dir, split="train", **options):
    return open_composed(
        "cuhk_pedes", split, data_dir=data_dir, manual_dir=copy, allow_partial=True, **options
    )


def _relative(changes=None):
    """Records of a file of triplets: from person 1 to 3 and back, and one of another split."""
    person = {r["id"]: path_of(r) for r in records("cuhk_pedes") if r["split"] == "train"}
    first, *_, last = person.values()
    other = [path_of(r) for r in records("cuhk_pedes") if r["split"] == "test"]
    content = [
        {"split": "train", "reference": first, "target": last, "relative_caption": "In red"},
        {"split": "test", "reference": other[0], "target": other[-1], "relative_caption": "Red"},
        {
            "split": "train",
            "reference": last,
            "target": first,
            "relative_caption": "“Blue”",
            "x": 1,
        },
    ]
    content[2] |= changes or {}
    return content


def _file(folder, content):
    path = folder / "triplets.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


# synthpedes


def test_the_join_has_every_image_of_its_parts(rendered, data_dir):
    for split, opened in rendered.items():
        parts = [split, f"{split}_changed"] + [f"{split}_twins"] * (split != "train")
        parts = [open_split("synthpedes", p, data_dir=data_dir, variant="tiny") for p in parts]
        assert opened.files == sum((part.files for part in parts), ())
        assert opened.captions == sum((part.captions for part in parts), ())
        assert len(opened.images) == len(opened.files)
        at = 0
        for part in parts:
            for i in (0, len(part.files) - 1):
                np.testing.assert_array_equal(opened.images[at + i], part.images[i])
            at += len(part.files)
        np.testing.assert_array_equal(opened.images[-1], parts[-1].images[-1])
        with pytest.raises(IndexError):
            opened.images[at]
        np.testing.assert_array_equal(opened.gallery, np.arange(at))


def test_images_of_the_join_go_to_other_processes(rendered):
    images = rendered["val"].images
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(images))[-5], images[-5])


def test_an_instance_is_one_person_in_one_outfit(rendered):
    for opened in rendered.values():
        assert sorted(set(opened.person_id.tolist())) == list(range(len(opened.files) // 4))
        outfit = [file.rsplit("_", 1)[0] for file in opened.files]
        assert len(set(zip(outfit, opened.person_id.tolist(), strict=True))) == len(set(outfit))
        assert (np.bincount(opened.person_id) == 4).all()


def test_neither_the_reference_nor_a_twin_is_an_answer(rendered):
    for opened in rendered.values():
        found = opened.triplets
        np.testing.assert_array_equal(opened.person_id[found.target], found.instance_id)
        assert (opened.person_id[found.reference] != found.instance_id).all()
        twins = np.array(["_twins/" in file for file in opened.files])
        assert not set(opened.person_id[twins].tolist()) & set(found.instance_id.tolist())


def test_triplets_are_those_of_the_prepared_folder(rendered, data_dir):
    (folder,) = data_dir.glob("synthpedes/tiny/*")
    for split, opened in rendered.items():
        items = json.loads((folder / f"triplets_{split}.json").read_text())
        found = opened.triplets
        assert [opened.files[i] for i in found.reference] == [
            item["reference_image_path"] for item in items
        ]
        assert [opened.files[i] for i in found.target] == [i["target_image_path"] for i in items]
        assert found.words == tuple(item["edit_caption"] for item in items)
        # Both number a person in an outfit.
        pairs = {(item["cpr_id"], i) for item, i in zip(items, found.instance_id, strict=True)}
        assert len(pairs) == len({cpr for cpr, _ in pairs}) == len({i for _, i in pairs})


def test_caption_limit_holds_in_every_part(data_dir):
    opened = open_composed("synthpedes", "val", data_dir=data_dir, variant="tiny", caption_limit=1)
    assert {len(captions) for captions in opened.captions} == {1}


def test_a_variant_without_second_outfits_has_no_queries(data_dir, monkeypatch):
    plain = SynthpedesConfig(
        name="plain", train=8, val=4, test=4, height=16, width=8, changed=0.0, seed=3
    )
    monkeypatch.setattr(Synthpedes, "BUILDER_CONFIGS", [*Synthpedes.BUILDER_CONFIGS, plain])
    with pytest.raises(ValueError, match="synthpedes 'plain' has nobody in a second outfit in val"):
        open_composed("synthpedes", "val", data_dir=data_dir, variant="plain")
    with pytest.raises(ValueError, match="has no split 'val_twins', only test, train, val"):
        open_split("synthpedes", "val_twins", data_dir=data_dir, variant="plain")


# A file of triplets over a captioned set


def test_triplets_of_a_file_name_images_of_the_split(copy, data_dir, tmp_path):
    opened = _open(copy, data_dir, triplets=_file(tmp_path, _relative()))
    first, _, last = _relative()
    found = opened.triplets
    assert [opened.files[i] for i in found.reference] == [first["reference"], last["reference"]]
    assert [opened.files[i] for i in found.target] == [first["target"], last["target"]]
    assert found.words == ("In red", "“Blue”")
    assert found.instance_id.tolist() == [3, 1]
    np.testing.assert_array_equal(opened.gallery, np.arange(len(opened.files)))


@pytest.mark.parametrize(
    ("changes", "key", "problem"),
    [
        ({"target": "cam_0/none.png"}, "target", "'cam_0/none.png' is not in cuhk_pedes train"),
        ({"reference": 3}, "reference", "must be text, got 3"),
        ({"reference": "../a.png"}, "reference", "must stay inside"),
        ({"relative_caption": " \n"}, "relative_caption", "is blank"),
        ({"relative_caption": ["red"]}, "relative_caption", r"must be text, got \['red'\]"),
        ({"split": "trian"}, "split", "must be one of train, val, test, got 'trian'"),
        ({"split": 1}, "split", "must be text"),
        (
            {"target": _relative()[2]["reference"]},
            "target",
            "'cam_2/0003_5.jpg' shows person 3 as the reference does",
        ),
    ],
)
def test_a_wrong_record_is_named_by_file_record_and_key(
    copy, data_dir, tmp_path, changes, key, problem
):
    path = _file(tmp_path, _relative(changes))
    with pytest.raises(AnnotationError, match=f"triplets.json, record 2, key '{key}': {problem}"):
        _open(copy, data_dir, triplets=path)


def test_a_missing_key_and_a_split_without_triplets_are_named(copy, data_dir, tmp_path):
    content = _relative()
    content[1]["relative_captoin"] = content[1].pop("relative_caption")
    with pytest.raises(AnnotationError, match=r"record 1, key 'relative_caption': is missing \(is"):
        _open(copy, data_dir, triplets=_file(tmp_path, content))
    with pytest.raises(AnnotationError, match="key 'split': no record is of 'val'"):
        _open(copy, data_dir, "val", triplets=_file(tmp_path, _relative()))
    with pytest.raises(AnnotationError, match=r"none.json: cannot be read: No such file"):
        _open(copy, data_dir, triplets=tmp_path / "none.json")


# Triplets made of captions


def test_in_train_every_caption_asks_from_another_image_of_its_person(copy, data_dir):
    opened = _open(copy, data_dir)
    found = opened.triplets
    assert (found.reference != found.target).all()
    person = opened.person_id
    np.testing.assert_array_equal(person[found.reference], person[found.target])
    np.testing.assert_array_equal(person[found.target], found.instance_id)
    several = [i for i in range(len(opened.files)) if (person == person[i]).sum() > 1]
    expected = [caption for i in several for caption in opened.captions[i]]
    assert list(found.words) == expected
    assert set(found.reference.tolist()) == set(several)
    np.testing.assert_array_equal(opened.gallery, np.arange(len(opened.files)))


@pytest.mark.parametrize("split", ["val", "test"])
def test_in_val_and_test_no_reference_is_ranked(copy, data_dir, split):
    opened = _open(copy, data_dir, split)
    found = opened.triplets
    person = opened.person_id
    assert not set(found.reference.tolist()) & set(opened.gallery.tolist())
    np.testing.assert_array_equal(person[found.reference], found.instance_id)
    ranked = person[opened.gallery]
    assert np.isin(found.instance_id, ranked).all()
    assert set(ranked.tolist()) == set(person.tolist())  # who has one image is ranked, too
    for target, words in zip(found.target, found.words, strict=True):
        assert words in opened.captions[target]
        assert target in opened.gallery


def test_people_with_one_image_are_counted_in_the_log(copy, data_dir, caplog):
    with caplog.at_level("INFO"):
        _open(copy, data_dir, "test")
    assert "composed queries of captions, 1 people with one image are not asked for" in caplog.text


def test_a_split_with_one_image_of_everybody_has_no_reference(copy, data_dir):
    opened = _open(copy, data_dir)
    alone = opened._replace(person_id=np.arange(len(opened.files), dtype=np.int32))
    with pytest.raises(ValueError, match="has one image of everybody: no reference"):
        triplets_of_captions(alone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "itpcr"}, r"unknown data set 'itpcr' \(is 'itcpr' meant\?\)"),
        ({"split": "tset"}, r"unknown split 'tset' \(is 'test' meant"),
        ({"split": "val_twins", "name": "synthpedes"}, "unknown split 'val_twins'"),
        ({"name": "synthpedes", "triplets": "t.json"}, "triplets must be '' for synthpedes, which"),
        ({"name": "itcpr", "split": "val"}, "itcpr has no split 'val', only test"),
        ({"name": "itcpr", "split": "test", "val_people": 3}, "val_people must be 0 for itcpr"),
        ({"caption_limit": 0}, "caption_limit must be None or at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        open_composed(**{"name": "cuhk_pedes", "split": "train", "data_dir": tmp_path} | options)
    assert set(COMPOSED) > {"synthpedes", "cuhk_pedes", "itcpr", "tgcpr", "syncpr"}


def test_nothing_prepared_and_no_folder_is_named(tmp_path):
    for name in ("itcpr", "syncpr", "cuhk_pedes"):
        split = "test" if name == "itcpr" else "train"
        with pytest.raises(
            FileNotFoundError, match=f"set manual_dir to the published folder of {name}"
        ):
            open_composed(name, split, data_dir=tmp_path)


# Sources


def test_pairs_give_target_reference_and_words(rendered):
    opened = rendered["train"]
    texts = {"tokens": np.arange(2 * len(opened.triplets.words)).reshape(-1, 2)}
    pairs = ComposedPairs(opened, texts)
    assert len(pairs) == len(opened.triplets.words)
    for i in (0, 5, len(pairs) - 1):
        record = pairs[i]
        target, reference = opened.triplets.target[i], opened.triplets.reference[i]
        np.testing.assert_array_equal(record["image"], opened.images[target])
        np.testing.assert_array_equal(record["reference"], opened.images[reference])
        np.testing.assert_array_equal(record["text"]["tokens"], texts["tokens"][i])
        assert record["caption"] == opened.triplets.words[i]
        assert record["file"] == opened.files[target]
        assert (record["image_id"], record["index"]) == (target, i)
        assert record["person_id"] == pairs.person_id[i]


def test_people_of_pairs_count_from_0_in_order_of_appearance(rendered):
    opened = rendered["train"]
    pairs = ComposedPairs(opened, {})
    first = list(dict.fromkeys(pairs.person_id.tolist()))
    assert first == list(range(pairs.people))
    instance = opened.triplets.instance_id
    assert pairs.people == len(set(instance.tolist()))
    same = pairs.person_id[:, None] == pairs.person_id[None]
    np.testing.assert_array_equal(same, instance[:, None] == instance[None])


def test_triplets_without_a_target_are_asked_but_not_trained(rendered):
    opened = rendered["val"]
    target = opened.triplets.target.copy()
    target[[0, 3]] = -1
    opened = opened._replace(triplets=opened.triplets._replace(target=target))
    texts = {"tokens": np.arange(len(target))}
    pairs, queries = ComposedPairs(opened, texts), ComposedQueries(opened, texts)
    assert len(queries) == len(target)
    assert len(pairs) == len(target) - 2
    expected = np.flatnonzero(target >= 0)
    for i in (0, 1, 2, len(pairs) - 1):
        assert pairs[i]["text"]["tokens"] == expected[i]
        assert pairs[i]["caption"] == opened.triplets.words[expected[i]]
        assert pairs[i]["image_id"] == target[expected[i]]


def test_queries_give_reference_and_words(rendered):
    opened = rendered["test"]
    queries = ComposedQueries(opened, {"tokens": 10 * np.arange(len(opened.triplets.words))})
    reference = opened.triplets.reference
    for i in (0, len(queries) - 1):
        record = queries[i]
        assert set(record) == {"reference", "text", "caption", "image_id", "file", "index"}
        np.testing.assert_array_equal(record["reference"], opened.images[reference[i]])
        assert record["text"]["tokens"] == 10 * i
        assert record["caption"] == opened.triplets.words[i]
        assert (record["image_id"], record["file"]) == (reference[i], opened.files[reference[i]])


def test_the_gallery_alone_is_ranked_in_its_order(rendered):
    opened = rendered["val"]
    images = Images(opened._replace(gallery=np.array([7, 2, 7, 40])))
    assert len(images) == 4
    assert images.image_id.tolist() == [7, 2, 7, 40]
    assert images.image_id.dtype == np.int32
    for i, place in enumerate((7, 2, 7, 40)):
        assert (images[i]["image_id"], images[i]["index"]) == (place, i)
        assert images[i]["file"] == opened.files[place]
        np.testing.assert_array_equal(images[i]["image"], opened.images[place])
    assert len(Images(opened._replace(gallery=None))) == len(opened.files)


def test_texts_must_have_a_row_a_triplet(rendered, data_dir):
    opened = rendered["val"]
    number = len(opened.triplets.words)
    for source in (ComposedPairs, ComposedQueries):
        with pytest.raises(ValueError, match=f"one row for each of the {number} triplets of synth"):
            source(opened, {"tokens": np.zeros(number + 1)})
        plain = open_split("synthpedes", "val", data_dir=data_dir, variant="tiny")
        with pytest.raises(ValueError, match="synthpedes val has no triplets; open it with"):
            source(plain, {})


@pytest.mark.external
def test_triplets_over_rendered_people_open(tmp_path):
    folder = Path(os.environ["JAXREID_DATA"]) / "lpc_persons"
    sizes = {}
    for split in SPLITS:
        opened = _open(folder, tmp_path, split, triplets=folder / "triplets.json")
        found = opened.triplets
        sizes[split] = len(found.words)
        np.testing.assert_array_equal(opened.person_id[found.target], found.instance_id)
    assert sizes == {"train": 5_868, "val": 268, "test": 324}


def test_a_person_and_the_twin_in_one_outfit_are_a_group(tmp_path_factory):
    opened = {}
    for split in ("val", "test"):
        opened[split] = open_composed(
            "synthpedes", split, data_dir=tmp_path_factory.getbasetemp() / "twins", variant="tiny"
        )
    for found in opened.values():
        twins = [i for i, file in enumerate(found.files) if "_twins/" in file]
        assert twins
        for i in twins:
            alike = {found.files[j] for j in np.flatnonzero(found.group == found.group[i])}
            own = [file for file in alike if "_twins/" not in file]
            assert (len(alike), len(own)) == (8, 4)
            assert all(("_changed/" in file) == ("_second_" in found.files[i]) for file in own)
            # The same clothes, as their words say.
            assert len({found.person_id[found.files.index(file)] for file in alike}) == 2
        alone = np.unique(found.group, return_counts=True)[1]
        assert set(alone) <= {4, 8}


def test_what_is_trained_on_is_counted_as_it_is_read(tmp_path_factory):
    split = open_composed(
        "synthpedes", "val", data_dir=tmp_path_factory.getbasetemp() / "twins", variant="tiny"
    )
    target = split.triplets.target.copy()
    target[::3] = -1  # known by its id alone: nothing to learn from
    split = split._replace(triplets=split.triplets._replace(target=target))
    for kind in queries.KINDS:
        texts = {"tokens": np.zeros((len(queries.words_of(split, kind)), 3), np.int32)}
        records = queries.training_records(split, kind, texts)
        assert queries.count_training(split, kind) == len(records) > 0
    assert queries.count_training(split, "triplets") == (target >= 0).sum()
