"""SynCPR arrives triplet by triplet; val is a part of it that shares no image with train."""

import json

import numpy as np
import pytest
from composed_copies import syncpr_records, write_syncpr

from jaxreid.data import syncpr
from jaxreid.data.composed import open_composed
from jaxreid.data.pipeline import ComposedPairs
from jaxreid.data.records import AnnotationError

PEOPLE = 4  # of the copy, two cpr_ids each


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy that no test changes."""
    return write_syncpr(tmp_path_factory.mktemp("copies"), syncpr_records(PEOPLE))


@pytest.fixture(scope="module")
def opened(copy, tmp_path_factory):
    return _open(copy, tmp_path_factory.mktemp("data"))


def _open(folder, data_dir, split="train", **options):
    options = {"allow_partial": True} | options
    return open_composed("syncpr", split, data_dir=data_dir, manual_dir=folder, **options)


def _as_published(split):
    """(reference, target, words) of every triplet."""
    found = split.triplets
    return [
        (split.files[r], split.files[t], w)
        for r, t, w in zip(found.reference, found.target, found.words, strict=True)
    ]


def _of(records):
    return [(r["reference_image_path"], r["target_image_path"], r["edit_caption"]) for r in records]


def test_every_triplet_arrives_in_order(opened):
    assert _as_published(opened) == _of(syncpr_records(PEOPLE))
    assert opened.triplets.instance_id.tolist() == [r["cpr_id"] for r in syncpr_records(PEOPLE)]


def test_a_target_is_the_instance_of_its_triplet(opened):
    found = opened.triplets
    np.testing.assert_array_equal(opened.person_id[found.target], found.instance_id)
    assert (opened.person_id[found.reference] != found.instance_id).all()
    np.testing.assert_array_equal(opened.gallery, np.arange(len(opened.files)))


def test_captions_are_those_of_the_triplets_once(copy, opened):
    for record in syncpr_records(PEOPLE):
        for end in ("reference", "target"):
            place = opened.files.index(record[f"{end}_image_path"])
            assert opened.captions[place] == (record[f"{end}_caption"],)


def test_pixels_belong_to_their_files(copy, opened):
    from PIL import Image

    for image, file in zip(opened.images, opened.files, strict=True):
        np.testing.assert_array_equal(image, np.array(Image.open(copy / file).convert("RGB")))


def test_an_image_that_only_is_a_reference_is_nobody(tmp_path):
    records = syncpr_records(2)[:1]
    opened = _open(write_syncpr(tmp_path, records), tmp_path / "data")
    assert opened.person_id.tolist() == [-1, 0]


def test_a_second_caption_of_an_image_is_kept_and_limited(tmp_path):
    records = syncpr_records(1)
    records[1]["target_caption"] = "Another sentence."  # of the reference of record 0
    folder = write_syncpr(tmp_path, records)
    opened = _open(folder, tmp_path / "data")
    assert opened.captions[0] == (records[0]["reference_caption"], "Another sentence.")
    assert max(map(len, _open(folder, tmp_path / "data", caption_limit=1).captions)) == 1


def test_cpr_ids_that_lead_to_one_image_are_one_instance(tmp_path, caplog):
    records = syncpr_records(3)
    # 0 -> 1 and 1 -> 2 share a target: 0, 10 and 20 are one; all others stay.
    for one, other in ((0, 10), (10, 20)):
        target = next(r for r in records if r["cpr_id"] == other)
        source = next(r for r in records if r["cpr_id"] == one)
        copy = dict(source, target_image_path=target["target_image_path"])
        records.append(copy | {"target_caption": target["target_caption"]})
    with caplog.at_level("WARNING"):
        opened = _open(write_syncpr(tmp_path, records), tmp_path / "data")
    expected = [0 if r["cpr_id"] in (0, 10, 20) else r["cpr_id"] for r in records]
    assert opened.triplets.instance_id.tolist() == expected
    found = opened.triplets
    np.testing.assert_array_equal(opened.person_id[found.target], found.instance_id)
    assert "2 cpr_ids lead to images of another cpr_id too" in caplog.text


@pytest.mark.parametrize("held", [1, 2, 3])
def test_val_has_so_many_instances_and_no_image_of_train(copy, tmp_path, held, caplog):
    with caplog.at_level("INFO"):
        val = _open(copy, tmp_path, "val", val_people=held)
    train = _open(copy, tmp_path, "train", val_people=held)
    assert len(set(val.triplets.instance_id.tolist())) == held
    assert not set(val.files) & set(train.files)
    published = _of(syncpr_records(PEOPLE))
    for split in (train, val):
        assert set(_as_published(split)) < set(published)
        np.testing.assert_array_equal(
            split.person_id[split.triplets.target], split.triplets.instance_id
        )
    # Two pairs of images an instance; the ways back are in neither.
    assert len(val.triplets.words) == 2 * held
    assert len(train.triplets.words) == len(published) - 4 * held
    assert f"{2 * held} triplets share images with val, train lacks them" in caplog.text


def test_training_pairs_count_instances_from_0(opened):
    pairs = ComposedPairs(opened, {"tokens": np.arange(4 * PEOPLE)})
    assert pairs.people == 2 * PEOPLE
    assert pairs.person_id.tolist() == [
        2 * p + w for p in range(PEOPLE) for _ in "ab" for w in (0, 1)
    ]
    assert pairs[3]["file"] == syncpr_records(PEOPLE)[3]["target_image_path"]


def test_a_part_of_the_folders_goes_with_allow_partial_only(tmp_path, monkeypatch, caplog):
    records = syncpr_records(PEOPLE)
    monkeypatch.setattr(syncpr, "COUNTS", {"triplets": 16, "cpr_ids": 8})
    folder = write_syncpr(tmp_path, records)
    assert len(_open(folder, tmp_path / "a", allow_partial=False).triplets.words) == 16
    for path in (folder / "test2").rglob("*.png"):
        path.unlink()
    message = r"SynCPR.json, record 4, key 'reference_image_path': .*missing"
    with pytest.raises(AnnotationError, match=message):
        _open(folder, tmp_path / "b", allow_partial=False)
    with caplog.at_level("WARNING"):
        part = _open(folder, tmp_path / "b")
    assert _as_published(part) == [t for t in _of(records) if t[0].startswith("test1/")]
    assert "8 triplets without their images are left out" in caplog.text


def test_other_counts_than_published_are_refused(copy, tmp_path):
    assert syncpr.COUNTS == {"triplets": 1_153_220, "cpr_ids": 177_530}
    with pytest.raises(AnnotationError, match="there are 16 triplets, published are 1153220"):
        _open(copy, tmp_path, allow_partial=False)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("edit_caption", "", "is blank"),
        ("reference_caption", None, "must be text, got None"),
        ("cpr_id", 1.5, "must be an integer, got 1.5"),
        ("cpr_id", -1, "must be in 0"),
        ("target_image_path", "/a.png", "must stay inside"),
    ],
)
def test_a_wrong_value_is_named_by_file_record_and_key(tmp_path, key, value, problem):
    records = syncpr_records(1)
    records[3][key] = value
    (tmp_path / "SynCPR.json").write_text(json.dumps(records))
    with pytest.raises(AnnotationError, match=rf"SynCPR.json, record 3, key '{key}': {problem}"):
        _open(tmp_path, tmp_path / "data")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "test"}, "syncpr has no split 'test', only train; val_people > 0 holds"),
        ({"split": "val"}, "syncpr has no split 'val'"),
        ({"val_people": -2}, "val_people must be at least 0 for syncpr, got -2"),
        ({"val_people": 8}, r"val_people must be in 0\.\.7 for syncpr, got 8"),
        ({"val_people": 7}, "val_people must leave triplets to train, 7 leave none"),
        ({"variant": "tiny"}, "variant must be None for syncpr"),
        ({"triplets": "a.json"}, "triplets must be '' for syncpr, which has its own"),
    ],
)
def test_wrong_arguments_are_named(copy, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        _open(copy, tmp_path, **options)
