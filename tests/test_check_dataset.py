"""The check of a copy finds what is wrong with it and says so by its exit code."""

import importlib.util
import shutil
from pathlib import Path

import pytest
from composed_copies import itcpr_records, syncpr_records, write_itcpr, write_lists, write_syncpr
from copies import path_of, records, write_annotations, write_copy
from dialogue_copies import interactive_records, write_chatpedes, write_interactive

from jaxreid.data import chatpedes, cuhk_pedes, interactive_pedes, itcpr, syncpr
from jaxreid.data.itcpr_files import GalleryCounts
from jaxreid.data.published import Counts


@pytest.fixture(scope="module")
def check():
    path = Path(__file__).parents[1] / "tools/check_dataset.py"
    spec = importlib.util.spec_from_file_location("check_dataset", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy with as many images as its publication says."""
    counts = {"train": Counts(6, 3, 13), "val": Counts(2, 1, 4), "test": Counts(4, 2, 8)}
    monkeypatch.setattr(cuhk_pedes, "LAYOUT", cuhk_pedes.LAYOUT._replace(counts=counts))
    return write_copy(tmp_path, "cuhk_pedes")


def _image(copy, number):
    return copy / "imgs" / path_of(records("cuhk_pedes")[number])


def test_copy_as_published_exits_0(check, copy, capsys):
    assert check.main(["cuhk_pedes", "--root", str(copy.parent)]) == 0
    output = capsys.readouterr().out
    assert "6 / 6             3 / 3           13 / 13" in output
    assert "cuhk_pedes: as published" in output
    assert "images a person: 1 to 3, 2 people with one" in output
    assert "captions an image: 2 in 11 images, 3 in 1 images" in output
    assert "captions of more than one person: 0" in output
    assert "files in the image folder that no record names: 0" in output


def test_missing_record_exits_1_and_its_image_is_unused(check, copy, capsys):
    write_annotations(copy, "cuhk_pedes", records("cuhk_pedes")[:-1])
    assert check.main(["cuhk_pedes", "--root", str(copy)]) == 1
    output = capsys.readouterr().out
    assert "3 / 4             2 / 2             6 / 8   differs" in output
    assert f"no record names: 1\n  {path_of(records('cuhk_pedes')[-1])}" in output


@pytest.mark.parametrize("fault", ["missing", "truncated", "text"])
def test_every_unusable_image_is_listed_and_exits_1(check, copy, capsys, fault):
    for number in (1, 8):
        path = _image(copy, number)
        match fault:
            case "missing":
                path.unlink()
            case "truncated":
                path.write_bytes(path.read_bytes()[:-30])
            case "text":
                path.write_text("no image")
    assert check.main(["cuhk_pedes", "--root", str(copy)]) == 1
    output = capsys.readouterr().out
    assert "image files that cannot be used: 2" in output
    for number in (1, 8):
        assert f"{path_of(records('cuhk_pedes')[number])} (record {number})" in output


def test_equal_images_and_captions_of_two_people_are_listed(check, copy, capsys):
    shutil.copy(_image(copy, 0), _image(copy, 4))  # persons 1 and 3
    shutil.copy(_image(copy, 9), _image(copy, 10))  # both person 6
    content = records("cuhk_pedes")
    content[4]["captions"][1] = content[0]["captions"][1]
    write_annotations(copy, "cuhk_pedes", content)
    assert check.main(["cuhk_pedes", "--root", str(copy)]) == 0
    output = capsys.readouterr().out
    assert "images listed twice (equal bytes): 2" in output
    assert "images listed twice for different people: 1" in output
    assert f"{path_of(content[0])} (person 1), {path_of(content[4])} (person 3)" in output
    assert "captions of more than one person: 1\n  2 people: A 1 in colour." in output


@pytest.mark.parametrize("fault", ["no folder", "no annotations", "broken record"])
def test_unusable_input_exits_2_with_one_sentence(check, copy, capsys, fault):
    root = copy
    if fault == "no folder":
        root = copy / "none"
    elif fault == "no annotations":
        (copy / "reid_raw.json").unlink()
    else:
        write_annotations(copy, "cuhk_pedes", [*records("cuhk_pedes"), {"id": 3}])
    assert check.main(["cuhk_pedes", "--root", str(root)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("cuhk_pedes: ")
    assert captured.err.count("\n") == 1
    assert not captured.out


# Dialogues


def test_chatpedes_is_checked_with_its_dialogues(check, tmp_path, monkeypatch, capsys):
    counts = {"train": Counts(8, 4, None), "test": Counts(3, 2, None)}
    monkeypatch.setattr(chatpedes, "LAYOUT", chatpedes.LAYOUT._replace(counts=counts))
    folder = write_chatpedes(tmp_path)
    assert check.main(["chatpedes", "--root", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "train               8 / 8             4 / 4             0 / ?\n" in output
    assert "captions an image: 0 in 11 images" in output
    assert "words a caption" not in output
    assert "dialogues an image: 1 in 4 images, 2 in 7 images" in output
    assert "rounds a dialogue: 1 to 4" in output
    (folder / "test_reid.json").unlink()
    assert check.main(["chatpedes", "--root", str(tmp_path)]) == 1
    assert "0 / 3             0 / 2             0 / ?   differs" in capsys.readouterr().out


def test_interactive_pedes_is_checked_as_a_whole(check, tmp_path, monkeypatch, capsys):
    layout = interactive_pedes.LAYOUT._replace(total=Counts(11, 6, None))
    monkeypatch.setattr(interactive_pedes, "LAYOUT", layout)
    folder = write_interactive(tmp_path, "annotations.json")
    assert check.main(["interactive_pedes", "--root", str(folder)]) == 0
    output = capsys.readouterr().out
    assert "val                 2 / ?             1 / ?             1 / ?\n" in output
    assert "all               11 / 11             6 / 6            10 / ?\n" in output
    assert "dialogues an image: 1 in 11 images" in output
    assert "files in the image folder that no record names: 0" in output
    (folder / interactive_records()[3]["file_path"]).unlink()
    assert check.main(["interactive_pedes", "--root", str(folder)]) == 1
    assert "image files that cannot be used: 1" in capsys.readouterr().out


# Composed queries


def test_itcpr_as_published_exits_0_and_tells_what_cannot_be_found(
    check, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(itcpr, "COUNTS", GalleryCounts(5, 7, 5))
    folder = write_itcpr(tmp_path)
    assert check.main(["itcpr", "--root", str(folder)]) == 0
    output = capsys.readouterr().out
    assert "itcpr: as published" in output
    assert "5 / 5" in output
    assert "queries whose instance_id is in no row of the gallery: 1\n  9 (record 4)" in output
    assert "images in the gallery more than once: 2\n" in output
    assert "files in the image folder that no record names: 0" in output


def test_itcpr_with_a_lost_image_and_a_lost_row_exits_1(check, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(itcpr, "COUNTS", GalleryCounts(5, 7, 5))
    folder = write_itcpr(tmp_path, json_in="datasets")
    queries, gallery = itcpr_records()
    write_lists(folder / "datasets", queries[:-1], gallery)
    (folder / "LAST/001/c.jpg").unlink()
    assert check.main(["itcpr", "--root", str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert "4 / 5   differs" in output
    assert "image files that cannot be used: 1\n  LAST/001/c.jpg (record 6) is missing" in output
    assert "no record names: 1\n  LAST/000/q.jpg" in output


def test_syncpr_is_counted_by_triplets_and_ids(check, tmp_path, monkeypatch, capsys):
    folder = write_syncpr(tmp_path, syncpr_records(3))
    assert check.main(["syncpr", "--root", str(folder)]) == 1
    output = capsys.readouterr().out
    assert "12 / 1153220   differs" in output
    assert "6 / 177530   differs" in output
    monkeypatch.setattr(syncpr, "COUNTS", {"triplets": 12, "cpr_ids": 6})
    assert check.main(["syncpr", "--root", str(folder)]) == 0
    (folder / "SynCPR.json").write_text("[{}]")
    assert check.main(["syncpr", "--root", str(folder)]) == 2
    assert "record 0, key 'reference_caption': is missing" in capsys.readouterr().err
