"""Attribute phrases of captions as tokens, and their masking as a whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.data.attributes import attribute_phrases, attribute_pieces
from jaxreid.data.phrases import Tagger, make_tagger
from jaxreid.data.text import clean, encode, load_tokenizer, train_tokenizer
from jaxreid.losses.masked_language import whole_spans

CAPTIONS = [
    "A woman with long straight hair, black shoes and a bag.",
    "The man wears a black and white t-shirt; blue jeans.",
    "He walks by in a baseball cap.",
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("tokenizer"))
    train_tokenizer(CAPTIONS, 60, folder)  # small: words are in pieces
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def tagger():
    return make_tagger("lexicon")


def phrases_of(tokenizer, tokens, numbers) -> list[str]:
    """The text of each attribute, put together from its tokens."""
    found = []
    for number in range(numbers.max() + 1):
        at = np.flatnonzero(numbers == number)
        assert at.tolist() == list(range(at[0], at[-1] + 1))  # in one run
        found.append(tokenizer.backend.decode([int(t) for t in tokens[at]]))
    return found


@pytest.mark.parametrize("style", ["none", "albef", "blip"])
def test_attributes_are_adjectives_with_their_nouns(tokenizer, tagger, style):
    texts = [clean(caption, style, 50) for caption in CAPTIONS]
    tokens = encode(tokenizer, texts, 60)["tokens"]
    numbers = attribute_phrases(tokenizer, tagger, texts, 60, sources=CAPTIONS)
    shirt = {"albef": "t shirt"}.get(style, "t - shirt")
    assert [phrases_of(tokenizer, *row) for row in zip(tokens, numbers, strict=True)] == [
        ["long straight hair", "black shoes"],  # "woman" and "bag" have no adjective
        [f"black and white {shirt}", "blue jeans"],
        [],  # two nouns
    ]
    assert (numbers[:, 0] == -1).all()


def test_an_attribute_that_the_row_cuts_is_left_out(tokenizer, tagger):
    whole = attribute_phrases(tokenizer, tagger, CAPTIONS[:1], 60)[0]
    end = np.flatnonzero(whole == 1)[-1]  # last token of "black shoes"
    for length, count in ((end + 2, 2), (end + 1, 1)):  # [SEP] comes last
        numbers = attribute_phrases(tokenizer, tagger, CAPTIONS[:1], length)[0]
        assert numbers.max() + 1 == count
        np.testing.assert_array_equal(numbers[:end], np.where(whole < count, whole, -1)[:end])


def test_pieces_are_tagged_one_by_one_and_sep_is_not_left_out(tokenizer):
    tags = {"a": "DT", "[": "NN"}
    tagger = Tagger(
        "made up", lambda words: [tags.get(w, "JJ" if w[0] == "#" else "VB") for w in words]
    )
    (numbers,) = attribute_pieces(tokenizer, tagger, CAPTIONS[:1], 60)
    (tokens,) = encode(tokenizer, CAPTIONS[:1], 60)["tokens"]
    names = [tokenizer.backend.id_to_token(int(t)) for t in tokens]
    expected = [i for i, name in enumerate(names) if name[0] == "#" or name == "[SEP]"]
    assert len(expected) > 3
    assert np.flatnonzero(numbers >= 0).tolist() == expected
    assert numbers[expected].tolist() == list(range(len(expected)))  # each for itself


def test_pieces_beyond_the_row_are_not_there(tokenizer):
    tagger = Tagger("made up", lambda words: ["NN"] * len(words))
    (numbers,) = attribute_pieces(tokenizer, tagger, CAPTIONS[:1], 9)
    assert numbers.tolist() == [-1, 0, 1, 2, 3, 4, 5, 6, 7]  # 7 pieces and [SEP]


SPANS = np.array([[-1, 0, 0, 1, -1, 2, 2, 2], [-1, 0, 1, 2, 3, -1, -1, -1], [-1] * 8])


@pytest.fixture(scope="module")
def draws():
    """bool[4000, 3, 8] of SPANS at rate 0.8."""
    keys = jax.random.split(jax.random.key(0), 4000)
    draw = jax.jit(jax.vmap(lambda key: whole_spans(key, jnp.asarray(SPANS), 0.8)))
    return np.asarray(draw(keys))


def test_spans_are_masked_as_a_whole(draws):
    for row, spans in enumerate(SPANS):
        for number in range(spans.max() + 1):
            tokens = draws[:, row, spans == number]
            assert (tokens == tokens[:, :1]).all()
    assert not draws[:, SPANS < 0].any()


def test_spans_are_masked_with_the_rate_and_independently(draws):
    for row, spans in enumerate(SPANS[:2]):
        first = [draws[:, row, np.flatnonzero(spans == n)[0]] for n in range(spans.max() + 1)]
        for chosen in first:
            assert abs(chosen.mean() - 0.8) < 4 * np.sqrt(0.16 / 4000)
        both = (first[0] & first[1]).mean()
        assert abs(both - 0.64) < 4 * np.sqrt(0.64 * 0.36 / 4000)
    across = (draws[:, 0, 1] & draws[:, 1, 1]).mean()
    assert abs(across - 0.64) < 4 * np.sqrt(0.64 * 0.36 / 4000)


def test_rate_one_masks_all(draws):
    masked = whole_spans(jax.random.key(1), jnp.asarray(SPANS), 1.0)
    np.testing.assert_array_equal(masked, SPANS >= 0)
