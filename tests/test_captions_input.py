"""Captions and images become arrays: tokens, words, phrases, augmented pixels."""

import numpy as np
import pytest
from tiny import recipe

from jaxreid.data.text import clean, load_tokenizer, train_tokenizer, word_ids
from jaxreid.streams.captions import caption_input

CAPTIONS = [
    "A woman in a red shirt, blue jeans and white shoes. She has long brown hair.",
    "A man with black hair wears a dark t-shirt.",
    "He walks!",
]
COUNTS = [4, 2, 0]  # phrases


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(CAPTIONS, 300, str(folder))
    config = recipe()
    config.text.tokenizer = str(folder)
    config.text.max_tokens = 24
    config.model.bert.max_positions = 24
    return config


@pytest.fixture(scope="module")
def captions(config):
    return caption_input(config, phrases=3, words=True)


@pytest.fixture(scope="module")
def rows(captions):
    return captions.tokenize(CAPTIONS)


def record(rows, caption: int) -> dict:
    """A record as the pipeline gives it; the image is 20 x 10 with a left and a right half."""
    image = np.zeros((20, 10, 3), np.uint8)
    image[:, 5:] = 200
    text = {name: array[caption] for name, array in rows.items()}
    return {"image": image, "text": text, "person_id": 7, "image_id": 3}


def draws(captions, rows, caption: int, count: int = 300) -> list[dict]:
    """Examples of one record with different generators."""
    rng = np.random.default_rng(0)
    return [captions.transform(record(rows, caption), rng) for _ in range(count)]


def test_tokens_and_word_numbers_are_those_of_the_cleaned_captions(config, captions, rows):
    tokenizer = load_tokenizer(config.text.tokenizer)
    cleaned = [clean(caption, "albef", 50) for caption in CAPTIONS]
    assert cleaned[2] == "he walks"
    for i, text in enumerate(cleaned):
        ids = tokenizer.backend.encode(text, add_special_tokens=False).ids
        expected = [tokenizer.cls_id, *ids, tokenizer.sep_id]
        np.testing.assert_array_equal(rows["tokens"][i, : len(expected)], expected)
        assert not rows["tokens"][i, len(expected) :].any()
    np.testing.assert_array_equal(rows["words"], word_ids(tokenizer, cleaned, 24))
    assert captions.vocabulary == tokenizer.vocabulary_size
    assert captions.mask_id == tokenizer.mask_id


def test_shapes_and_dtypes(rows):
    assert {name: (x.shape, x.dtype) for name, x in rows.items()} == {
        "tokens": ((3, 24), np.int32),
        "words": ((3, 24), np.int32),
        "phrase_tokens": ((3, 12, 7), np.int32),
        "phrase_words": ((3, 12, 7), np.int32),
    }
    found = (rows["phrase_words"] >= 0).any(axis=2).sum(axis=1)
    np.testing.assert_array_equal(found, COUNTS)


def test_what_is_not_asked_for_is_not_made(config):
    plain = caption_input(config, phrases=0, words=False)
    rows = plain.tokenize(CAPTIONS)
    assert set(rows) == {"tokens"}
    example = plain.transform(record(rows, 0), np.random.default_rng(0))
    assert set(example) == {"image", "tokens", "person_id", "image_id"}


def test_a_training_example_carries_a_draw_of_phrases(captions, rows):
    example = draws(captions, rows, 0, 1)[0]
    assert {name: (x.shape, x.dtype) for name, x in example.items()} == {
        "image": ((32, 16, 3), np.uint8),
        "tokens": ((24,), np.int32),
        "words": ((24,), np.int32),
        "person_id": ((), np.int32),
        "image_id": ((), np.int32),
        "phrase_tokens": ((3, 7), np.int32),
        "phrase_words": ((3, 7), np.int32),
    }
    assert (example["person_id"], example["image_id"]) == (7, 3)


def test_every_set_of_present_phrases_is_drawn_equally_often(captions, rows):
    present = [tuple(tokens) for tokens in rows["phrase_tokens"][0, :4]]
    left_out = np.zeros(4)
    for example in draws(captions, rows, 0):
        drawn = [present.index(tuple(tokens)) for tokens in example["phrase_tokens"]]
        assert len(set(drawn)) == 3  # none twice
        left_out[list(set(range(4)) - set(drawn))] += 1
        for place, number in enumerate(drawn):  # the words stay with their phrase
            np.testing.assert_array_equal(
                example["phrase_words"][place], rows["phrase_words"][0, number]
            )
    assert (np.abs(left_out / 300 - 1 / 4) < 4 * np.sqrt(3 / 16 / 300)).all()


@pytest.mark.parametrize("caption", [1, 2])
def test_absent_phrases_fill_up_only_where_there_are_too_few(captions, rows, caption):
    for example in draws(captions, rows, caption, 20):
        present = (example["phrase_words"] >= 0).any(axis=1)
        assert present.sum() == COUNTS[caption]
        assert not example["phrase_tokens"][~present].any()
        expected = {tuple(x) for x in rows["phrase_tokens"][caption, : COUNTS[caption]]}
        assert {tuple(x) for x in example["phrase_tokens"][present]} == expected


def test_an_example_follows_its_generator(captions, rows):
    first, again, other = (
        [captions.transform(record(rows, 0), rng) for _ in range(8)]
        for rng in (np.random.default_rng(s) for s in (1, 1, 2))
    )
    for name in first[0]:
        a, b, c = (np.stack([e[name] for e in examples]) for examples in (first, again, other))
        np.testing.assert_array_equal(a, b)
        assert (a != c).any() == (name in ("image", "phrase_tokens", "phrase_words"))


def test_evaluation_gives_no_training_arrays_and_no_augmentation(captions, rows):
    example = captions.transform(record(rows, 0), None)
    assert set(example) == {"image", "tokens"}
    assert example["image"].shape == (32, 16, 3)
    assert (example["image"][:, 0] == 0).all()  # never flipped
    assert (example["image"][:, -1] == 200).all()
    image_only = {name: value for name, value in record(rows, 0).items() if name != "text"}
    text_only = {name: value for name, value in record(rows, 0).items() if name != "image"}
    assert set(captions.transform(image_only, None)) == {"image"}
    assert set(captions.transform(text_only, None)) == {"tokens"}


@pytest.mark.parametrize("empty", ["", " \n", "..., !?"])
def test_a_caption_without_words_is_named(captions, empty):
    with pytest.raises(ValueError, match="caption 1 has no words"):
        captions.tokenize(["a man", empty])


def test_a_tokenizer_whose_padding_is_not_0_is_refused(config, tmp_path):
    words = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", "a"]
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    other = config.copy_and_resolve_references()
    other.text.tokenizer = str(tmp_path)
    with pytest.raises(ValueError, match=r"text.tokenizer .*\[PAD\] must have id 0, got 1"):
        caption_input(other, phrases=0, words=False)


def test_more_phrases_than_are_kept_are_refused(config, rows):
    many = caption_input(config, phrases=13, words=False)
    with pytest.raises(ValueError, match="at most 12 phrases"):
        many.transform(record(rows, 0), np.random.default_rng(0))


def test_a_framed_image_keeps_its_aspect_between_black_margins(config):
    config = config.copy_and_resolve_references()
    config.image.size, config.image.framed = (16, 16), (32, 16)
    transform = caption_input(config, phrases=0, words=False).transform
    white = {
        "image": np.full((40, 30, 3), 255, np.uint8),
        "reference": np.zeros((9, 9, 3), np.uint8),
    }
    example = transform(white, None)
    assert example["image"].shape == (16, 16, 3)
    assert (example["image"][:, 5:11] > 250).all()
    assert (example["image"][:, [0, 1, 2, -3, -2, -1]] < 5).all()
    assert not example["reference"].any()
