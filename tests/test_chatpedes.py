"""ChatPedes arrives as published: every chat in order, or one sentence that names what is wrong."""

import copy
import pickle

import numpy as np
import pytest
import tensorflow_datasets as tfds
from dialogue_copies import PEOPLE, chat, chatpedes_records, write_chatpedes, write_split

from configs import clip, diana, fafa
from jaxreid import parts
from jaxreid.data import chatpedes, chats, published
from jaxreid.data.composed import open_composed
from jaxreid.data.dataset import open_split
from jaxreid.data.dialogues import Dialogue, Round
from jaxreid.data.published import Counts
from jaxreid.data.records import AnnotationError, caption_pairs, said

_WHOLE = {"train": Counts(8, 4, None), "test": Counts(3, 2, None)}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Folder with a tiny copy, which no test changes."""
    return write_chatpedes(tmp_path_factory.mktemp("copies")).parent


@pytest.fixture
def folder(tmp_path):
    """A copy that a test may spoil."""
    return write_chatpedes(tmp_path)


def _open(split, root, data_dir, **options):
    options.setdefault("allow_partial", True)
    return open_split("chatpedes", split, data_dir=data_dir, manual_dir=root, **options)


def _rounds(told):
    return tuple(Round(q["value"], a["value"]) for q, a in told)


def _read(folder, records):
    write_split(folder, "train", records)
    return chatpedes.read_annotations(folder / "train_reid.json", splits=(), split="train")


@pytest.mark.parametrize("split", list(PEOPLE))
def test_a_split_holds_every_chat_in_its_order(root, tmp_path, split):
    for _ in range(2):  # from the records, then from the side file
        opened = _open(split, root, tmp_path)
        records = chatpedes_records(split)
        assert opened.files == tuple(record["file_path"] for record in records)
        assert opened.person_id.tolist() == [record["id"] for record in records]
        assert opened.captions == ((),) * len(records)
        for told, record in zip(opened.dialogues, records, strict=True):
            published_chats = record["chats"]
            if isinstance(published_chats[0][0], dict):
                published_chats = [published_chats]
            assert told == tuple(Dialogue(_rounds(one)) for one in published_chats)
        assert {len(told) for told in opened.dialogues} == {1, 2}
    assert opened.images[0].shape == (24, 12, 3)
    assert pickle.loads(pickle.dumps(opened)).dialogues == opened.dialogues


def test_the_builder_stores_dialogues_beside_the_common_features(root, tmp_path):
    _open("train", root, tmp_path)
    (prepared,) = (tmp_path / "chatpedes").glob("*-partial/1.0.0")
    record = tfds.builder_from_directory(str(prepared)).as_data_source("test")[0]
    features = {"image", "file", "person_id", "image_id", "captions", "dialogues"}
    assert set(record) == features


def test_published_numbers_are_checked_and_partial_data_goes_on(root, tmp_path, monkeypatch):
    with pytest.raises(AnnotationError) as caught:
        _open("test", root, tmp_path, allow_partial=False)
    assert str(caught.value) == (
        f"{root / 'ChatPedes/train_reid.json'}, key 'split': split 'train' has 8 images, 4 people, "
        "0 captions, published are 34054 images, 11003 people; "
        "allow_partial=True takes what is there"
    )
    monkeypatch.setattr(chatpedes, "LAYOUT", chatpedes.LAYOUT._replace(counts=_WHOLE))
    assert len(_open("test", root, tmp_path, allow_partial=False).files) == 3


def test_published_numbers_are_those_of_the_article():
    counts = chatpedes.LAYOUT.counts.values()
    assert sum(c.images for c in counts) == 37_128
    assert sum(c.people for c in counts) == 12_003


def test_people_can_be_held_out_as_val(root, tmp_path):
    train, val = (_open(split, root, tmp_path, val_people=2) for split in ("train", "val"))
    assert set(val.person_id.tolist()) == {0, 2}
    assert set(train.person_id.tolist()) == {1, 3}
    assert len(val.dialogues) == len(val.files) == 5
    with pytest.raises(ValueError, match="chatpedes has no split 'val'; val_people > 0 holds"):
        _open("val", root, tmp_path)


def test_both_files_are_needed(folder, tmp_path):
    (folder / "test_reid.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"test_reid\.json is needed beside .*train_reid"):
        _open("train", folder, tmp_path / "data", allow_partial=False)
    assert len(_open("train", folder, tmp_path / "data").files) == 8
    (folder / "train_reid.json").unlink()
    with pytest.raises(FileNotFoundError, match="no annotation file of chatpedes in"):
        _open("train", folder, tmp_path / "data")


def test_what_needs_captions_says_that_there_are_none(root, tmp_path):
    opened = _open("train", root, tmp_path)
    assert len(said(opened, "dialogues")) == 8
    for read in (lambda: caption_pairs(opened), lambda: said(opened, "captions")):
        with pytest.raises(ValueError, match="chatpedes train has no captions, only dialogues"):
            read()
    with pytest.raises(ValueError, match="chatpedes train has no captions, only dialogues"):
        open_composed("chatpedes", "train", data_dir=tmp_path, manual_dir=root, allow_partial=True)
    with pytest.raises(ValueError, match="rstpreid train has no dialogues"):
        said(opened._replace(data_set="rstpreid", dialogues=None), "dialogues")


@pytest.mark.parametrize(("recipe", "variant"), [(clip, ""), (fafa, ""), (diana, "captions")])
def test_a_recipe_that_reads_captions_is_refused_before_anything_is_read(recipe, variant, tmp_path):
    config = recipe.get_config(variant).unlock()
    config.data.update(name="chatpedes", variant="")
    with pytest.raises(ValueError, match=r"config\.data\.name: chatpedes has dialogues and no"):
        parts.assemble(config, str(tmp_path / "vocabulary"), learn=True)


def _spoil(change):
    """The records of train with a change to the second, which has two chats."""
    records = copy.deepcopy(chatpedes_records("train"))
    change(records[1])
    return records


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda r: r.pop("chats"), "key 'chats': is missing; the keys are 'file_path', 'id'"),
        (lambda r: r.update(chat=r.pop("chats")), r"key 'chats': is missing \(is 'chat' meant\?\)"),
        (lambda r: r.update(caption=""), "key 'caption': is unknown; known keys are id, file_path"),
        (lambda r: r.update(chats=[]), "'chats': must be a list of chats, or one chat, got"),
        (lambda r: r.update(chats="Hi."), "must be a list of chats, or one chat, got 'Hi.'"),
        (lambda r: r.update(chats=[[], chat(1, 1)]), r"chat 0 must be a list of rounds, got \[\]"),
        (lambda r: r.update(chats=[chat(1, 1), {}]), r"chat 1 must be a list of rounds, got {}"),
        (
            lambda r: r["chats"][0][1].pop(),
            r"chat 0, round 1 must be \[question, answer\], got \[{",
        ),
        (
            lambda r: r["chats"][1].append("What?"),
            r"chat 1, round 1 must be \[question, answer\], got 'What\?'",
        ),
        (
            lambda r: r["chats"][0][0].reverse(),
            "chat 0, round 0: the question must be from 'gpt', got 'user'",
        ),
        (
            lambda r: r["chats"][0][2][1].update(value=" "),
            "chat 0, round 2: the answer must be words, got ' '",
        ),
        (
            lambda r: r["chats"][0][2][0].update(value=7),
            "chat 0, round 2: the question must be words, got 7",
        ),
        (
            lambda r: r["chats"][0][0][1].pop("from"),
            "round 0: the answer must be an object of 'from' and 'value', got {'value'",
        ),
        (lambda r: r.update(id="7"), "key 'id': must be an integer, got '7'"),
        (lambda r: r.update(file_path="../x.png"), "'file_path': must stay inside the image"),
    ],
)
def test_a_record_that_cannot_be_used_is_named(folder, change, problem):
    with pytest.raises(AnnotationError, match=rf"train_reid\.json, record 1.*{problem}") as caught:
        _read(folder, _spoil(change))
    assert "\n" not in str(caught.value)


def test_a_missing_image_is_named_by_its_record(folder, tmp_path):
    name = chatpedes_records("train")[2]["file_path"]
    (folder / "imgs" / name).unlink()
    with pytest.raises(
        AnnotationError, match=r"train_reid\.json, record 2, key 'file_path': .* is missing"
    ):
        _open("train", folder, tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*.array_record*"))


def test_other_keys_are_left_unread_where_partial_data_is_allowed(folder, tmp_path):
    write_split(folder, "train", _spoil(lambda r: r.update(extra=1)))
    assert len(_open("train", folder, tmp_path / "data").files) == 8
    with pytest.raises(AnnotationError, match="record 1, key 'extra': is unknown"):
        _open("train", folder, tmp_path / "data", allow_partial=False)


def test_a_person_is_in_one_split(folder, tmp_path):
    records = chatpedes_records("test")
    records[0]["id"] = 2
    write_split(folder, "test", records)
    with pytest.raises(AnnotationError, match="person 2 is in split 'test' here and in 'train'"):
        _open("train", folder, tmp_path / "data")


def test_chats_and_stored_dialogues_come_back_as_they_were():
    told = chats.read_chats("f", 0, "chats", [chat(3, 2), chat(4, 1)])
    assert [chats.to_chat(dialogue) for dialogue in told] == [chat(3, 2), chat(4, 1)]
    told = (*told, Dialogue((), "Someone."), Dialogue((Round("q?", "a."),), "Someone."))
    assert chats.from_json(chats.to_json(told)) == told
    with pytest.raises(ValueError, match=r"a chat has no place for an opening, got 'Someone\.'"):
        chats.to_chat(told[-1])


def test_counts_that_are_not_published_are_equal_to_any():
    assert published.equal(Counts(1, 2, 3), Counts(1, None, 3))
    assert not published.equal(Counts(1, 2, 3), Counts(1, None, 4))


def test_array_types_are_those_of_every_split(root, tmp_path):
    opened = _open("test", root, tmp_path)
    assert opened.person_id.dtype == np.int32
    assert (opened.data_set, opened.split) == ("chatpedes", "test")
