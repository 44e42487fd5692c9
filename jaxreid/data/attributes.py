"""Attributes of captions, "black shoes", as CADA masks them (Section III-C); found on the host."""

import re
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from absl import logging

from jaxreid.data.phrases import Tagger, carry_over, find_phrases
from jaxreid.data.text import Tokenizer, encode_texts

# "[adj][noun]": the noun phrases of `phrases` with an adjective at least.
_GRAMMAR = re.compile(r"(?P<phrase>(?:J++C)*+J++N++)|(?:J++C?)++|.")
# What the release of CADA masks, by their tag (models/cada.py, attr_mask).
_TAGS = ("JJ", "NN", "NNS", "NNP", "NNPS")


def attribute_phrases(
    tokenizer: Tokenizer,
    tagger: Tagger,
    texts: Sequence[str],
    max_tokens: int,
    *,
    sources: Sequence[str] | None = None,
) -> np.ndarray:
    """Returns which attribute phrase each token belongs to, for masking phrases as a whole.

    An attribute is adjectives and the nouns after them, "black shoes", "long straight hair" (CADA,
    Section III-C).

    Args:
      tokenizer: from `load_tokenizer`.
      tagger: from `make_tagger`.
      texts: captions as `encode` gets them.
      max_tokens: L of `encode`.
      sources: the captions before `clean`; see `encode_phrases`.

    Returns:
      i32[C, L], running number of the attribute in its caption, -1 on the other tokens. Attributes
      that are not whole within the row are left out, and counted in the log.

    Raises:
      ValueError: a text is empty or not made from its source (names its index).
    """
    if sources is not None and len(sources) != len(texts):
        raise ValueError(f"sources must be {len(texts)} captions, got {len(sources)}")
    numbers = np.full((len(texts), max_tokens), -1, np.int32)
    found, lost, none = 0, 0, 0
    parsed = {}  # many data sets repeat captions
    for i, encoding in enumerate(encode_texts(tokenizer, texts)):
        source = texts[i] if sources is None else sources[i]
        if source not in parsed:
            parsed[source] = find_phrases(tagger, source, 2, _GRAMMAR)
        phrases, cut = parsed[source], 0
        if source != texts[i]:
            phrases, cut = carry_over(phrases, source, texts[i], i)
        starts = [start for start, _ in encoding.offsets]
        kept = 0
        for phrase in phrases:
            first, end = (bisect_left(starts, at) for at in (phrase[0][0], phrase[-1][1]))
            if first < end and end + 1 < max_tokens:  # [CLS] shifts by one, [SEP] stays last
                numbers[i, first + 1 : end + 1] = kept
                kept += 1
        found, lost, none = found + kept, lost + cut + len(phrases) - kept, none + (kept == 0)
    logging.info(
        "%d attributes of %d captions (%s tagger); %d captions have none; left out: %d that are "
        "cut with their caption",
        found, len(texts), tagger.name, none, lost,
    )  # fmt: skip
    return numbers


def attribute_pieces(
    tokenizer: Tokenizer, tagger: Tagger, texts: Sequence[str], max_tokens: int
) -> np.ndarray:
    """Returns the tokens that the release of CADA masks, each with a number of its own.

    The release (CADA@1087f33, models/cada.py, attr_mask) tags word pieces as if they were words
    and masks adjectives and nouns one by one. [SEP], which it forgets to leave out, is masked too.

    Args:
      tokenizer: from `load_tokenizer`.
      tagger: from `make_tagger`; its own tags count, without the rules of `phrase_tags`.
      texts: captions as `encode` gets them.
      max_tokens: L of `encode`.

    Returns:
      i32[C, L], running number in the caption, -1 on tokens that are never masked.
    """
    numbers = np.full((len(texts), max_tokens), -1, np.int32)
    tagged = {}
    for i, encoding in enumerate(encode_texts(tokenizer, texts)):
        if texts[i] not in tagged:
            tagged[texts[i]] = tagger.tag(encoding.tokens)
        tags = tagged[texts[i]][: max_tokens - 2]
        at = [j for j, tag in enumerate(tags, start=1) if tag in _TAGS]
        at.append(len(tags) + 1)
        numbers[i, at] = np.arange(len(at))
    logging.info(
        "%d of the tokens of %d captions are adjectives, nouns or [SEP] (%s tagger)",
        (numbers >= 0).sum(), len(texts), tagger.name,
    )  # fmt: skip
    return numbers
