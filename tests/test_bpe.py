"""CLIP's byte-pair vocabulary: equal to transformers', learnt alike each time, checked."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest

from jaxreid.data.bpe import END, MASK, START, load_bpe, train_bpe
from jaxreid.data.text import encode, train_tokenizer, word_ids

CAPTIONS = [
    "A woman in a red shirt, blue jeans and white running shoes.",
    "A man with black hair in grey shoes carries a black backpack.",
    "The man's t-shirt is dark red; 1,000 shoes!",
]
TEXTS = [
    *CAPTIONS,
    "a woman in BLACK boots",
    "it's 25 caf\u00e9s,  na\u00efve\tand  odd",
    "\u4e2d\u6587 \U0001f600 mixed!? ...",
    "e\u0301 composed",
]
SIZE = 560


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bpe")
    train_bpe(CAPTIONS, SIZE, str(path))
    return path


@pytest.fixture
def spoilt(folder, tmp_path):
    """A copy that a test may spoil."""
    return pathlib.Path(shutil.copytree(folder, tmp_path / "copy"))


def without_mask(folder: pathlib.Path) -> None:
    """Takes the mask out of a vocabulary, as CLIP's has none."""
    file = folder / "vocab.json"
    vocabulary = json.loads(file.read_text())
    del vocabulary[MASK]
    vocabulary[START] -= 1
    vocabulary[END] -= 1
    file.write_text(json.dumps(vocabulary))


def rows(tokenizer, texts, length=80):
    return encode(tokenizer, texts, length)["tokens"]


def test_tokens_equal_those_of_transformers(folder):
    import transformers

    reference = transformers.CLIPTokenizer.from_pretrained(str(folder))
    tokens = rows(load_bpe(str(folder), mask="none"), TEXTS)
    for row, text in zip(tokens, TEXTS, strict=True):
        ids = reference(text)["input_ids"]
        assert row[: len(ids)].tolist() == ids
        assert not row[len(ids) :].any()


@pytest.mark.external
def test_tokens_of_clips_own_vocabulary_equal_those_of_transformers():
    import transformers

    source = pathlib.Path(os.environ["JAXREID_DATA"]) / "tokenizers" / "clip_hf"
    reference = transformers.CLIPTokenizer.from_pretrained(str(source))
    tokenizer = load_bpe(str(source), mask="none")
    assert tokenizer[1:] == (49_408, 0, 49_407, 49_406, 49_407, -1)
    for row, text in zip(rows(tokenizer, TEXTS), TEXTS, strict=True):
        ids = reference(text)["input_ids"]
        assert row[: len(ids)].tolist() == ids
    assert load_bpe(str(source), mask="last_merge").mask_id == 49_405  # IRRA's release
    assert load_bpe(str(source), mask="added")[1] == 49_409


def test_a_row_starts_and_ends_with_its_tokens_and_is_cut_before_the_end(folder):
    tokenizer = load_bpe(str(folder), mask="none")
    cut = rows(tokenizer, CAPTIONS, 8)
    assert cut.dtype == np.int32
    assert (cut[:, 0] == tokenizer.cls_id).all()
    assert (cut[:, -1] == tokenizer.sep_id).all()
    assert (tokenizer.cls_id, tokenizer.sep_id) == (SIZE - 2, SIZE - 1)


def test_no_text_is_unknown_or_special(folder):
    tokenizer = load_bpe(str(folder), mask="none")
    typed = rows(tokenizer, [END, MASK, START, "\U0001f600\u4e2d"])
    special = {tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id}
    for row in typed:
        end = int(np.argmax(row == tokenizer.sep_id))
        assert end > 1
        assert not special & set(row[1:end].tolist())
        assert not row[end + 1 :].any()


def test_pieces_of_a_word_share_its_number(folder):
    tokenizer = load_bpe(str(folder), mask="none")
    numbers = word_ids(tokenizer, ["black boots today"], 24)[0]
    found = numbers[numbers >= 0].tolist()
    assert found == sorted(found)
    assert set(found) == {0, 1, 2}
    assert len(found) > 3


def test_equal_captions_give_equal_files_in_any_order(folder, tmp_path):
    train_bpe(CAPTIONS[::-1], SIZE, str(tmp_path))
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_most_frequent_pairs_are_merged_first_and_ties_go_by_the_alphabet(tmp_path):
    train_bpe(["ab ab ab cd cd ef ef x"], 515 + 3, str(tmp_path))
    lines = (tmp_path / "merges.txt").read_text().splitlines()
    assert lines == ["#version: 0.2", "a b</w>", "c d</w>", "e f</w>"]


def test_a_small_set_of_captions_ends_below_the_limit(tmp_path):
    tokenizer = train_bpe(["ab"], 2000, str(tmp_path))
    assert tokenizer.vocabulary_size == 516  # 512 bytes, one merge, three special tokens


def test_mask_is_the_vocabularys_own_where_it_has_one(folder):
    for mask in ("none", "added", "last_merge"):
        tokenizer = load_bpe(str(folder), mask=mask)
        assert (tokenizer.mask_id, tokenizer.vocabulary_size) == (SIZE - 3, SIZE)


def test_mask_of_a_vocabulary_without_one_is_added_or_takes_the_last_merge(spoilt):
    last = "".join((spoilt / "merges.txt").read_text().splitlines()[-1].split())
    word = last.removesuffix("</w>")
    assert last.endswith("</w>")
    without_mask(spoilt)
    none, added, taken = (load_bpe(str(spoilt), mask=m) for m in ("none", "added", "last_merge"))
    assert (none.mask_id, none.vocabulary_size) == (-1, SIZE - 1)
    assert (added.mask_id, added.vocabulary_size) == (SIZE - 1, SIZE)
    # The id before the start token, as 49405 in the release.
    assert (taken.mask_id, taken.vocabulary_size) == (taken.cls_id - 1, SIZE - 1)
    assert taken.mask_id in rows(none, [word])
    assert taken.mask_id not in rows(taken, [word, *CAPTIONS])
    with pytest.raises(ValueError, match="mask must be one of none, added, last_merge, got 'new'"):
        load_bpe(str(spoilt), mask="new")


def test_a_wordpiece_folder_plays_the_same_part(tmp_path):
    wordpiece = train_tokenizer(CAPTIONS, 120, str(tmp_path))
    assert load_bpe(str(tmp_path), mask="added")[1:] == wordpiece[1:]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("vocab.json", lambda s: s[:-9], "vocab.json is not JSON"),
        ("vocab.json", lambda s: s.replace(f'"{END}"', '"end"'), "lacks the tokens .*endoftext"),
        ("vocab.json", lambda s: s.replace('"!": 0', '"!": 1'), "number its tokens from 0"),
        ("vocab.json", lambda s: s.replace('"!": 0', '"!": "0"'), "number its tokens from 0"),
        ("merges.txt", lambda s: s + "q q\n", r"merges.txt, line \d+: .*, got 'q q'"),
        ("merges.txt", lambda s: s + "a\n", r"merges.txt, line \d+: .*, got 'a'"),
        ("merges.txt", lambda s: s.splitlines()[0] + "\n", "merges.txt holds no merge"),
    ],
)
def test_damaged_files_are_named(spoilt, file, change, message):
    path = spoilt / file
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=message):
        load_bpe(str(spoilt), mask="none")


def test_missing_files_are_named(spoilt, tmp_path):
    (spoilt / "merges.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no merges\.txt beside"):
        load_bpe(str(spoilt), mask="none")
    with pytest.raises(FileNotFoundError, match="no tokenizer folder"):
        load_bpe(str(tmp_path / "nowhere"), mask="none")


def test_a_hub_name_asks_for_both_files(monkeypatch):
    import huggingface_hub

    asked = []

    def unreachable(name, file, **_):
        asked.append(file)
        raise huggingface_hub.errors.LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(FileNotFoundError, match=r"no vocab.json and merges.txt of a hub model"):
        load_bpe("openai/clip-vit-base-patch16", mask="none")
    assert set(asked) == {"vocab.json"}


def test_a_limit_below_the_bytes_is_refused_and_another_vocabulary_is_kept(folder):
    with pytest.raises(ValueError, match=r"vocabulary_size must be at least 515 .* got 514"):
        train_bpe(CAPTIONS, 514, str(folder))
    with pytest.raises(FileExistsError, match="another content"):
        train_bpe(CAPTIONS[:1], SIZE, str(folder))
