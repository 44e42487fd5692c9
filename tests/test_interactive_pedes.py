"""Interactive-PEDES arrives as published, whatever its file is called, or the fault is named."""

import copy
import json

import pytest
from dialogue_copies import interactive_records, write_interactive

from jaxreid.data import interactive_pedes
from jaxreid.data.dataset import open_split
from jaxreid.data.published import Counts
from jaxreid.data.records import AnnotationError

_NAME = "Interactive-PEDES_interactive_annos.json"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Folder with a tiny copy, which no test changes."""
    return write_interactive(tmp_path_factory.mktemp("copies")).parent


@pytest.fixture
def folder(tmp_path):
    """A copy that a test may spoil."""
    return write_interactive(tmp_path)


def _open(split, root, data_dir, **options):
    options.setdefault("allow_partial", True)
    return open_split("interactive_pedes", split, data_dir=data_dir, manual_dir=root, **options)


def _write(folder, records, name=_NAME):
    (folder / name).write_text(json.dumps(records), encoding="utf-8")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_holds_every_dialogue_in_its_order(root, tmp_path, split):
    for _ in range(2):  # from the records, then from the side file
        opened = _open(split, root, tmp_path)
        records = [record for record in interactive_records() if record["split"] == split]
        assert opened.files == tuple(record["file_path"] for record in records)
        assert opened.person_id.tolist() == [record["id"] for record in records]
        assert opened.captions == tuple(tuple(record["captions"]) for record in records)
        for (told,), record in zip(opened.dialogues, records, strict=True):
            assert told.opening == record["initial_description"]
            assert [r.question for r in told.rounds] == record["questions"]
            assert [r.answer for r in told.rounds] == record["answers"]


def test_all_splits_together_are_checked(root, tmp_path, monkeypatch):
    with pytest.raises(AnnotationError) as caught:
        _open("test", root, tmp_path, allow_partial=False)
    assert str(caught.value) == (
        f"{root / 'Interactive-PEDES' / _NAME}, key 'split': the data set has 11 images, 6 people, "
        "10 captions, published are 54749 images, 13051 people; "
        "allow_partial=True takes what is there"
    )
    layout = interactive_pedes.LAYOUT._replace(total=Counts(11, 6, None))
    monkeypatch.setattr(interactive_pedes, "LAYOUT", layout)
    assert len(_open("test", root, tmp_path, allow_partial=False).files) == 3


def test_a_file_of_any_name_is_found_by_its_keys(tmp_path):
    folder = write_interactive(tmp_path, "whatever.json")
    (folder / "notes.json").write_text('{"a": 1}')
    (folder / "other.json").write_text('[{"split": "train", "captions": []}]')
    (folder / "broken.json").write_text("[{")
    assert interactive_pedes.find_annotations(folder) == folder / "whatever.json"
    assert len(_open("train", tmp_path, tmp_path / "data").files) == 6
    _write(folder, interactive_records()[:3], "second.json")
    with pytest.raises(FileNotFoundError, match=r"several annotation .*\(second\.json, whatever"):
        _open("train", tmp_path, tmp_path / "data")
    _write(folder, interactive_records())  # the name of the code goes before
    assert len(_open("train", tmp_path, tmp_path / "data").files) == 6


def test_a_folder_without_such_a_file_is_named(folder, tmp_path):
    (folder / _NAME).unlink()
    with pytest.raises(FileNotFoundError, match="no annotation file of interactive_pedes in"):
        _open("train", folder, tmp_path / "data")


def test_images_may_lie_in_a_folder_of_their_own(folder, tmp_path):
    (folder / "CUHK-PEDES").rename(tmp_path / "moved")
    (folder / "imgs").mkdir()
    (tmp_path / "moved").rename(folder / "imgs" / "CUHK-PEDES")
    assert len(_open("train", folder, tmp_path / "data").files) == 6


def test_people_are_held_out_only_where_there_is_no_val(folder, root, tmp_path):
    with pytest.raises(ValueError, match="must be 0 for interactive_pedes, which has a val split"):
        _open("train", root, tmp_path / "data", val_people=1)
    _write(folder, [r for r in interactive_records() if r["split"] != "val"])
    with pytest.raises(ValueError, match="has no split 'val', only test, train"):
        _open("val", folder, tmp_path / "data")
    assert set(_open("val", folder, tmp_path / "data", val_people=1).person_id.tolist()) == {0}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda r: r["answers"].pop(), "key 'answers': are 1 to 2 questions"),
        (lambda r: r["questions"].append("More?"), "key 'answers': are 2 to 3 questions"),
        (lambda r: r.update(questions="Why?"), "'questions': must be a list of sentences, got 'W"),
        (lambda r: r.update(answers=[" ", "b"]), "key 'answers': sentence 0 is blank"),
        (lambda r: r.update(answers=["a", 3]), "key 'answers': must be text, got 3"),
        (lambda r: r.update(initial_description=""), "key 'initial_description': is blank"),
        (lambda r: r.pop("initial_description"), "key 'initial_description': is missing"),
        (lambda r: r.pop("fine-grained_description"), "'fine-grained_description': is missing"),
        (lambda r: r.update(split="dev"), "'split': must be one of train, val, test, got 'dev'"),
        (lambda r: r.update(captions=None), "'captions': must be a list of sentences, got None"),
        (lambda r: r.update(id=-1), r"key 'id': must be in 0\.\.2147483647, got -1"),
        (lambda r: r.update(turns=2), "key 'turns': is unknown; known keys are split, file_path"),
    ],
)
def test_a_record_that_cannot_be_used_is_named(folder, change, problem):
    records = copy.deepcopy(interactive_records())
    change(records[2])
    _write(folder, records)
    with pytest.raises(AnnotationError, match=rf"annos\.json, record 2.*{problem}") as caught:
        interactive_pedes.read_annotations(folder / _NAME, splits=("train", "val", "test"))
    assert "\n" not in str(caught.value)


def test_a_missing_image_is_named_by_its_record(folder, tmp_path):
    (folder / interactive_records()[4]["file_path"]).unlink()
    with pytest.raises(AnnotationError, match=r"record 4, key 'file_path': .* is missing"):
        _open("train", folder, tmp_path / "data")
