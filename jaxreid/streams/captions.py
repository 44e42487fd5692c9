"""Captions and images as inputs of a network: tokens, phrases and augmented pixels."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from jaxreid.data.attributes import attribute_phrases, attribute_pieces
from jaxreid.data.images import Augmentation, augment, read_augmentation, resize, square
from jaxreid.data.phrases import encode_phrases, make_tagger
from jaxreid.data.records import CaptionError
from jaxreid.data.text import Tokenizer, clean, encode, load_tokenizer, word_ids
from jaxreid.methods import Example, Record

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


class _Settings(NamedTuple):
    """What `_transform` needs; it is sent to worker processes."""

    size: tuple[int, int]
    framed: tuple[int, int] | None  # size before the image is put into a square
    resample: str
    augmentation: Augmentation
    phrases: int


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
    tokenizer = _tokenizer(text.tokenizer, load)
    tagger = make_tagger(text.tagger) if phrases or attributes else None
    settings = _Settings(
        size=tuple(config.image.size),
        framed=tuple(config.image.framed) or None,
        resample=config.image.resize,
        augmentation=read_augmentation(config),
        phrases=phrases,
    )
    return CaptionInput(
        tokenize=partial(
            _tokenize, tokenizer=tokenizer, tagger=tagger, text=text.copy_and_resolve_references(),
            phrases=phrases, words=words, attributes=attributes,
        ),
        transform=partial(_transform, settings=settings),
        vocabulary=tokenizer.vocabulary_size,
        mask_id=tokenizer.mask_id,
        end_id=tokenizer.sep_id,
    )  # fmt: skip


def check_captions(config, load: Callable[[str], Tokenizer] = load_tokenizer) -> None:
    """Raises what `caption_input` would, as far as neither data nor its vocabulary is needed."""
    read_augmentation(config)
    if config.text.tokenizer:
        _tokenizer(config.text.tokenizer, load)


def _tokenizer(source: str, load: Callable[[str], Tokenizer]) -> Tokenizer:
    """The tokenizer that text.tokenizer names."""
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


def _pixels(image: np.ndarray, rng: np.random.Generator | None, settings: _Settings) -> np.ndarray:
    """u8[h, w, 3] of the config's size, augmented where there is an rng."""
    image = resize(image, settings.framed or settings.size, settings.resample)
    if rng is not None:
        image = augment(image, rng, settings.augmentation)
    if settings.framed:
        image = resize(square(image), settings.size, settings.resample)
    return image


def _transform(record: Record, rng: np.random.Generator | None, *, settings: _Settings) -> Example:
    """`Method.transform`."""
    example = {}
    for name in ("image", "reference"):
        if name in record:
            example[name] = _pixels(record[name], rng, settings)
    if "text" in record:
        example["tokens"] = record["text"]["tokens"]
    if rng is None:
        return example
    example["person_id"] = np.int32(record["person_id"])
    example["image_id"] = np.int32(record["image_id"])
    for name in ("words", "attributes"):
        if name in record["text"]:
            example[name] = record["text"][name]
    if settings.phrases:
        found = record["text"]["phrase_words"]
        present = np.flatnonzero((found >= 0).any(axis=1))
        absent = np.flatnonzero((found < 0).all(axis=1))
        order = np.concatenate([rng.permutation(present), absent])
        if len(order) < settings.phrases:
            raise ValueError(f"at most {len(found)} phrases a caption, asked {settings.phrases}")
        rows = np.sort(order[: settings.phrases])
        example["phrase_tokens"] = record["text"]["phrase_tokens"][rows]
        example["phrase_words"] = found[rows]
    return example
