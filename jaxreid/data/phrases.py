"""Noun phrases of captions for image-phrase streams (LAIP, Section II-B), found on the host.

Words are tagged by nltk, the grammar runs over the tags, and the phrases become token arrays once
per caption, before training.
"""

import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tokenizers
from absl import logging

from jaxreid.data import lexicon
from jaxreid.data.text import Tokenizer, encode_texts, word_spans

SOURCES = ("auto", "perceptron", "lexicon")


def _words(text: str) -> frozenset[str]:
    """The words of a list written as text."""
    return frozenset(text.split())


# Adjectives (JJ.*, VBN, CD), maybe joined by conjunctions (CC), then nouns (NN.*). In nltk's
# notation this is
#   NP: {((<JJ.*|VBN|CD>+<CC>)*<JJ.*|VBN|CD>+)?<NN.*>+}
# so that "black and white backpack" is one phrase and "white shirt and black pants" are two.
# The second alternative steps over adjectives without a noun: time stays linear in the words.
_GRAMMAR = re.compile(r"(?P<phrase>(?:(?:J++C)*+J++)?+N++)|(?:J++C?)++|.")

# Taggers disagree about these words, or take a colour for a noun; which words describe people is
# known, so their tag is set. Tags of the other words are left to the tagger.
_ADJECTIVES = _words("""
    black white gray grey greyish grayish blue bluish navy red reddish maroon burgundy crimson
    scarlet pink pinkish orange yellow yellowish golden green greenish olive lime teal turquoise
    aqua cyan purple violet lavender lilac magenta brown brownish tan beige khaki cream ivory
    silver blonde blond brunette dark darker light lighter bright pale multicolored multicoloured
    colored coloured colorful colourful long curly sleeved short-sleeved long-sleeved sleeveless
    haired heeled framed striped plaid checkered checked floral flowered dotted patterned printed
    faded hooded collared cropped matching
    """)
_CLASSIFIERS = _words("pair pairs couple kind type sort lot bit")  # "a pair of"
_OTHERS = _words("""
    i he she it they we you him her them his hers its their theirs my your our us me himself
    herself itself themselves who whom whose which what that this these those a an the some any
    each every either neither both no all another such hes shes
    is are was has wears wearing wore walks carries carrying holds holding hangs hanging
    """)
# Words that are nouns in front of these and something else elsewhere.
_SHOES = _words("shoe shoes sneaker sneakers boot boots")
_NOUNS_BEFORE = {
    "back": _words("pack packs pocket pockets"),
    "t": _words("shirt shirts"),
    "shopping": _words("bag bags cart basket"),
    **dict.fromkeys(("running", "walking", "hiking", "jogging", "training"), _SHOES),
}
_CONJUNCTIONS = _words("and or & but")


class Tagger(NamedTuple):
    """A part-of-speech tagger: the tags of the words of one caption, lower case."""

    name: str  # "perceptron" | "lexicon"
    tag: Callable[[Sequence[str]], list[str]]


def make_tagger(source: str) -> Tagger:
    """Returns nltk's perceptron tagger or the embedded lexicon, and logs which.

    Args:
      source: "perceptron" (needs the nltk data averaged_perceptron_tagger_eng), "lexicon" (needs
        nothing, see `lexicon`), or "auto": perceptron where nltk finds its data, else lexicon.

    Raises:
      FileNotFoundError: "perceptron" without its data.
      ValueError: another source.
    """
    if source not in SOURCES:
        raise ValueError(f"tagger source must be one of {SOURCES}, got {source!r}")
    if source != "lexicon":
        from nltk.tag.perceptron import PerceptronTagger  # only here: nltk imports in a second

        try:
            perceptron = PerceptronTagger()
        except LookupError as error:
            if source == "perceptron":
                raise FileNotFoundError(
                    "nltk has no averaged_perceptron_tagger_eng: run `python -m nltk.downloader "
                    "averaged_perceptron_tagger_eng`, or set NLTK_DATA to the folder that has it"
                ) from error
            logging.info("phrases: lexicon tagger (no averaged_perceptron_tagger_eng for nltk)")
        else:
            logging.info("phrases: perceptron tagger of nltk")
            return Tagger("perceptron", lambda words: [tag for _, tag in perceptron.tag(words)])
    else:
        logging.info("phrases: lexicon tagger")
    return Tagger("lexicon", lexicon.make_tag())


def noun_phrases(tagger: Tagger, caption: str, min_words: int = 2) -> list[tuple[int, int]]:
    """Character spans [start, end) of the noun phrases of a caption, in order, disjoint.

    A phrase is adjectives and nouns ("dark blue jeans", "black and white backpack"), never with
    pronouns, articles or punctuation; "a pair of blue jeans" gives "blue jeans".

    Args:
      tagger: from `make_tagger`.
      caption: any text, best before cleaning: punctuation separates phrases.
      min_words: shorter phrases are left out. 2, because a phrase whose only word is masked has
        no context to predict it from; 1 gives single nouns too.
    """
    return [(words[0][0], words[-1][1]) for words in find_phrases(tagger, caption, min_words)]


def phrase_tags(tagger: Tagger, words: Sequence[str]) -> list[str]:
    """Tags of words with those of colours, attributes, pronouns and marks set by rule."""
    words = [word.lower() for word in words]
    tags = tagger.tag(words)
    followers = [*words[1:], ""]
    return [_settle(*each) for each in zip(words, followers, tags, strict=True)]


def _settle(word: str, follower: str, tag: str) -> str:
    """The tag of a lower-case word in front of `follower`, after the rules."""
    if word in _ADJECTIVES:
        return "JJ"
    if follower in _NOUNS_BEFORE.get(word, ()):
        return "NN"
    if word in _CONJUNCTIONS:
        return "CC"
    if word in _CLASSIFIERS or word in _OTHERS or not any(c.isalnum() for c in word):
        return "X"
    if word[0] in "'\u2019" or word.endswith(("n't", "n\u2019t")):
        return "X"  # clitics: "man's", "doesn't"
    if "-" in word or "/" in word:
        parts = re.split("[-/]", word)
        if any(part in _OTHERS for part in parts if "/" in word):
            return "X"  # "his/her"
        if parts[-1] in _ADJECTIVES:
            return "JJ"  # "lime-green", "black/white"
    return tag


def _letter(tag: str) -> str:
    """The letter of `_GRAMMAR` for a tag."""
    if tag.startswith("NN"):
        return "N"
    if tag.startswith("JJ") or tag in ("VBN", "CD"):
        return "J"
    return "C" if tag == "CC" else "o"


def find_phrases(
    tagger: Tagger, caption: str, min_words: int, grammar: re.Pattern = _GRAMMAR
) -> list[list[tuple[int, int]]]:
    """Returns the character spans [start, end) of the words of each phrase.

    Args:
      tagger: from `make_tagger`.
      caption: any text.
      min_words: phrases of fewer words are left out.
      grammar: over a letter a tag, J adjective, N noun, C conjunction; group `phrase` is a phrase.
    """
    spans = word_spans(caption)
    tags = phrase_tags(tagger, [caption[start:end] for start, end in spans])
    return [
        spans[match.start() : match.end()]
        for match in grammar.finditer("".join(map(_letter, tags)))
        if match["phrase"] and match.end() - match.start() >= min_words
    ]


def encode_phrases(
    tokenizer: Tokenizer,
    tagger: Tagger,
    texts: Sequence[str],
    max_phrases: int,
    max_phrase_tokens: int,
    *,
    min_words: int,
    max_tokens: int,
    sources: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """Returns the noun phrases of C captions as tokens, with R = max_phrases rows a caption.

    The tokens of a phrase are those of the caption itself, so both have the same ids. Left out,
    and counted in the log: phrases after the first R, phrases that do not fit a row of
    Lp = max_phrase_tokens, and phrases of `sources` whose words were cut from `texts`.

    Args:
      tokenizer: from `load_tokenizer`.
      tagger: from `make_tagger`.
      texts: captions as `encode` gets them.
      max_phrases: R, at least 1.
      max_phrase_tokens: Lp, with [CLS] and [SEP], at least 3.
      min_words: see `noun_phrases`.
      max_tokens: L of `encode`, for phrase_spans.
      sources: the captions before `clean`. Given, phrases are found in these, because cleaning
        drops the punctuation that separates phrases, and their tokens are taken from texts.

    Returns:
      phrase_tokens: i32[C, R, Lp], [CLS] phrase [SEP] [PAD]..; absent phrases are all [PAD].
      phrase_words: i32[C, R, Lp], running word number 0.. within the phrase ("t-shirt" is one
        word), -1 on special tokens.
      phrase_spans: i32[C, R, 2], start and end of the phrase in the row of `encode`; 0, 0 where
        absent or not whole within max_tokens.
      phrase_count: i32[C], rows in use; they come first.

    Raises:
      ValueError: a text is empty or not made from its source (names its index), or no room.
    """
    if max_phrases < 1 or max_phrase_tokens < 3:
        raise ValueError(
            "max_phrases must be >= 1 and max_phrase_tokens >= 3, got "
            f"{max_phrases} and {max_phrase_tokens}"
        )
    if sources is not None and len(sources) != len(texts):
        raise ValueError(f"sources must be {len(texts)} captions, got {len(sources)}")
    rows = (len(texts), max_phrases, max_phrase_tokens)
    tokens = np.full(rows, tokenizer.pad_id, np.int32)
    words = np.full(rows, -1, np.int32)
    spans = np.zeros((*rows[:2], 2), np.int32)
    count = np.zeros(len(texts), np.int32)
    lost = Counter()
    parsed = {}  # many data sets repeat captions
    for i, encoding in enumerate(encode_texts(tokenizer, texts)):
        source = texts[i] if sources is None else sources[i]
        if source not in parsed:
            parsed[source] = find_phrases(tagger, source, min_words)
        phrases = parsed[source]
        if source != texts[i]:
            phrases, cut = carry_over(phrases, source, texts[i], i)
            lost["cut"] += cut
        found = _token_rows(phrases, encoding, max_phrase_tokens - 2)
        lost["long"] += len(phrases) - len(found)
        lost["many"] += max(len(found) - max_phrases, 0)
        count[i] = min(len(found), max_phrases)
        for r, (first, numbers) in enumerate(found[:max_phrases]):
            end = first + len(numbers)
            tokens[i, r, : len(numbers) + 2] = (
                tokenizer.cls_id, *encoding.ids[first:end], tokenizer.sep_id
            )  # fmt: skip
            words[i, r, 1 : len(numbers) + 1] = numbers
            if end + 1 < max_tokens:  # [CLS] shifts by one, [SEP] stays last
                spans[i, r] = first + 1, end + 1
            else:
                lost["outside"] += 1
    logging.info(
        "%d noun phrases of %d captions (%s tagger); %d captions have none; left out: %d beyond "
        "%d a caption, %d longer than %d tokens, %d cut with their caption; %d kept phrases "
        "reach over the %d tokens of their caption",
        count.sum(), len(texts), tagger.name, (count == 0).sum(), lost["many"], max_phrases,
        lost["long"], max_phrase_tokens, lost["cut"], lost["outside"], max_tokens,
    )  # fmt: skip
    return {
        "phrase_tokens": tokens,
        "phrase_words": words,
        "phrase_spans": spans,
        "phrase_count": count,
    }


def _token_rows(
    phrases: list[list[tuple[int, int]]], encoding: tokenizers.Encoding, room: int
) -> list[tuple[int, list[int]]]:
    """(first token, word number of each token) of the phrases of at most `room` tokens."""
    starts = [start for start, _ in encoding.offsets]
    rows = []
    for phrase in phrases:
        first = bisect_left(starts, phrase[0][0])
        numbers, begin = [], first
        for number, (_, end) in enumerate(phrase):
            next_word = bisect_left(starts, end, begin)
            numbers += [number] * (next_word - begin)
            begin = next_word
        if 0 < len(numbers) <= room:
            rows.append((first, numbers))
    return rows


def carry_over(
    phrases: list[list[tuple[int, int]]], source: str, text: str, index: int
) -> tuple[list[list[tuple[int, int]]], int]:
    """The phrases of a caption as characters of the cleaned caption, and how many were cut off."""
    origins = _origins(source, text, index)
    carried = []
    for phrase in phrases:
        if phrase[-1][1] <= origins[-1] + 1:  # words end in a letter or digit, never cleaned away
            words = [(bisect_left(origins, a), bisect_left(origins, b)) for a, b in phrase]
            carried.append(words)
    return carried, len(phrases) - len(carried)


def _origins(source: str, text: str, index: int) -> list[int]:
    """Where in the source each character of the cleaned text comes from, in ascending order.

    Cleaning drops characters that it keeps nowhere, or turns them into spaces, so the next equal
    character is always the right one.
    """
    folded = _fold(source)
    origins, position = [], -1
    for character in _fold(text):
        if not character.isspace():
            found = folded.find(character, position + 1)
            if found >= 0:
                position = found
            elif not unicodedata.combining(character):  # lower case splits some letters in two
                raise ValueError(f"text {index} is not made from its source: {text[:80]!r}")
        origins.append(position)
    return origins


def _fold(text: str) -> str:
    """The text without case, character by character, so that positions stay."""
    return text.lower() if text.isascii() else "".join(c.casefold()[:1] or c for c in text)
