"""Tests of jaxreid.data.text."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from jaxreid.data.text import (
    clean,
    encode,
    load_tokenizer,
    token_offsets,
    train_tokenizer,
    word_ids,
    word_spans,
)

CAPTIONS = [
    "A man with short, dark hair wears a white t-shirt and khaki pants.",
    "The woman's dress is black & white; she doesn't carry a bag...",
    "He's wearing a grey hoodie. His black backpack hangs from one shoulder.",
    "Café-colored coat, size 2.5, with knee-length boots (brown).",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "vocabulary"
    train_tokenizer(CAPTIONS, 150, path)
    return path


@pytest.fixture(scope="module")
def tokenizer(folder):
    return load_tokenizer(str(folder))


def write_vocabulary(path, tokens):
    path.mkdir(exist_ok=True)
    (path / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens))
    return str(path)


def pieces(tokenizer, row):
    return [tokenizer.backend.id_to_token(int(token)) for token in row]


# Training


def test_training_twice_in_different_processes_gives_the_same_file(folder, tmp_path):
    code = (
        "import sys, json; from jaxreid.data.text import train_tokenizer;"
        "train_tokenizer(json.loads(sys.argv[1]), 150, sys.argv[2])"
    )
    command = [sys.executable, "-c", code, json.dumps(CAPTIONS), str(tmp_path / "again")]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert (tmp_path / "again/vocab.txt").read_bytes() == (folder / "vocab.txt").read_bytes()


def test_training_does_not_depend_on_the_order_of_captions(folder, tmp_path):
    train_tokenizer(CAPTIONS[::-1], 150, tmp_path)
    assert (tmp_path / "vocab.txt").read_bytes() == (folder / "vocab.txt").read_bytes()


def test_training_merges_the_most_frequent_pair_first(tmp_path):
    # ab occurs 5 times and cd 4 times; with a taken, "##b ##c" of abc has become "ab ##c"
    train_tokenizer(["ab ab ab abc abc cd cd cd cd"], 5 + 5 + 3, tmp_path)
    learned = (tmp_path / "vocab.txt").read_text().split()
    assert learned == [*SPECIAL, "##b", "##c", "##d", "a", "c", "ab", "cd", "abc"]


def test_training_counts_a_doubled_piece_once(tmp_path):
    train_tokenizer(["aaaa aaaa xy"], 100, tmp_path)
    learned = (tmp_path / "vocab.txt").read_text().split()
    assert learned == [*SPECIAL, "##a", "##y", "a", "x", "##aa", "##aaa", "aaaa", "xy"]


def test_training_stays_within_the_limit_and_stops_without_pairs(folder, tmp_path):
    assert load_tokenizer(str(folder)).vocabulary_size == 150
    assert train_tokenizer(["red red"], 1000, tmp_path).vocabulary_size == 5 + 3 + 2


def test_training_leaves_no_caption_unknown(tokenizer):
    assert not (encode(tokenizer, CAPTIONS, 80)["tokens"] == tokenizer.unk_id).any()


def test_training_names_the_least_vocabulary(tmp_path):
    with pytest.raises(ValueError, match=r"must be at least 8 for these captions.*got 7"):
        train_tokenizer(["red"], 7, tmp_path)


def test_training_never_overwrites_another_vocabulary(tmp_path):
    train_tokenizer(["red"], 20, tmp_path)
    train_tokenizer(["red"], 20, tmp_path)
    with pytest.raises(FileExistsError, match=r"vocab\.txt exists with another content"):
        train_tokenizer(["blue"], 20, tmp_path)


# Loading


def test_tokens_equal_those_of_transformers(folder, tokenizer):
    from transformers import BertTokenizer

    reference = BertTokenizer.from_pretrained(str(folder), local_files_only=True)
    expected = reference(
        CAPTIONS, padding="max_length", truncation=True, max_length=20, return_tensors="np"
    )["input_ids"]
    np.testing.assert_array_equal(encode(tokenizer, CAPTIONS, 20)["tokens"], expected)
    assert tokenizer.vocabulary_size == len(reference)
    ids = (tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id)
    assert ids == (
        reference.pad_token_id, reference.cls_token_id,
        reference.sep_token_id, reference.mask_token_id,
    )  # fmt: skip


def test_a_folder_saved_by_transformers_loads_equally(folder, tokenizer, tmp_path):
    from transformers import BertTokenizer

    BertTokenizer.from_pretrained(str(folder), local_files_only=True).save_pretrained(tmp_path)
    assert not (tmp_path / "vocab.txt").exists()  # it writes tokenizer.json only
    saved = load_tokenizer(str(tmp_path))
    assert saved[1:] == tokenizer[1:]
    for ours, theirs in zip(
        encode(saved, CAPTIONS, 30)["tokens"],
        encode(tokenizer, CAPTIONS, 30)["tokens"],
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_a_cased_vocabulary_keeps_case(tmp_path):
    path = write_vocabulary(tmp_path, [*SPECIAL, "Red", "red"])
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert pieces(load_tokenizer(path), encode(load_tokenizer(path), ["Red"], 3)["tokens"][0]) == [
        "[CLS]", "Red", "[SEP]",
    ]  # fmt: skip


def test_vocabulary_lines_split_at_newlines_only(tmp_path):
    path = write_vocabulary(tmp_path, [*SPECIAL, "\u2028", "red"])
    assert load_tokenizer(path).backend.token_to_id("red") == 6


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], r"lacks the special tokens \['\[PAD\]'"),
        (SPECIAL, "holds no token besides"),
        ([*SPECIAL[:-1], "red"], r"lacks the special tokens \['\[MASK\]'\]"),
        ([*SPECIAL, "red", "red"], r"repeats the tokens \['red'\]"),
    ],
)
def test_unusable_vocabularies_are_refused(tmp_path, tokens, message):
    with pytest.raises(ValueError, match=message):
        load_tokenizer(write_vocabulary(tmp_path, tokens))


def test_wrong_folders_are_named(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match=r"no vocab.txt or tokenizer.json in the folder"):
        load_tokenizer(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="is a file; give the folder"):
        load_tokenizer(str(folder / "vocab.txt"))
    for missing in (str(tmp_path / "none"), "./none", "a/b/c"):
        with pytest.raises(FileNotFoundError, match="no tokenizer folder"):
            load_tokenizer(missing)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer.json is not JSON"):
        load_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(ValueError, match=r"tokenizer.json must hold a WordPiece model, got 3"):
        load_tokenizer(str(tmp_path))


def test_an_unreachable_hub_is_one_clear_error(monkeypatch):
    import huggingface_hub

    asked = []

    def unreachable(name, file, local_files_only=False):
        asked.append((name, file, local_files_only))
        raise huggingface_hub.errors.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(FileNotFoundError, match=r"offline, give a folder with vocab\.txt"):
        load_tokenizer("some/model")
    assert asked == [("some/model", "vocab.txt", True), ("some/model", "vocab.txt", False)]


def test_a_hub_model_in_the_cache_needs_no_network(monkeypatch, folder, tokenizer):
    import huggingface_hub

    def cached(name, file, local_files_only=False):
        assert local_files_only
        return str(folder / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", cached)
    assert load_tokenizer("some/model")[1:] == tokenizer[1:]


# Cleaning


def test_cleaning_of_albef_drops_marks_and_splits_hyphens():
    text = " A <person>, in a T-Shirt; black/white!\n(he's) #1  ~ "
    assert clean(text, "albef", None) == "a person in a t shirt black white hes 1"


def test_cleaning_of_blip_blanks_marks_and_keeps_commas():
    text = " A <person>, in a T-Shirt; black/white!\n(he's) #1  ~ "
    assert clean(text, "blip", None) == "a <person>, in a t-shirt black/white he's 1"


def test_cleaning_none_changes_nothing():
    text = " A  T-Shirt;\n(he's) "
    assert clean(text, "none", None) == text
    assert clean(text, "none", 3) == text


def test_cleaning_cuts_words_after_dropping_marks():
    assert clean("A red - shirt, and hat", "albef", 3) == "a red shirt"
    assert clean("A red . shirt, and hat", "blip", 3) == "a red shirt,"
    assert clean("A red shirt, and hat", "none", 3) == "A red shirt,"


def test_unknown_cleaning_is_refused():
    with pytest.raises(ValueError, match=r"style must be one of .*, got 'irra'"):
        clean("A man", "irra", None)


# Words


def words(text):
    return [text[start:end] for start, end in word_spans(text)]


def test_words_join_hyphens_and_split_clitics():
    assert words("The man's t-shirt isn't red/blue, he's 5.5 feet...") == [
        "The", "man", "'s", "t-shirt", "is", "n't", "red/blue", ",",
        "he", "'s", "5.5", "feet", "...",
    ]  # fmt: skip


def test_words_split_a_period_off_every_sentence():
    assert words("A hoodie. His bag.He") == ["A", "hoodie", ".", "His", "bag", ".", "He"]


@pytest.mark.parametrize("sentence", [*CAPTIONS[:2], *CAPTIONS[2].split(". "), CAPTIONS[3]])
def test_words_of_a_sentence_equal_the_treebank(sentence):
    from nltk.tokenize import TreebankWordTokenizer

    assert words(sentence) == TreebankWordTokenizer().tokenize(sentence)


def test_words_cover_everything_but_white_space():
    text = "“Odd” — text\x00\u200b with 'quotes' and ''two'' , ٣ 人"
    covered = "".join(words(text))
    assert covered == "".join(text.split())


# Encoding


def test_rows_are_cls_text_sep_padding(tokenizer):
    tokens = encode(tokenizer, ["a dark bag"], 9)["tokens"]
    assert tokens.dtype == np.int32
    assert tokens.shape == (1, 9)
    row = pieces(tokenizer, tokens[0])
    end = row.index("[SEP]")
    assert row[0] == "[CLS]"
    assert "".join(row[1:end]).replace("##", "") == "adarkbag"
    assert set(row[end + 1 :]) <= {"[PAD]"}


def test_a_long_text_keeps_sep_last(tokenizer):
    long, short = encode(tokenizer, CAPTIONS[:1], 60)["tokens"], encode(tokenizer, CAPTIONS[:1], 8)
    np.testing.assert_array_equal(short["tokens"][0, :7], long[0, :7])
    assert short["tokens"][0, 7] == tokenizer.sep_id


def test_a_row_does_not_depend_on_the_others(tokenizer):
    together = encode(tokenizer, CAPTIONS, 40)["tokens"]
    alone = np.concatenate([encode(tokenizer, [text], 40)["tokens"] for text in CAPTIONS])
    np.testing.assert_array_equal(together, alone)


def test_special_tokens_in_a_caption_are_plain_text(tokenizer):
    row = encode(tokenizer, ["a [PAD] [SEP] bag"], 40)["tokens"][0]
    assert (row == tokenizer.sep_id).sum() == 1
    assert (row[: row.tolist().index(tokenizer.sep_id)] != tokenizer.pad_id).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "text 1 is empty"), (" \n\x00", "text 1 is empty"), ("\ud800", "not valid unicode"),
        (None, "text 1 must be a str, got NoneType"),
    ],
)  # fmt: skip
def test_unusable_texts_are_named_by_index(tokenizer, text, message):
    for function in (encode, word_ids, token_offsets):
        with pytest.raises(ValueError, match=message):
            function(tokenizer, ["a bag", text], 10)


def test_no_room_for_a_token_is_refused(tokenizer):
    with pytest.raises(ValueError, match="got 2 tokens"):
        encode(tokenizer, ["a bag"], 2)


def test_no_texts_give_no_rows(tokenizer):
    assert encode(tokenizer, [], 9)["tokens"].shape == (0, 9)
    assert word_ids(tokenizer, [], 9).shape == (0, 9)


def test_offsets_point_at_the_text_of_each_token(tokenizer):
    tokens = encode(tokenizer, CAPTIONS, 25)["tokens"]
    offsets = token_offsets(tokenizer, CAPTIONS, 25)
    for text, row, spans in zip(CAPTIONS, tokens, offsets, strict=True):
        for token, (start, end) in zip(pieces(tokenizer, row), spans, strict=True):
            if token in SPECIAL:
                assert (start, end) == (0, 0)
            else:
                written = text[start:end].lower().replace("é", "e")
                assert written == token.removeprefix("##")


def test_word_numbers_group_the_pieces_of_each_word(tokenizer):
    tokens = encode(tokenizer, CAPTIONS, 90)["tokens"]
    numbers = word_ids(tokenizer, CAPTIONS, 90)
    for text, row, row_numbers in zip(CAPTIONS, tokens, numbers, strict=True):
        names = np.array(pieces(tokenizer, row))
        np.testing.assert_array_equal(row_numbers < 0, np.isin(names, SPECIAL))
        grouped = [
            "".join(names[row_numbers == n]).replace("##", "") for n in range(row_numbers.max() + 1)
        ]
        expected = [word.lower().replace("é", "e") for word in words(text)]
        # WordPiece sees "doesn", "'", "t", so the n belongs to the verb there
        expected = [{"does": "doesn", "n't": "'t"}.get(word, word) for word in expected]
        assert grouped == expected


def test_word_numbers_of_a_cut_text_are_those_of_the_whole(tokenizer):
    whole, cut = word_ids(tokenizer, CAPTIONS, 90), word_ids(tokenizer, CAPTIONS, 12)
    np.testing.assert_array_equal(cut[:, :11], whole[:, :11])
    assert (cut[:, 11] == -1).all()


@pytest.mark.external
def test_the_vocabulary_of_bert_tokenizes_as_transformers_does():
    from transformers import BertTokenizer

    data = os.environ["JAXREID_DATA"]
    with open(f"{data}/annotations/cuhk_pedes/reid_raw_val.json") as file:
        captions = [text for record in json.load(file) for text in record["captions"]]
    captions += ["naïve ÅNGSTRÖM", "東京 t-shirt", "İstanbul ΟΔΟΣ", "a\u200bb \ufffd c"]
    reference = BertTokenizer.from_pretrained(f"{data}/tokenizers/bert_hf", local_files_only=True)
    expected = reference(
        captions, padding="max_length", truncation=True, max_length=64, return_tensors="np"
    )["input_ids"]
    tokenizer = load_tokenizer(f"{data}/tokenizers/bert_hf")
    assert tokenizer[1:] == (30522, 0, 100, 101, 102, 103)
    np.testing.assert_array_equal(encode(tokenizer, captions, 64)["tokens"], expected)
