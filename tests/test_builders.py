"""Published folders come back as splits: same images, ids, captions and order, or an error."""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from copies import FILES, path_of, records, write_annotations, write_copy
from PIL import Image

from jaxreid.data import cuhk_pedes, dataset, published, shards
from jaxreid.data import prepared as prepared_files
from jaxreid.data.dataset import open_split
from jaxreid.data.prepared import decode_image
from jaxreid.data.published import Counts
from jaxreid.data.records import AnnotationError

DATA_SETS = tuple(FILES)


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """Folder with a tiny copy of each data set, which no test changes."""
    root = tmp_path_factory.mktemp("copies")
    for data_set in DATA_SETS:
        write_copy(root, data_set)
    return root


@pytest.fixture(scope="module")
def prepared(copies, tmp_path_factory):
    """Folder of prepared data of every copy, which no test changes."""
    data_dir = tmp_path_factory.mktemp("prepared")
    for data_set in DATA_SETS:
        _open(data_set, "train", data_dir, copies)
    return data_dir


@pytest.fixture
def copy(tmp_path):
    """A copy of CUHK-PEDES that a test may spoil; prepared data goes to tmp_path / "data"."""
    return write_copy(tmp_path, "cuhk_pedes")


def _open(data_set, split, data_dir, manual_dir, **options):
    options.setdefault("allow_partial", True)
    return open_split(data_set, split, data_dir=data_dir, manual_dir=manual_dir, **options)


def _pixels(path):
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


@pytest.mark.parametrize("data_set", DATA_SETS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_split_holds_what_was_published_in_its_order(copies, prepared, data_set, split):
    opened = _open(data_set, split, prepared, copies)
    expected = [record for record in records(data_set) if record["split"] == split]
    assert (opened.data_set, opened.split) == (data_set, split)
    assert opened.files == tuple(path_of(record) for record in expected)
    assert opened.person_id.tolist() == [record["id"] for record in expected]
    assert opened.person_id.dtype == np.int32
    assert opened.captions == tuple(tuple(record["captions"]) for record in expected)
    assert len(opened.images) == len(expected)
    (folder,) = {path.parent for path in copies.glob(f"*/{FILES[data_set]}")}
    for image, file in zip(opened.images, opened.files, strict=True):
        np.testing.assert_array_equal(image, _pixels(folder / "imgs" / file))


def test_manual_dir_may_be_the_data_set_folder_itself(copies, prepared):
    parent = _open("rstpreid", "val", prepared, copies)
    assert _open("rstpreid", "val", prepared, copies / "RSTPReid").files == parent.files


def test_caption_limit_keeps_the_first_captions(copies, prepared):
    full = _open("cuhk_pedes", "train", prepared, copies)
    assert max(map(len, full.captions)) == 3
    limited = _open("cuhk_pedes", "train", prepared, copies, caption_limit=2)
    assert limited.captions == tuple(captions[:2] for captions in full.captions)


def test_builder_features_are_the_common_ones(prepared):
    (folder,) = (prepared / "icfg_pedes").glob("*-partial/1.0.0")
    source = tfds.builder_from_directory(str(folder)).as_data_source("test")
    record = source[1]
    assert set(record) == {"image", "file", "person_id", "image_id", "captions"}
    expected = [record for record in records("icfg_pedes") if record["split"] == "test"][1]
    assert record["file"].decode() == expected["file_path"]
    assert (record["person_id"], record["image_id"]) == (expected["id"], 1)
    assert [caption.decode() for caption in record["captions"]] == expected["captions"]
    assert record["image"].shape == (24, 12, 3)


def test_builder_works_as_plain_tfds(copy, tmp_path, monkeypatch):
    counts = {"train": Counts(6, 3, 13), "val": Counts(2, 1, 4), "test": Counts(4, 2, 8)}
    monkeypatch.setattr(cuhk_pedes, "LAYOUT", cuhk_pedes.LAYOUT._replace(counts=counts))
    builder = cuhk_pedes.CuhkPedes(data_dir=tmp_path / "data")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=copy.parent)
    )
    assert len(builder.as_data_source("train")) == 6


def test_order_holds_across_shards(copies, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_RECORDS_PER_SHARD", 3)
    opened = _open("cuhk_pedes", "train", tmp_path, copies)
    assert len(list(tmp_path.rglob("*train.array_record*"))) == 2
    expected = [record for record in records("cuhk_pedes") if record["split"] == "train"]
    assert opened.files == tuple(map(path_of, expected))
    for index in (5, 0, 3, 4):
        path = copies / "CUHK-PEDES/imgs" / opened.files[index]
        np.testing.assert_array_equal(opened.images[index], _pixels(path))


def test_opening_decodes_no_image(copies, prepared, monkeypatch):
    def fail(encoded):
        raise AssertionError("decoded")

    monkeypatch.setattr(prepared_files, "decode_image", fail)
    opened = _open("cuhk_pedes", "train", prepared, copies)
    with pytest.raises(AssertionError, match="decoded"):
        opened.images[0]


def test_split_pickles_small_and_reads_in_a_process_without_tensorflow_or_jax(
    copies, prepared, tmp_path
):
    opened = _open("cuhk_pedes", "train", prepared, copies)
    expected = opened.images[2]  # opens the files, which must not travel
    content = pickle.dumps(opened)
    assert len(content) < 5_000
    (tmp_path / "split.pickle").write_bytes(content)
    (tmp_path / "worker.py").write_text(
        "import pickle, sys\n"
        "image = pickle.load(open(sys.argv[1], 'rb')).images[2]\n"
        "assert 'tensorflow' not in sys.modules and 'jax' not in sys.modules\n"
        "sys.stdout.buffer.write(image.tobytes())\n"
    )
    output = subprocess.run(
        [sys.executable, tmp_path / "worker.py", tmp_path / "split.pickle"],
        env=os.environ | {"PYTHONPATH": str(Path(dataset.__file__).parents[2])},
        capture_output=True,
        check=True,
    ).stdout
    assert output == expected.tobytes()


def test_images_take_negative_indices_and_end(copies, prepared):
    images = _open("cuhk_pedes", "val", prepared, copies).images
    np.testing.assert_array_equal(images[-1], images[np.int64(1)])
    with pytest.raises(IndexError):
        images[2]
    assert len(list(images)) == 2


def test_rendered_data_set_opens_by_variant(tmp_path):
    opened = open_split("synthpedes", "test", data_dir=tmp_path, variant="tiny")
    assert len(opened.images) == len(opened.files) == len(opened.captions) > 0
    assert opened.images[-1].ndim == 3
    train = open_split("synthpedes", "train", data_dir=tmp_path, variant="tiny")
    assert not set(train.person_id.tolist()) & set(opened.person_id.tolist())
    changed = open_split("synthpedes", "test_changed", data_dir=tmp_path, variant="tiny")
    assert set(changed.person_id.tolist()) <= set(opened.person_id.tolist())
    assert not set(changed.files) & set(opened.files)


# What prepared data is keyed by


def test_changed_annotations_are_prepared_anew(copy, tmp_path):
    assert _open("cuhk_pedes", "test", tmp_path / "data", copy).captions[0][0].startswith("Person")
    changed = records("cuhk_pedes")
    changed[-4]["captions"] = ["Something else."]
    write_annotations(copy, "cuhk_pedes", changed)
    opened = _open("cuhk_pedes", "test", tmp_path / "data", copy)
    assert opened.captions[0] == ("Something else.",)


def test_partial_data_is_not_taken_for_whole(copies, prepared):
    with pytest.raises(AnnotationError, match="split 'train' has 6 images, 3 people, 13 captions"):
        _open("cuhk_pedes", "train", prepared, copies, allow_partial=False)


def test_prepared_data_opens_without_the_published_folder(copy, tmp_path):
    opened = _open("cuhk_pedes", "test", tmp_path / "data", copy)
    shutil.rmtree(copy)
    again = _open("cuhk_pedes", "test", tmp_path / "data", None)
    assert again.captions == opened.captions
    np.testing.assert_array_equal(again.images[3], opened.images[3])
    with pytest.raises(FileNotFoundError, match="set manual_dir"):
        _open("cuhk_pedes", "test", tmp_path / "data", None, allow_partial=False)


def test_two_preparations_without_manual_dir_are_ambiguous(copy, tmp_path):
    _open("cuhk_pedes", "test", tmp_path / "data", copy)
    write_annotations(copy, "cuhk_pedes", records("cuhk_pedes")[:-1])
    _open("cuhk_pedes", "test", tmp_path / "data", copy)
    with pytest.raises(ValueError, match="different annotation files"):
        _open("cuhk_pedes", "test", tmp_path / "data", None)


# Splits and counts


def test_published_counts_pass_without_allow_partial(copy, tmp_path, monkeypatch):
    counts = {"train": Counts(6, 3, 13), "val": Counts(2, 1, 4), "test": Counts(4, 2, 8)}
    monkeypatch.setattr(cuhk_pedes, "LAYOUT", cuhk_pedes.LAYOUT._replace(counts=counts))
    options = {"data_dir": tmp_path / "data", "manual_dir": copy}
    assert len(open_split("cuhk_pedes", "test", **options).files) == 4
    assert len(open_split("cuhk_pedes", "val", **options).files) == 2


def test_one_missing_record_of_one_split_is_found(copy, tmp_path, monkeypatch):
    counts = {"train": Counts(6, 3, 13), "val": Counts(2, 1, 4), "test": Counts(4, 2, 8)}
    monkeypatch.setattr(cuhk_pedes, "LAYOUT", cuhk_pedes.LAYOUT._replace(counts=counts))
    write_annotations(copy, "cuhk_pedes", records("cuhk_pedes")[:-1])
    with pytest.raises(AnnotationError) as caught:
        open_split("cuhk_pedes", "val", data_dir=tmp_path / "data", manual_dir=copy)
    assert str(caught.value) == (
        f"{copy / 'reid_raw.json'}, key 'split': split 'test' has 3 images, 2 people, 6 captions, "
        "published are 4 images, 2 people, 8 captions; allow_partial=True takes what is there"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record["captions"].pop(), "4 images, 2 people, 7 captions"),
        (lambda record: record.update(id=99), "4 images, 3 people, 8 captions"),
    ],
)
def test_one_caption_less_or_one_person_more_is_found(copy, tmp_path, monkeypatch, change, message):
    counts = {"train": Counts(6, 3, 13), "val": Counts(2, 1, 4), "test": Counts(4, 2, 8)}
    monkeypatch.setattr(cuhk_pedes, "LAYOUT", cuhk_pedes.LAYOUT._replace(counts=counts))
    changed = records("cuhk_pedes")
    change(changed[-1])
    write_annotations(copy, "cuhk_pedes", changed)
    with pytest.raises(AnnotationError, match=f"split 'test' has {message}"):
        _open("cuhk_pedes", "val", tmp_path / "data", copy, allow_partial=False)


def test_empty_split_is_an_error_and_absent_from_partial_data(copy, tmp_path, monkeypatch):
    counts = {"train": Counts(6, 3, 13), "val": Counts(2, 1, 4), "test": Counts(4, 2, 8)}
    monkeypatch.setattr(cuhk_pedes, "LAYOUT", cuhk_pedes.LAYOUT._replace(counts=counts))
    content = [record for record in records("cuhk_pedes") if record["split"] != "val"]
    write_annotations(copy, "cuhk_pedes", content)
    with pytest.raises(AnnotationError, match="split 'val' has 0 images"):
        _open("cuhk_pedes", "train", tmp_path / "data", copy, allow_partial=False)
    with pytest.raises(ValueError, match="has no split 'val', only test, train"):
        _open("cuhk_pedes", "val", tmp_path / "data", copy)


def test_val_people_are_taken_out_of_train(copies, prepared):
    whole = _open("icfg_pedes", "train", prepared, copies)
    train = _open("icfg_pedes", "train", prepared, copies, val_people=2)
    val = _open("icfg_pedes", "val", prepared, copies, val_people=2)
    assert set(val.person_id.tolist()) == {0, 2}
    assert set(train.person_id.tolist()) == {1, 3}
    assert sorted(train.files + val.files) == sorted(whole.files)


@pytest.mark.parametrize("people", [4, 9])
def test_val_people_must_leave_train_people(copies, tmp_path, people):
    with pytest.raises(ValueError, match=r"val_people must be in 0\.\.3"):
        _open("icfg_pedes", "train", tmp_path, copies, val_people=people)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cuhk_pedse"}, r"unknown data set 'cuhk_pedse' \(is 'cuhk_pedes' meant\?\)"),
        ({"name": "duke"}, "allowed are cuhk_pedes, icfg_pedes, rstpreid, chatpedes, "),
        ({"split": "tset"}, r"unknown split 'tset' \(is 'test' meant\?\)"),
        ({"split": "val", "name": "icfg_pedes"}, "no split 'val'; val_people > 0"),
        ({"val_people": 3}, "val_people must be 0 for cuhk_pedes"),
        ({"val_people": -1}, "val_people must be at least 0"),
        ({"caption_limit": 0}, "caption_limit must be None or at least 1"),
        ({"variant": "tiny"}, "variant must be None for cuhk_pedes"),
        ({"split": "test_changed"}, "unknown split 'test_changed'"),
        ({"name": "synthpedes"}, "synthpedes is rendered"),
        (
            {"name": "synthpedes", "manual_dir": None, "variant": "tinny"},
            r"unknown variant of synthpedes 'tinny' \(is 'tiny' meant\?\); allowed are default",
        ),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_written(copies, tmp_path, arguments, message):
    options = {"name": "cuhk_pedes", "split": "test", "data_dir": tmp_path / "data"}
    with pytest.raises(ValueError, match=message):
        open_split(**options | {"manual_dir": copies} | arguments)
    assert not (tmp_path / "data").exists()


# Layouts


@pytest.mark.parametrize("pattern", ["processed_data/{}.json", "{}_reid.json"])
def test_files_per_split_give_the_same_split(copies, prepared, copy, tmp_path, pattern):
    content = json.loads((copy / "reid_raw.json").read_text())
    (copy / "reid_raw.json").unlink()
    for split in ("train", "val", "test"):
        path = copy / pattern.format(split)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps([r for r in content if r["split"] == split]))
    opened = _open("cuhk_pedes", "train", tmp_path / "data", copy)
    expected = _open("cuhk_pedes", "train", prepared, copies)
    assert opened.files == expected.files
    assert opened.captions == expected.captions


def test_missing_file_of_a_split_is_named(copy, tmp_path):
    (copy / "reid_raw.json").rename(copy / "train_reid.json")
    with pytest.raises(FileNotFoundError, match=r"val_reid\.json is needed beside"):
        _open("cuhk_pedes", "train", tmp_path / "data", copy, allow_partial=False)


def test_other_spelling_of_the_icfg_file_is_read(tmp_path):
    folder = write_copy(tmp_path, "icfg_pedes")
    (folder / "ICFG-PEDES.json").rename(folder / "ICFG_PEDES.json")
    assert len(_open("icfg_pedes", "test", tmp_path / "data", tmp_path).files) == 4


def test_caption_file_without_splits_names_the_file_needed(copy, tmp_path):
    (copy / "reid_raw.json").rename(copy / "caption_all.json")
    with pytest.raises(FileNotFoundError, match=r"reid_raw\.json is needed"):
        _open("cuhk_pedes", "test", tmp_path / "data", copy)


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("reid_raw.json", r"no annotation file of cuhk_pedes .* looked for reid_raw\.json"),
        ("imgs", "no image folder imgs or images"),
        ("", "is not a folder"),
    ],
)
def test_incomplete_folder_says_what_is_missing(copy, tmp_path, remove, message):
    path = copy / remove
    path.unlink() if path.is_file() else shutil.rmtree(path)
    with pytest.raises(FileNotFoundError, match=message):
        _open("cuhk_pedes", "test", tmp_path / "data", copy)


# Image files


def _spoil(path, fault):
    match fault:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("no image")
        case "a folder":
            path.unlink()
            path.mkdir()
        case "GIF":
            Image.new("RGB", (4, 4)).save(path, format="GIF")
        case "too large":
            Image.new("1", (5001, 5000)).save(path, format="PNG")
        case "a bomb":  # a header that claims more pixels than Pillow opens
            Image.new("1", (1, 1)).save(path, format="PNG")
            content = bytearray(path.read_bytes())
            content[16:24] = (60_000).to_bytes(4) * 2
            path.write_bytes(content)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", "is missing or unreadable: No such file"),
        ("empty", "is empty (0 bytes)"),
        ("text", "is no readable JPEG, PNG, BMP, WEBP image"),
        ("a folder", "is not a file"),
        ("GIF", "is no readable JPEG, PNG, BMP, WEBP image"),
        ("too large", "has 5001 x 5000 pixels, more than 25000000"),
        ("a bomb", "is no readable JPEG, PNG, BMP, WEBP image"),
    ],
)
def test_bad_image_is_named_before_anything_is_written(copy, tmp_path, fault, message):
    _spoil(copy / "imgs" / path_of(records("cuhk_pedes")[9]), fault)
    with pytest.raises(AnnotationError) as caught:
        _open("cuhk_pedes", "train", tmp_path / "data", copy)
    file = copy / "imgs" / path_of(records("cuhk_pedes")[9])
    assert str(caught.value).startswith(
        f"{copy / 'reid_raw.json'}, record 9, key 'file_path': {file} {message}"
    )
    assert not list(tmp_path.rglob("*array_record*"))


def _truncated_jpeg(path):
    """A JPEG without its end; its header is whole."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 24, 3), np.uint8)
    path.write_bytes(_encoded(Image.fromarray(pixels), "JPEG")[:-400])


def _text_as_jpeg(path):
    path.write_text("<html>404 Not Found</html>")


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_truncated_jpeg, "cannot be decoded: image file is truncated"),
        (_text_as_jpeg, "is no readable JPEG, PNG, BMP, WEBP image"),
    ],
)
def test_damaged_image_of_any_split_is_named_before_anything_is_written(
    copy, tmp_path, split, spoil, message
):
    """Also of a split that is not the one opened: training would find it after an epoch."""
    content = records("cuhk_pedes")
    record = [r["split"] for r in content].index(split)
    path = copy / "imgs" / path_of(content[record])
    content[record]["file_path"] = str(Path(content[record]["file_path"]).with_suffix(".jpg"))
    path.unlink()
    path = path.with_suffix(".jpg")
    spoil(path)
    write_annotations(copy, "cuhk_pedes", content)
    with pytest.raises(AnnotationError) as caught:
        _open("cuhk_pedes", "train", tmp_path / "data", copy)
    assert str(caught.value).startswith(
        f"{copy / 'reid_raw.json'}, record {record}, key 'file_path': {path} {message}"
    )
    assert not list(tmp_path.rglob("*array_record*"))


def test_damaged_pixels_in_prepared_data_are_named_when_decoded(copy, tmp_path, monkeypatch):
    path = copy / "imgs" / path_of(records("cuhk_pedes")[0])
    path.write_bytes(path.read_bytes()[:-40])
    monkeypatch.setattr(published, "pixel_problem", lambda path: None)
    opened = _open("cuhk_pedes", "train", tmp_path / "data", copy)
    with pytest.raises(AnnotationError, match=r"cuhk_pedes train in .*cam_0/0001_0\.png cannot be"):
        opened.images[0]
    assert opened.images[1].shape == (24, 12, 3)


def _encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["CMYK", "L", "P", "RGBA", "LA", "1", "I;16"])
def test_every_mode_decodes_to_rgb(mode):
    grey = np.arange(0, 240, 10, np.uint8).reshape(6, 4)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(grey).convert("RGB").convert(mode)
    pixels = decode_image(_encoded(image, "JPEG" if mode == "CMYK" else "PNG"))
    assert pixels.shape == (6, 4, 3)
    assert pixels.dtype == np.uint8
    if mode in ("L", "LA", "RGBA", "I;16"):
        np.testing.assert_array_equal(pixels, np.repeat(grey[..., None], 3, axis=2))


def test_other_formats_and_huge_images_are_not_decoded():
    with pytest.raises(ValueError, match="cannot be decoded"):
        decode_image(_encoded(Image.new("RGB", (4, 4)), "GIF"))
    with pytest.raises(ValueError, match="5001 x 5000 is more than 25000000 pixels"):
        decode_image(_encoded(Image.new("1", (5001, 5000)), "PNG"))


def test_exif_orientation_turns_the_image_upright():
    pixels = np.zeros((2, 5, 3), np.uint8)
    pixels[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: shown rotated by 90 degrees clockwise
    upright = decode_image(_encoded(Image.fromarray(pixels), "PNG", exif=exif))
    np.testing.assert_array_equal(upright, np.rot90(pixels, -1))


# Preparations that fail


def test_failed_preparation_leaves_nothing_that_looks_whole(copy, tmp_path, monkeypatch):
    whole = published.examples

    def cut(folder, images, **options):
        for number, example in enumerate(whole(folder, images)):
            if number == 3:
                raise OSError(28, "No space left on device")
            yield example

    monkeypatch.setattr(published, "examples", cut)
    with pytest.raises(OSError, match=r"cuhk_pedes could not be prepared in .*No space left"):
        _open("cuhk_pedes", "test", tmp_path / "data", copy)
    assert not list(tmp_path.rglob("*array_record*"))
    monkeypatch.undo()
    assert len(_open("cuhk_pedes", "test", tmp_path / "data", copy).files) == 4


def test_killed_preparation_leaves_nothing_that_looks_whole(copy, tmp_path):
    (tmp_path / "killed.py").write_text(
        "import os, sys\n"
        "from jaxreid.data import dataset, published\n"
        "whole = published.examples\n"
        "def cut(folder, images, **options):\n"
        "    for number, example in enumerate(whole(folder, images)):\n"
        "        if number == 3: os.kill(os.getpid(), 9)\n"
        "        yield example\n"
        "published.examples = cut\n"
        "dataset.open_split('cuhk_pedes', 'test', data_dir=sys.argv[2], manual_dir=sys.argv[1],\n"
        "                   allow_partial=True)\n"
    )
    killed = subprocess.run(
        [sys.executable, tmp_path / "killed.py", copy, tmp_path / "data"],
        env=os.environ | {"PYTHONPATH": str(Path(dataset.__file__).parents[2])},
        capture_output=True,
    )
    assert killed.returncode == -9
    with pytest.raises(FileNotFoundError, match="no prepared cuhk_pedes"):
        _open("cuhk_pedes", "test", tmp_path / "data", None)
    assert len(_open("cuhk_pedes", "test", tmp_path / "data", copy).files) == 4


def test_two_preparations_at_once_end_in_one(copy, tmp_path, monkeypatch):
    whole = published.examples

    def twice(folder, images, **options):
        monkeypatch.setattr(published, "examples", whole)
        inner.append(_open("cuhk_pedes", "test", tmp_path / "data", copy))
        return whole(folder, images)

    inner = []
    monkeypatch.setattr(published, "examples", twice)
    outer = _open("cuhk_pedes", "test", tmp_path / "data", copy)
    assert outer.files == inner[0].files
    np.testing.assert_array_equal(outer.images[1], inner[0].images[1])
    assert len(list((tmp_path / "data/cuhk_pedes").glob("*-partial/*"))) == 1


def test_flipped_byte_of_a_stored_image_is_found_when_read(copy, tmp_path):
    opened = _open("cuhk_pedes", "test", tmp_path / "data", copy)
    (shard,) = (tmp_path / "data").rglob("*test.array_record*")
    content = bytearray(shard.read_bytes())
    content[content.index(path_of(records("cuhk_pedes")[-1]).encode())] ^= 1
    shard.write_bytes(content)
    again = _open("cuhk_pedes", "test", tmp_path / "data", copy)
    np.testing.assert_array_equal(again.images[0], opened.images[0])
    with pytest.raises(AnnotationError, match="record 3, key 'image': cannot be read"):
        again.images[3]


@pytest.mark.parametrize("damage", ["truncated", "missing", "other"])
def test_damaged_prepared_data_is_named(copy, tmp_path, damage):
    _open("cuhk_pedes", "test", tmp_path / "data", copy)
    (shard,) = (tmp_path / "data").rglob("*train.array_record*")
    match damage:
        case "truncated":
            os.truncate(shard, shard.stat().st_size // 2)
        case "missing":
            shard.unlink()
        case "other":
            shard.write_bytes(b"x" * shard.stat().st_size)
    with pytest.raises(AnnotationError, match="prepared cuhk_pedes train is damaged"):
        _open("cuhk_pedes", "train", tmp_path / "data", copy)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"file": 5}'])
def test_broken_side_file_is_made_again(copy, tmp_path, content):
    expected = _open("cuhk_pedes", "test", tmp_path / "data", copy)
    (side,) = (tmp_path / "data").rglob("captions-test.json")
    side.write_bytes(content)
    assert _open("cuhk_pedes", "test", tmp_path / "data", copy).captions == expected.captions
    assert json.loads(side.read_bytes())["file"] == list(expected.files)
