"""Dialogues as token ids with the round that each token belongs to; on the host, once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from jaxreid.data.dialogues import Dialogue
from jaxreid.data.records import CaptionError
from jaxreid.data.text import Tokenizer, clean, encode_texts


class Wording(NamedTuple):
    """How a dialogue is written out."""

    system: str  # what stands before every dialogue
    question: str  # what stands before a question
    answer: str  # and before an answer
    clean: str  # style of `text.clean`


def dialogue_texts(dialogue: Dialogue, wording: Wording) -> list[str]:
    """Returns what stands before the first round, and the text of each round; "" for nothing."""
    before = " ".join(filter(None, (wording.system, dialogue.opening)))
    parts = [before]
    for question, answer in dialogue.rounds:
        parts.append(f"{wording.question} {question} {wording.answer} {answer}".strip())
    return [clean(part, wording.clean, None) for part in parts]


def encode_dialogues(
    tokenizer: Tokenizer, dialogues: Sequence[Dialogue], wording: Wording, max_tokens: int
) -> dict[str, np.ndarray]:
    """Returns all tokens of dialogues, whatever part of them a step reads.

    Args:
      tokenizer: from `load_tokenizer`.
      dialogues: each with a round, or an opening, at least.
      wording: how they are written out.
      max_tokens: L, of what a network reads at once; longer dialogues are counted in the log.

    Returns:
      tokens i32[C, S] without special tokens, S that of the longest dialogue, padded with 0;
      rounds i32[C, S], from 1, that a token belongs to, 0 before the first, -1 on padding;
      turns i32[C], how many rounds a dialogue has.

    Raises:
      CaptionError: a dialogue has neither round nor opening, or a question or an answer without
        words.
    """
    texts, owner, number = [], [], []
    for i, dialogue in enumerate(dialogues):
        _check(i, dialogue, wording)
        for turn, text in enumerate(dialogue_texts(dialogue, wording)):
            if text:
                texts.append(text)
                owner.append(i)
                number.append(turn)
    ids = [encoding.ids for encoding in encode_texts(tokenizer, texts)]
    lengths = np.bincount(owner, [len(row) for row in ids], len(dialogues)).astype(int)
    tokens = np.zeros((len(dialogues), int(lengths.max(initial=1))), np.int32)
    rounds = np.full_like(tokens, -1)
    end = np.zeros(len(dialogues), int)
    for i, turn, row in zip(owner, number, ids, strict=True):
        tokens[i, end[i] : end[i] + len(row)] = row
        rounds[i, end[i] : end[i] + len(row)] = turn
        end[i] += len(row)
    turns = np.array([len(dialogue.rounds) for dialogue in dialogues], np.int32)
    _log_cut(rounds, lengths, max_tokens - 2)
    return {"tokens": tokens, "rounds": rounds, "turns": turns}


def _check(number: int, dialogue: Dialogue, wording: Wording) -> None:
    """Refuses a dialogue that says nothing, and a round of which a part does."""
    if not dialogue.rounds and not clean(dialogue.opening, wording.clean, None):
        raise CaptionError(number, "has neither a round nor an opening")
    for turn, part in enumerate(dialogue.rounds, start=1):
        for name, text in part._asdict().items():
            if not clean(text, wording.clean, None):
                raise CaptionError(number, f"has no words in the {name} of round {turn}: {text!r}")


def _log_cut(rounds: np.ndarray, lengths: np.ndarray, room: int) -> None:
    """Says how many dialogues do not fit whole, and what of them is left out at their end."""
    cut = np.flatnonzero(lengths > room)
    if not len(cut):
        return
    last = rounds[cut, lengths[cut] - room - 1]
    logging.warning(
        "%d of %d dialogues are longer than %d tokens (the longest: %d): the newest words stay, "
        "the oldest are left out, at most up to round %d",
        len(cut), len(rounds), room, lengths.max(), last.max(),
    )  # fmt: skip
