"""ITCPR and TG-CPR arrive as published: every query, every gallery row in order, or an error."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from composed_copies import GALLERY, QUERIES, itcpr_records, write_itcpr, write_lists

from jaxreid.data import itcpr, tgcpr
from jaxreid.data.composed import open_composed
from jaxreid.data.itcpr_files import GalleryCounts, read_rows, unanswered
from jaxreid.data.pipeline import ComposedPairs, ComposedQueries, Images
from jaxreid.data.records import AnnotationError


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy that no test changes."""
    return write_itcpr(tmp_path_factory.mktemp("copies"))


@pytest.fixture(scope="module")
def opened(copy, tmp_path_factory):
    return _open(copy, tmp_path_factory.mktemp("data"))


def _open(folder, data_dir, name="itcpr", **options):
    options = {"allow_partial": True} | options
    return open_composed(name, "test", data_dir=data_dir, manual_dir=folder, **options)


def test_gallery_is_ranked_row_by_row_as_published(opened):
    assert [(opened.files[i], opened.person_id[i]) for i in opened.gallery] == list(GALLERY)
    assert opened.gallery.dtype == opened.person_id.dtype == np.int32
    images = Images(opened)
    assert [images[i]["file"] for i in range(len(images))] == [file for file, _ in GALLERY]


def test_every_query_has_its_reference_words_and_instance(opened):
    found = opened.triplets
    assert [opened.files[i] for i in found.reference] == [file for file, *_ in QUERIES]
    assert found.instance_id.tolist() == [instance for _, instance, _ in QUERIES]
    assert found.words == tuple(words for *_, words in QUERIES)


def test_target_is_an_answer_in_the_gallery_and_minus_1_without_one(opened):
    found = opened.triplets
    for target, instance in zip(found.target[:-1], found.instance_id[:-1], strict=True):
        assert opened.person_id[target] == instance
        assert target in opened.gallery
    assert found.target[-1] == -1


def test_a_query_image_of_the_gallery_is_one_image(opened):
    for query, row in ((1, 3), (2, 0)):  # a distractor, and the answer to another query
        assert opened.files.count(QUERIES[query][0]) == 1
        assert opened.triplets.reference[query] == opened.gallery[row]


def test_an_image_of_two_instances_is_two_images(opened):
    assert opened.files.count("LAST/000/b.jpg") == 2
    # 5 other files of the gallery and of the queries
    assert len(opened.files) == len(opened.images) == 2 + 6


def test_query_images_that_are_not_ranked_are_nobody(opened):
    others = sorted(set(range(len(opened.files))) - set(opened.gallery.tolist()))
    assert [opened.files[i] for i in others] == ["PRCC/test/001/q.png", "LAST/000/q.jpg"]
    assert (opened.person_id[others] == -1).all()
    np.testing.assert_array_equal(opened.images[others[0]].shape, (24, 12, 3))


def test_records_of_queries_and_pairs_follow_the_triplets(opened):
    texts = {"tokens": np.arange(len(QUERIES))}
    queries, pairs = ComposedQueries(opened, texts), ComposedPairs(opened, texts)
    assert [queries[i]["file"] for i in range(5)] == [file for file, *_ in QUERIES]
    assert len(pairs) == 4  # the last has no target
    assert [pairs[i]["text"]["tokens"] for i in range(4)] == [0, 1, 2, 3]
    assert pairs.person_id.tolist() == [0, 1, 2, 3]


def test_queries_without_an_answer_and_rows_that_come_again_are_logged(copy, tmp_path, caplog):
    with caplog.at_level("WARNING"):
        _open(copy, tmp_path)
    log = caplog.text
    assert (
        "instance_id of 1 queries is in no row of the gallery, they cannot be answered: 9 (re"
        in log
    )
    assert "1 rows name an image of an earlier row again" in log
    assert "1 images stand there under more than one instance_id" in log


def test_a_prepared_copy_opens_without_the_published_folder(copy, tmp_path):
    first = _open(copy.parent, tmp_path)  # the parent will do as well
    again = _open(None, tmp_path)
    assert again.files == first.files
    assert again.triplets.words == first.triplets.words


@pytest.mark.parametrize("json_in", ["", "datasets"])
def test_files_may_lie_in_the_folder_or_in_datasets(tmp_path, json_in):
    folder = write_itcpr(tmp_path, json_in=json_in)
    assert len(_open(folder, tmp_path / "data").gallery) == len(GALLERY)


def test_tgcpr_has_the_schema_of_itcpr(tmp_path, opened):
    write_itcpr(tmp_path, "TG-CPR")
    other = _open(tmp_path, tmp_path / "data", name="tgcpr")
    assert other.data_set == "tgcpr"
    assert other.files == opened.files


def test_published_counts():
    assert itcpr.COUNTS == (2_202, 20_510, 2_225)
    assert tgcpr.COUNTS[:2] == (1_658, 3_544)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((6, 7, 5), "query.json: there are 5 queries, published are 6; allow_partial=True"),
        ((5, 8, 5), "gallery.json: there are 7 gallery images, published are 8"),
        ((5, 7, 4), "there are 5 gallery images that are asked for, published are 4"),
    ],
)
def test_other_counts_than_published_are_refused(copy, tmp_path, monkeypatch, counts, message):
    monkeypatch.setattr(itcpr, "COUNTS", GalleryCounts(*counts))
    with pytest.raises(AnnotationError, match=message):
        _open(copy, tmp_path, allow_partial=False)
    monkeypatch.setattr(itcpr, "COUNTS", GalleryCounts(5, 7, 5))
    assert len(_open(copy, tmp_path, allow_partial=False).gallery) == 7


def test_a_part_of_the_images_goes_with_allow_partial_only(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(itcpr, "COUNTS", GalleryCounts(5, 7, 5))
    folder = write_itcpr(tmp_path)
    for file in (folder / "LAST").rglob("*.jpg"):
        file.unlink()
    with pytest.raises(
        AnnotationError, match=r"gallery.json, record 1, key 'file_path': .*missing"
    ):
        _open(folder, tmp_path / "data", allow_partial=False)
    with caplog.at_level("WARNING"):
        part = _open(folder, tmp_path / "data")
    assert len(part.gallery) == 4
    assert len(part.triplets.words) == 4
    assert "3 rows are left out, their images are not in" in caplog.text


@pytest.mark.parametrize(
    ("file", "key", "value", "problem"),
    [
        ("query", "caption", " ", "is blank"),
        ("query", "caption", ["red"], "must be text"),
        ("query", "instance_id", -1, r"must be in 0\.\."),
        ("query", "instance_id", "3", "must be an integer, got '3'"),
        ("gallery", "instance_id", -2, r"must be in -1\.\."),
        ("gallery", "file_path", "../a.jpg", "must stay inside the image folder"),
        ("gallery", "person_id", None, "must be an integer"),
        ("gallery", "datasets", "", "is blank"),
    ],
)
def test_a_wrong_value_is_named_by_file_record_and_key(copy, tmp_path, file, key, value, problem):
    queries, gallery = itcpr_records()
    (queries if file == "query" else gallery)[2][key] = value
    write_lists(tmp_path, queries, gallery)
    with pytest.raises(AnnotationError, match=rf"{file}.json, record 2, key '{key}': {problem}"):
        _open(tmp_path, tmp_path / "data")


def test_a_missing_and_an_unknown_key_are_named(tmp_path):
    queries, gallery = itcpr_records()
    gallery[1]["instanceid"] = gallery[1].pop("instance_id")
    write_lists(tmp_path, queries, gallery)
    with pytest.raises(
        AnnotationError, match=r"record 1, key 'instance_id': is missing \(is 'insta"
    ):
        _open(tmp_path, tmp_path / "data")
    queries[0]["note"] = 1
    write_lists(tmp_path, queries, itcpr_records()[1])
    with pytest.raises(AnnotationError, match="record 0, key 'note': is unknown"):
        read_rows(tmp_path / "query.json", captions=True)


@pytest.mark.parametrize("fault", ["missing", "truncated", "text"])
def test_an_unusable_image_is_named(tmp_path, monkeypatch, fault):
    monkeypatch.setattr(itcpr, "COUNTS", GalleryCounts(5, 7, 5))
    folder = write_itcpr(tmp_path)
    path = folder / "PRCC/test/001/q.png"  # a reference only
    match fault:
        case "missing":
            path.unlink()
        case "truncated":
            path.write_bytes(path.read_bytes()[:-30])
        case "text":
            path.write_text("no image")
    with pytest.raises(AnnotationError, match=r"query.json, record 0, key 'file_path': .*q\.png"):
        _open(folder, tmp_path / "data", allow_partial=False)


def test_no_image_at_all_is_an_error(tmp_path):
    write_lists(tmp_path, *itcpr_records())
    with pytest.raises(AnnotationError, match="no image of it is in"):
        _open(tmp_path, tmp_path / "data")


def test_one_of_the_files_alone_is_named(tmp_path):
    write_lists(tmp_path, *itcpr_records())
    (tmp_path / "gallery.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"gallery.json is needed beside .*query.json"):
        _open(tmp_path, tmp_path / "data")


def test_damaged_prepared_data_is_named(copy, tmp_path):
    _open(copy, tmp_path)
    (path,) = tmp_path.rglob("queries-test.npz")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(AnnotationError, match="prepared itcpr test is damaged, delete the folder"):
        _open(copy, tmp_path)


@pytest.mark.external
def test_published_queries_are_read():
    path = Path(os.environ["JAXREID_DATA"]) / "annotations/itcpr/query.json"
    rows = read_rows(path, captions=True)
    assert len(rows) == itcpr.COUNTS.queries
    assert len({row.file for row in rows}) == 1_586
    assert len({row.instance_id for row in rows}) == 2_202
    assert unanswered(rows, rows[:2_000])[0].record == 2_000
    assert json.loads(path.read_text())[7]["caption"] == rows[7].caption
