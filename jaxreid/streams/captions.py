"""Captions and images as inputs of a network: tokens, phrases and augmented pixels."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from jaxreid.data.attributes import attribute_phrases, attribute_pieces
from jaxreid.data.images import read_augmentation
from jaxreid.data.phrases import encode_phrases, make_tagger
from jaxreid.data.records import CaptionError
from jaxreid.data.text import Tokenizer, clean, encode, load_tokenizer, word_ids
from jaxreid.methods import Example, Record
from jaxreid.streams.pixels import PixelSettings, pixels, read_pixel_settings

# Phrases of a caption that are found and kept; a step samples fewer. Captions have 4 to 11
# (5th and 95th percentile over seven person data sets).
KEPT_PHRASES = 12

# What is masked together: an attribute "[adj][noun]", or one word piece; see `data.attributes`.
ATTRIBUTE_UNITS = ("phrase", "piece")


class CaptionInput(NamedTuple):
    """The host functions of a method that searches by a sentence."""

    tokenize: Callable[[Sequence[str]], dict[str, np.ndarray]]
    transform: Callable[[Record, np.random.Generator | None], Example]
    vocabulary: int  # V
    mask_id: int  # token id of [MASK]
    end_id: int  # token id of [SEP], which ends a text


def caption_input(
    config,
    *,
    phrases: int,
    words: bool,
    attributes: str | None = None,
    load: Callable[[str], Tokenizer] = load_tokenizer,
) -> CaptionInput:
    """Returns the host functions of the sections `image` and `text` of a config.

    Args:
      config: whole config; text.tokenizer must name a vocabulary.
      phrases: noun phrases of a caption that a training example carries, 0 for none.
      words: whether an example carries the word number of each token, for MLM.
      attributes: one of `ATTRIBUTE_UNITS`, of which an example carries the number of each token;
        None for none.
      load: reads the vocabulary that text.tokenizer names.

    Returns:
      `tokenize` gives tokens i32[C, L] and, as asked, words and attributes i32[C, L],
      phrase_tokens and phrase_words i32[C, R', Lp]. `transform` gives image u8[h, w, 3], tokens,
      person_id, image_id, words, attributes, and phrase_tokens, phrase_words i32[R, Lp] of R
      phrases drawn for the step.
    """
    text = config.text
    tokenizer = read_tokenizer(text.tokenizer, load)
    tagger = make_tagger(text.tagger) if phrases or attributes else None
    return CaptionInput(
        tokenize=partial(
            _tokenize, tokenizer=tokenizer, tagger=tagger, text=text.copy_and_resolve_references(),
            phrases=phrases, words=words, attributes=attributes,
        ),
        transform=partial(_transform, settings=read_pixel_settings(config), phrases=phrases),
        vocabulary=tokenizer.vocabulary_size,
        mask_id=tokenizer.mask_id,
        end_id=tokenizer.sep_id,
    )  # fmt: skip


def check_captions(config, load: Callable[[str], Tokenizer] = load_tokenizer) -> None:
    """Raises what `caption_input` would, as far as neither data nor its vocabulary is needed."""
    read_augmentation(config)
    if config.text.tokenizer:
        read_tokenizer(config.text.tokenizer, load)


def read_tokenizer(source: str, load: Callable[[str], Tokenizer] = load_tokenizer) -> Tokenizer:
    """Returns the tokenizer that config.text.tokenizer names.

    Args:
      source: that field.
      load: reads a vocabulary.

    Raises:
      ValueError, FileNotFoundError: it cannot be used; names the field.
    """
    try:
        tokenizer = load(source)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"config.text.tokenizer: a file in {source!r} is not UTF-8: {error.reason} at byte "
            f"{error.start}"
        ) from error
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"config.text.tokenizer: {error}") from error
    if tokenizer.pad_id != 0:
        raise ValueError(
            f"config.text.tokenizer {source!r}: [PAD] must have id 0, got {tokenizer.pad_id}"
        )
    return tokenizer


def _tokenize(
    texts: Sequence[str],
    *,
    tokenizer: Tokenizer,
    tagger,
    text,
    phrases: int,
    words: bool,
    attributes: str | None,
) -> dict[str, np.ndarray]:
    """`Method.tokenize`."""
    cleaned = [clean(caption, text.clean, text.max_words) for caption in texts]
    for i, (before, after) in enumerate(zip(texts, cleaned, strict=True)):
        if not after:
            raise CaptionError(i, f"has no words: {before!r}")
    out = encode(tokenizer, cleaned, text.max_tokens)
    if words:
        out["words"] = word_ids(tokenizer, cleaned, text.max_tokens)
    if attributes == "phrase":
        out["attributes"] = attribute_phrases(
            tokenizer, tagger, cleaned, text.max_tokens, sources=texts
        )
    elif attributes == "piece":
        out["attributes"] = attribute_pieces(tokenizer, tagger, cleaned, text.max_tokens)
    if phrases:
        found = encode_phrases(
            tokenizer, tagger, cleaned, KEPT_PHRASES, text.max_phrase_tokens,
            min_words=text.min_words, max_tokens=text.max_tokens, sources=texts,
        )  # fmt: skip
        out |= {name: found[name] for name in ("phrase_tokens", "phrase_words")}
    return out


def _transform(
    record: Record, rng: np.random.Generator | None, *, settings: PixelSettings, phrases: int
) -> Example:
    """`Method.transform`."""
    example = {}
    for name in ("image", "reference"):
        if name in record:
            example[name] = pixels(record[name], rng, settings)
    if "text" in record:
        example["tokens"] = record["text"]["tokens"]
    if rng is None:
        return example
    example["person_id"] = np.int32(record["person_id"])
    example["image_id"] = np.int32(record["image_id"])
    for name in ("words", "attributes"):
        if name in record["text"]:
            example[name] = record["text"][name]
    if phrases:
        found = record["text"]["phrase_words"]
        present = np.flatnonzero((found >= 0).any(axis=1))
        absent = np.flatnonzero((found < 0).all(axis=1))
        order = np.concatenate([rng.permutation(present), absent])
        if len(order) < phrases:
            raise ValueError(f"at most {len(found)} phrases a caption, asked {phrases}")
        rows = np.sort(order[:phrases])
        example["phrase_tokens"] = record["text"]["phrase_tokens"][rows]
        example["phrase_words"] = found[rows]
    return example
