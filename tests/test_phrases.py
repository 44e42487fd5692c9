"""Tests of jaxreid.data.phrases and of its lexicon."""

import json
import os
import subprocess
import sys

import nltk
import numpy as np
import pytest
from absl import logging

from jaxreid.data import phrases as module
from jaxreid.data.lexicon import LEXICON
from jaxreid.data.phrases import encode_phrases, make_tagger, noun_phrases, phrase_tags
from jaxreid.data.synthpedes.attributes import COLORS, VALUES
from jaxreid.data.text import clean, encode, train_tokenizer, word_spans

SENTENCES = {
    "A man wearing a black and white backpack.": ["black and white backpack"],
    "She wears a white shirt and black pants.": ["white shirt", "black pants"],
    "A man in a pair of blue jeans and a pair of shoes.": ["blue jeans"],
    "The woman has short, dark hair.": ["dark hair"],
    "Long straight brown hair falls over her left shoulder.": [
        "Long straight brown hair", "left shoulder",
    ],
    "He's wearing a dark blue T-shirt with the man's red bag.": ["dark blue T-shirt", "red bag"],
    "A short sleeved shirt, khaki pants, white sneakers": [
        "short sleeved shirt", "khaki pants", "white sneakers",
    ],
    "He carries one yellow strap and 2 bags.": ["one yellow strap", "2 bags"],
    "The boy is wearing running shoes and is running forward.": ["running shoes"],
    "A black/white striped polo shirt with lime-green soles": [
        "black/white striped polo shirt", "lime-green soles",
    ],
    "Wearing a light blue denim jacket over a floral dress; no hat.": [
        "light blue denim jacket", "floral dress",
    ],
    "She has on a red, white and blue scarf": ["white and blue scarf"],
    "He doesn't look at the camera.": [],
    "Her hair is black and his/her coat is grey.": [],
    "A grey hoodie.His black backpack hangs from one shoulder": [
        "grey hoodie", "black backpack", "one shoulder",
    ],
    "a young woman with her hair pulled up in a ponytail": ["young woman"],
    "gray t shirt with a knee-length skirt, blue back pack (large bag)": [
        "gray t shirt", "knee-length skirt", "blue back pack", "large bag",
    ],
}  # fmt: skip
CAPTIONS = list(SENTENCES)


@pytest.fixture(scope="module")
def tagger():
    return make_tagger("lexicon")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return train_tokenizer(CAPTIONS, 260, tmp_path_factory.mktemp("tokenizer"))


def encode_all(tokenizer, tagger, texts, **changes):
    settings = {"min_words": 2, "max_tokens": 60, **changes}
    sizes = settings.pop("max_phrases", 5), settings.pop("max_phrase_tokens", 24)
    return encode_phrases(tokenizer, tagger, texts, *sizes, **settings)


def text_of(tokenizer, ids):
    """The characters of tokens, without spaces."""
    return "".join(tokenizer.backend.id_to_token(int(i)).removeprefix("##") for i in ids)


def joined(phrase):
    return phrase.lower().replace(" ", "")


@pytest.fixture
def logged(monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "info", lambda text, *args: lines.append(text % args))
    return lines


# Finding phrases


@pytest.mark.parametrize("sentence", SENTENCES)
def test_phrases_of_a_sentence(tagger, sentence):
    found = [sentence[start:end] for start, end in noun_phrases(tagger, sentence)]
    assert found == SENTENCES[sentence]


def test_single_nouns_only_when_asked(tagger):
    caption = "A man with a red bag and shoes"
    found = [caption[a:b] for a, b in noun_phrases(tagger, caption, min_words=1)]
    assert found == ["man", "red bag", "shoes"]


def test_case_does_not_matter(tagger):
    for caption in CAPTIONS:
        assert noun_phrases(tagger, caption.upper()) == noun_phrases(tagger, caption)


def test_grammar_equals_the_regexp_parser_of_nltk():
    parser = nltk.RegexpParser("NP: {((<JJ.*|VBN|CD>+<CC>)*<JJ.*|VBN|CD>+)?<NN.*>+}")
    tags = ["JJ", "JJR", "VBN", "CD", "NN", "NNS", "NNP", "CC", "DT", "VBD", "PRP$", "."]
    frequent = np.array([6, 1, 1, 1, 6, 2, 1, 6, 1, 1, 1, 1]) / 28
    rng = np.random.default_rng(3)
    for _ in range(300):
        sequence = rng.choice(tags, size=rng.integers(1, 25), p=frequent).tolist()
        tagger = module.Tagger("given", lambda words, sequence=sequence: sequence)
        caption = " ".join(["q"] * len(sequence))
        found = [(a // 2, (b + 1) // 2) for a, b in noun_phrases(tagger, caption, min_words=1)]
        tree, expected, position = parser.parse([("q", tag) for tag in sequence]), [], 0
        for node in tree:
            length = len(node) if isinstance(node, nltk.Tree) else 1
            if isinstance(node, nltk.Tree):
                expected.append((position, position + length))
            position += length
        assert found == expected, sequence


def test_punctuation_pronouns_and_articles_are_never_inside(tagger):
    marks = [*".,;:!?()[]\"'-#*~&%“”—", "--", "...", "\u2019s", "'s"]
    for mark in [*marks, "the", "a", "his", "her", "she", "it", "this"]:
        caption = f"red {mark} blue {mark} shirt {mark} bag"
        for start, end in noun_phrases(tagger, caption, min_words=1):
            inside = caption[start:end].split()
            if mark != "&":  # "red & blue" is joined as by "and"
                assert mark not in inside, caption


def test_a_tagger_that_calls_everything_a_noun_still_gets_no_marks():
    tagger = module.Tagger("nouns", lambda words: ["NN"] * len(words))
    caption = "She, the boss's (tall) pair: “hats” - isn't it his/her bag"
    found = [caption[a:b] for a, b in noun_phrases(tagger, caption, min_words=1)]
    assert found == ["boss", "tall", "hats", "bag"]


@pytest.mark.parametrize("unit", ["black ", "black and ", "q", "q-", "'", "(", "a b'", "n't ", "-"])
def test_time_grows_with_the_text_only(tagger, unit):
    # 200 kB: quadratic time would take minutes
    noun_phrases(tagger, unit * (200_000 // len(unit)))


def test_colours_and_clothes_of_synthpedes_are_one_phrase(tagger):
    clothes = [*VALUES["top_type"], *VALUES["bottom_type"][1:], *VALUES["shoes_type"]]
    things = clothes + [v for v in (*VALUES["bag_type"], *VALUES["hat_type"]) if v != "none"]
    for color in COLORS:
        for pattern in ("", "striped ", "plaid ", "dotted ", "floral "):
            for thing in things:
                phrase = f"{color} {pattern}{thing}"
                assert noun_phrases(tagger, f"he wears a {phrase} and a") == [
                    (11, 11 + len(phrase))
                ], phrase


# Taggers


def test_a_word_stands_once_in_the_lexicon():
    words = [word for text in LEXICON.values() for word in text.split()]
    assert len(words) == len(set(words)) > 1000
    assert all(word == word.lower() for word in words)


@pytest.mark.parametrize(
    ("word", "tag"),
    [("greenish-colored", "JJ"), ("wrist-length", "JJ"), ("12", "CD"), ("3/4", "CD"),
     ("wobbling", "VBG"), ("bedazzled", "VBN"), ("zigzags", "NNS"), ("slowly", "RB"),
     ("sweatband", "NN"), ("!!", "."), ("waist-bag", "NN")],
)  # fmt: skip
def test_unknown_words_are_tagged_by_their_suffix(tagger, word, tag):
    assert not any(word in text.split() for text in LEXICON.values())
    assert tagger.tag([word]) == [tag]


def test_a_tag_does_not_depend_on_what_was_tagged_before(tagger):
    first = make_tagger("lexicon").tag(["back", "zigzags"])
    assert tagger.tag(["zigzags", "back"]) == first[::-1]


def test_wrong_tagger_sources_are_refused():
    with pytest.raises(ValueError, match=r"one of .*'lexicon'.*, got 'spacy'"):
        make_tagger("spacy")


@pytest.fixture
def no_data(monkeypatch):
    monkeypatch.setattr(nltk.data, "path", [])


@pytest.mark.usefixtures("no_data")
def test_perceptron_without_data_says_how_to_get_it():
    with pytest.raises(FileNotFoundError, match=r"nltk\.downloader averaged_perceptron_tagger_eng"):
        make_tagger("perceptron")


@pytest.mark.usefixtures("no_data")
def test_auto_without_data_is_the_lexicon_and_says_so_once(logged):
    assert make_tagger("auto").name == "lexicon"
    assert logged == ["phrases: lexicon tagger (no averaged_perceptron_tagger_eng for nltk)"]


def test_importing_phrases_does_not_import_nltk_or_jax():
    code = (
        "import sys, jaxreid.data.phrases; sys.exit('nltk' in sys.modules or 'jax' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Encoding


def test_phrase_rows_hold_the_tokens_of_the_phrase(tokenizer, tagger):
    out = encode_all(tokenizer, tagger, CAPTIONS)
    for i, caption in enumerate(CAPTIONS):
        expected = SENTENCES[caption]
        assert out["phrase_count"][i] == len(expected)
        for row, phrase in zip(out["phrase_tokens"][i], expected, strict=False):
            end = row.tolist().index(tokenizer.sep_id)
            assert row[0] == tokenizer.cls_id
            assert text_of(tokenizer, row[1:end]) == joined(phrase)
            assert (row[end + 1 :] == tokenizer.pad_id).all()


def test_spans_point_at_the_phrase_in_the_row_of_the_caption(tokenizer, tagger):
    out = encode_all(tokenizer, tagger, CAPTIONS)
    rows = encode(tokenizer, CAPTIONS, 60)["tokens"]
    for i, caption in enumerate(CAPTIONS):
        for r, phrase in enumerate(SENTENCES[caption]):
            start, end = out["phrase_spans"][i, r]
            assert text_of(tokenizer, rows[i, start:end]) == joined(phrase)
            np.testing.assert_array_equal(
                rows[i, start:end], out["phrase_tokens"][i, r, 1 : 1 + end - start]
            )


def test_absent_phrases_are_all_padding(tokenizer, tagger):
    out = encode_all(tokenizer, tagger, CAPTIONS)
    absent = np.arange(5) >= out["phrase_count"][:, None]
    assert absent.any()
    assert (~absent).any()
    assert (out["phrase_tokens"][absent] == tokenizer.pad_id).all()
    assert (out["phrase_words"][absent] == -1).all()
    assert (out["phrase_spans"][absent] == 0).all()
    assert (out["phrase_spans"][~absent][:, 1] > 0).all()


def test_word_numbers_group_the_pieces_of_each_word_of_a_phrase(tokenizer, tagger):
    out = encode_all(tokenizer, tagger, CAPTIONS)
    several = 0
    for i, caption in enumerate(CAPTIONS):
        for r, phrase in enumerate(SENTENCES[caption]):
            row, numbers = out["phrase_tokens"][i, r], out["phrase_words"][i, r]
            special = np.isin(row, [tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id])
            np.testing.assert_array_equal(numbers == -1, special)
            grouped = [text_of(tokenizer, row[numbers == n]) for n in range(numbers.max() + 1)]
            assert grouped == phrase.lower().split()
            several += (numbers >= 0).sum() > numbers.max() + 1
    assert several > 0  # some words have more pieces than one


def test_arrays_have_the_asked_shapes(tokenizer, tagger):
    out = encode_all(tokenizer, tagger, CAPTIONS[:3], max_phrases=4, max_phrase_tokens=9)
    shapes = {name: array.shape for name, array in out.items()}
    assert shapes == {
        "phrase_tokens": (3, 4, 9), "phrase_words": (3, 4, 9),
        "phrase_spans": (3, 4, 2), "phrase_count": (3,),
    }  # fmt: skip
    assert {array.dtype for array in out.values()} == {np.dtype(np.int32)}


def test_left_out_phrases_are_counted_in_the_log(tokenizer, tagger, logged):
    captions = ["a red bag, a blue bag, a pink bag", "a man", "a black and white and red bag"]
    out = encode_all(tokenizer, tagger, captions, max_phrases=2, max_phrase_tokens=24)
    assert out["phrase_count"].tolist() == [2, 0, 1]
    assert "3 noun phrases of 3 captions (lexicon tagger); 1 captions have none" in logged[-1]
    assert "left out: 1 beyond 2 a caption, 0 longer than 24 tokens" in logged[-1]

    pieces = out["phrase_words"][2, 0].max() + 1
    pieces = max(pieces, (out["phrase_words"][2, 0] >= 0).sum())
    out = encode_all(tokenizer, tagger, captions, max_phrase_tokens=int(pieces) + 1)
    assert out["phrase_count"].tolist() == [3, 0, 0]
    assert f"1 longer than {pieces + 1} tokens" in logged[-1]
    assert (out["phrase_tokens"][2] == tokenizer.pad_id).all()
    out = encode_all(tokenizer, tagger, captions, max_phrase_tokens=int(pieces) + 2)
    assert out["phrase_count"].tolist() == [3, 0, 1]


def test_a_phrase_beyond_the_caption_row_keeps_its_tokens_without_a_span(tokenizer, tagger, logged):
    caption = ["a red bag and a blue bag"]
    whole = encode_all(tokenizer, tagger, caption)
    end = int(whole["phrase_spans"][0, 1, 1])
    fits = encode_all(tokenizer, tagger, caption, max_tokens=end + 1)
    np.testing.assert_array_equal(fits["phrase_spans"], whole["phrase_spans"])
    cut = encode_all(tokenizer, tagger, caption, max_tokens=end)
    assert cut["phrase_spans"][0, 1].tolist() == [0, 0]
    assert cut["phrase_spans"][0, 0].tolist() == whole["phrase_spans"][0, 0].tolist()
    np.testing.assert_array_equal(cut["phrase_tokens"], whole["phrase_tokens"])
    assert f"1 kept phrases reach over the {end} tokens" in logged[-1]


def test_repeated_captions_get_equal_rows(tokenizer, tagger):
    once = encode_all(tokenizer, tagger, CAPTIONS[:4])
    twice = encode_all(tokenizer, tagger, [*CAPTIONS[:4], *CAPTIONS[:4]])
    for name, array in once.items():
        np.testing.assert_array_equal(twice[name], np.concatenate([array, array]))


def test_each_distinct_caption_is_tagged_once(tokenizer, tagger):
    calls = []

    def tag(words):
        calls.append(tuple(words))
        return tagger.tag(words)

    encode_all(tokenizer, module.Tagger("counting", tag), ["a red bag", "a hat", "a red bag"])
    assert len(calls) == 2


# Phrases of the caption before cleaning


@pytest.mark.parametrize("style", ["albef", "blip", "none"])
def test_phrases_of_the_source_have_the_tokens_of_the_cleaned_caption(tokenizer, tagger, style):
    cleaned = [clean(caption, style, None) for caption in CAPTIONS]
    rows = encode(tokenizer, cleaned, 60)["tokens"]
    out = encode_all(tokenizer, tagger, cleaned, sources=CAPTIONS)
    for i, caption in enumerate(CAPTIONS):
        phrases = [clean(phrase, style, None) for phrase in SENTENCES[caption]]
        assert out["phrase_count"][i] == len(phrases)
        for r, phrase in enumerate(phrases):
            start, end = out["phrase_spans"][i, r]
            assert text_of(tokenizer, rows[i, start:end]) == joined(phrase)
            words = out["phrase_words"][i, r]
            assert words.max() + 1 == len(SENTENCES[caption][r].split())


def test_commas_of_the_source_separate_phrases(tokenizer, tagger):
    source = ["Wearing glasses, jeans, brown shoes"]
    cleaned = [clean(source[0], "albef", None)]
    found = encode_all(tokenizer, tagger, cleaned, sources=source)
    row = found["phrase_tokens"][0, 0]
    assert found["phrase_count"][0] == 1
    assert text_of(tokenizer, row[(row > 4)]) == "brownshoes"


def test_phrases_of_words_that_cleaning_cut_are_left_out_and_counted(tokenizer, tagger, logged):
    source = "A red bag, a blue T-shirt; black pants"
    expected = {3: 1, 4: 1, 5: 1, 6: 1, 7: 2, 8: 2, 9: 3}  # "a red bag a blue t shirt black pants"
    for max_words, count in expected.items():
        cleaned = clean(source, "albef", max_words)
        out = encode_all(tokenizer, tagger, [cleaned], sources=[source])
        assert out["phrase_count"].tolist() == [count]
        assert f"{3 - count} cut with their caption" in logged[-1]


def test_sources_with_letters_that_change_length_in_lower_case_are_followed(tokenizer, tagger):
    source = "İİ ΣΑΣ, a Red T-Shirt of <person> ß"
    cleaned = clean(source, "albef", None)
    assert len(cleaned) != len(source)
    out = encode_all(tokenizer, tagger, [cleaned], sources=[source])
    start, end = out["phrase_spans"][0, out["phrase_count"][0] - 1]
    row = encode(tokenizer, [cleaned], 60)["tokens"][0]
    assert text_of(tokenizer, row[start:end]) == "redtshirt"


def test_a_text_of_another_source_is_refused(tokenizer, tagger):
    with pytest.raises(ValueError, match="text 1 is not made from its source"):
        encode_all(tokenizer, tagger, ["a hat", "a red bag"], sources=["A hat.", "A blue bag"])
    with pytest.raises(ValueError, match="sources must be 1 captions, got 2"):
        encode_all(tokenizer, tagger, ["a hat"], sources=["A hat.", "A hat."])


def test_unusable_captions_and_sizes_are_refused(tokenizer, tagger):
    with pytest.raises(ValueError, match="text 1 is empty"):
        encode_all(tokenizer, tagger, ["a red bag", " "])
    with pytest.raises(ValueError, match="max_phrases must be >= 1"):
        encode_all(tokenizer, tagger, ["a red bag"], max_phrases=0)


# Against nltk's perceptron tagger on published captions


@pytest.mark.external
@pytest.mark.parametrize(
    ("file", "least"),
    [("cuhk_pedes/reid_raw_val.json", 0.96), ("rstpreid/data_captions_val.json", 0.98)],
)
def test_lexicon_phrases_agree_with_the_perceptron(tagger, file, least, monkeypatch):
    data = os.environ["JAXREID_DATA"]
    monkeypatch.setattr(nltk.data, "path", [f"{data}/nltk_data"])
    perceptron = make_tagger("perceptron")
    with open(f"{data}/annotations/{file}") as records:
        captions = [text for record in json.load(records) for text in record["captions"]]
    common = found = expected = 0
    for caption in captions:
        ours, theirs = noun_phrases(tagger, caption), noun_phrases(perceptron, caption)
        common += len(set(ours) & set(theirs))
        found, expected = found + len(ours), expected + len(theirs)
    assert 2 * common / (found + expected) >= least


@pytest.mark.external
def test_the_perceptron_finds_the_same_phrases_in_most_sentences(monkeypatch):
    monkeypatch.setattr(nltk.data, "path", [os.environ["JAXREID_DATA"] + "/nltk_data"])
    perceptron = make_tagger("auto")
    assert perceptron.name == "perceptron"
    found = [[text[a:b] for a, b in noun_phrases(perceptron, text)] for text in CAPTIONS]
    equal = sum(a == b for a, b in zip(found, SENTENCES.values(), strict=True))
    assert equal >= len(SENTENCES) - 2
    words = [CAPTIONS[0][a:b] for a, b in word_spans(CAPTIONS[0])]
    assert phrase_tags(perceptron, words)[-3:] == ["JJ", "NN", "X"]
