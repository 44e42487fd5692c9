"""Dialogues as inputs of a network: their tokens, and which rounds of them are read."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.data.dialogue_text import Wording, encode_dialogues
from jaxreid.data.dialogues import Dialogue
from jaxreid.data.images import read_augmentation
from jaxreid.data.llama import load_llama
from jaxreid.data.text import STYLES, Tokenizer, load_tokenizer
from jaxreid.methods import Example, Record
from jaxreid.streams.captions import read_tokenizer
from jaxreid.streams.pixels import PixelSettings, pixels, read_pixel_settings

# What is said of people: their dialogues, dialogues that open with a caption, their captions as
# dialogues of no round, or their dialogues and their captions.
SOURCES = ("dialogues", "both", "captions", "mixed")
# Which words stay of a dialogue that is longer than what a network reads.
KEEP = ("newest", "oldest")


class DialogueInput(NamedTuple):
    """The host functions of a method that searches by a dialogue."""

    tokenize: Callable[[Sequence[Dialogue]], dict[str, np.ndarray]]
    transform: Callable[[Record, np.random.Generator | None], Example]
    vocabulary: int  # V
    words: int  # ids below are words; above are special tokens that a text never holds
    cls_id: int  # token ids of [CLS], [SEP] and [MASK]
    end_id: int  # -1 where nothing ends a text
    mask_id: int


def dialogue_input(config) -> DialogueInput:
    """Returns the host functions of the sections `image`, `text` and `dialogue` of a config.

    `tokenize` gives what `encode_dialogues` does. `transform` gives image u8[h, w, 3], tokens and
    rounds i32[S], and turn i32, the rounds that may be read: those that the record has in "turn",
    or all of them; for training also person_id and image_id.
    """
    tokenizer = read_tokenizer(config.text.tokenizer, _loader(config))
    d = config.dialogue
    wording = Wording(d.system, d.question, d.answer, config.text.clean, tuple(d.breaks), d.keep)
    return DialogueInput(
        tokenize=partial(
            _tokenize, tokenizer=tokenizer, wording=wording, max_tokens=config.text.max_tokens
        ),
        transform=partial(_transform, settings=read_pixel_settings(config)),
        vocabulary=tokenizer.vocabulary_size,
        words=tokenizer.backend.get_vocab_size(),
        cls_id=tokenizer.cls_id,
        end_id=tokenizer.sep_id,
        mask_id=tokenizer.mask_id,
    )


def check_dialogues(config) -> None:
    """Raises what `dialogue_input` would, as far as neither data nor its vocabulary is needed."""
    read_augmentation(config)
    d = config.dialogue
    if d.source not in SOURCES:
        raise ValueError(f"dialogue.source must be one of {', '.join(SOURCES)}, got {d.source!r}")
    if d.keep not in KEEP:
        raise ValueError(f"dialogue.keep must be one of {', '.join(KEEP)}, got {d.keep!r}")
    blank = [isinstance(text, str) and text.isspace() for text in d.breaks]
    if len(d.breaks) != 3 or not all(blank):
        raise ValueError(
            "dialogue.breaks must be three texts of white space, behind what stands before, a "
            f"question and an answer, got {tuple(d.breaks)}"
        )
    for field in ("rounds", "per_image", "curve"):
        if d[field] < 0:
            raise ValueError(f"dialogue.{field} must be >= 0, got {d[field]}")
    if config.text.clean not in STYLES:
        raise ValueError(
            f"text.clean must be one of {', '.join(STYLES)}, got {config.text.clean!r}"
        )
    if config.text.max_tokens < 3:
        raise ValueError(f"text.max_tokens must be at least 3, got {config.text.max_tokens}")
    if config.text.tokenizer:
        read_tokenizer(config.text.tokenizer, _loader(config))


def retained(
    tokens: jax.Array,
    rounds: jax.Array,
    turn: jax.Array,
    *,
    length: int,
    cls_id: int,
    end_id: int,
    keep: str,
) -> tuple[jax.Array, jax.Array]:
    """Returns [CLS] the first rounds of each dialogue [SEP] [PAD].., and what is no padding.

    Args:
      tokens: i32[B, S] of `encode_dialogues`.
      rounds: i32[B, S] of `encode_dialogues`.
      turn: i32[B], rounds that are kept; 0 keeps what stands before the first.
      length: L.
      cls_id: token id of [CLS].
      end_id: token id of [SEP]; -1 ends a text with its last word.
      keep: of a text that is longer the "newest" words stay, or the "oldest".

    Returns:
      i32[B, L] tokens, 0 on padding; bool[B, L], False there.
    """
    turn = turn[:, None]
    read = ((rounds >= 0) & (rounds <= turn)) | (rounds == -2 - turn)
    tokens = jnp.take_along_axis(tokens, jnp.argsort(~read, axis=1, stable=True), axis=1)
    ended = int(end_id >= 0)
    kept = read.sum(axis=1, keepdims=True)  # [B, 1]
    shown = jnp.minimum(kept, length - 1 - ended)
    place = jnp.arange(length)[None, :]
    source = place - 1 + (kept - shown if keep == "newest" else 0)
    words = jnp.take_along_axis(tokens, jnp.clip(source, 0, tokens.shape[1] - 1), axis=1)
    out = jnp.where(place <= shown, words, 0)
    if ended:
        out = jnp.where(place == shown + 1, end_id, out)
    return out.at[:, 0].set(cls_id), place <= shown + ended


def random_turn(rng: jax.Array, turns: jax.Array, fewest: int) -> jax.Array:
    """Returns i32[B], how many rounds stay by Random Round Retaining: uniform in fewest .. turns.

    Args:
      rng: key.
      turns: i32[B], rounds of each dialogue; with less than `fewest` all of them stay.
      fewest: 1 in the release; 0 where an opening stands before the first round.
    """
    low = jnp.minimum(fewest, turns)
    drawn = jnp.floor(jax.random.uniform(rng, turns.shape) * (turns - low + 1))
    return jnp.minimum(low + drawn.astype(turns.dtype), turns)


def _loader(config) -> Callable[[str], Tokenizer]:
    """What reads the vocabulary of the text encoder."""
    return load_llama if config.model.text_encoder == "llama" else load_tokenizer


def _tokenize(
    dialogues: Sequence[Dialogue], *, tokenizer, wording: Wording, max_tokens: int
) -> dict[str, np.ndarray]:
    """`Method.tokenize`."""
    return encode_dialogues(tokenizer, dialogues, wording, max_tokens)


def _transform(
    record: Record, rng: np.random.Generator | None, *, settings: PixelSettings
) -> Example:
    """`Method.transform`."""
    example = {}
    if "image" in record:
        example["image"] = pixels(record["image"], rng, settings)
    if "text" in record:
        text = record["text"]
        example |= {name: text[name] for name in ("tokens", "rounds")}
        example["turn"] = np.int32(min(record.get("turn", text["turns"]), text["turns"]))
    if rng is not None:
        example["person_id"] = np.int32(record["person_id"])
        example["image_id"] = np.int32(record["image_id"])
    return example
