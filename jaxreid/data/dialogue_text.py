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
    # What separates a system sentence and an opening, a question, and an answer from what follows.
    breaks: tuple[str, str, str] = (" ", " ", " ")
    keep: str = "newest"  # | "oldest": which words stay where a network reads no more


def dialogue_texts(dialogue: Dialogue, wording: Wording) -> list[str]:
    """Returns what stands before the first round, and the text of each round; "" for nothing.

    They have no break at their end: a dialogue ends with its last word.
    """

    def line(*words: str) -> str:
        return clean(" ".join(words), wording.clean, None)

    parts = [wording.breaks[0].join(filter(None, (line(wording.system), line(dialogue.opening))))]
    for question, answer in dialogue.rounds:
        lines = (line(wording.question, question), line(wording.answer, answer))
        parts.append(wording.breaks[1].join(lines).strip())
    return parts


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
      rounds i32[C, S], from which a token is read: from 1, 0 for what stands before, -1 on padding;
      turns i32[C], how many rounds a dialogue has.
      Where a line break changes the token before it, both forms are there: -2 - n in rounds is the
      form that ends a dialogue after round n, read there alone.

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
    parts = _encode_parts(tokenizer, texts, number, wording)
    lengths = np.bincount(owner, [len(ids) for ids, _ in parts], len(dialogues)).astype(int)
    tokens = np.zeros((len(dialogues), int(lengths.max(initial=1))), np.int32)
    rounds = np.full_like(tokens, -1)
    end = np.zeros(len(dialogues), int)
    for i, (ids, read) in zip(owner, parts, strict=True):
        tokens[i, end[i] : end[i] + len(ids)] = ids
        rounds[i, end[i] : end[i] + len(ids)] = read
        end[i] += len(ids)
    turns = np.array([len(dialogue.rounds) for dialogue in dialogues], np.int32)
    special = 1 if tokenizer.sep_id < 0 else 2
    _log_cut(rounds, turns, max_tokens - special, wording.keep)
    return {"tokens": tokens, "rounds": rounds, "turns": turns}


def read_columns(rounds: np.ndarray, turn: int) -> int:
    """Returns how many columns hold all that is read of dialogues up to a round; at least 1.

    Args:
      rounds: i32[C, S] of `encode_dialogues`.
      turn: round, >= 0; shorter dialogues are read whole.
    """
    read = (rounds != -1) & (rounds <= turn) & (rounds >= -2 - turn)
    return int((read * np.arange(1, rounds.shape[1] + 1)).max(initial=1))


def _encode_parts(
    tokenizer: Tokenizer, texts: Sequence[str], number: Sequence[int], wording: Wording
) -> list[tuple[list[int], list[int]]]:
    """Tokens of each part of a dialogue, given its round, and what `rounds` says of them."""
    last = [encoding.ids for encoding in encode_texts(tokenizer, texts)]
    followed = last
    if any(text != " " for text in wording.breaks):
        broken = [
            text + wording.breaks[2 if turn else 0]
            for text, turn in zip(texts, number, strict=True)
        ]
        followed = [encoding.ids for encoding in encode_texts(tokenizer, broken)]
    parts = []
    for turn, end, more in zip(number, last, followed, strict=True):
        most = min(len(end), len(more))
        same = next((i for i in range(most) if end[i] != more[i]), most)
        ends, goes_on = end[same:], more[same:]
        read = [turn] * same + [-2 - turn] * len(ends) + [turn + 1] * len(goes_on)
        parts.append((end + goes_on, read))
    return parts


def _check(number: int, dialogue: Dialogue, wording: Wording) -> None:
    """Refuses a dialogue that says nothing, and a round of which a part does."""
    if not dialogue.rounds and not clean(dialogue.opening, wording.clean, None):
        raise CaptionError(number, "has neither a round nor an opening")
    for turn, part in enumerate(dialogue.rounds, start=1):
        for name, text in part._asdict().items():
            if not clean(text, wording.clean, None):
                raise CaptionError(number, f"has no words in the {name} of round {turn}: {text!r}")


def _log_cut(rounds: np.ndarray, turns: np.ndarray, room: int, keep: str) -> None:
    """Says how many dialogues do not fit whole, and what of them is left out at their end."""
    rounds = np.where(rounds == -2 - turns[:, None], turns[:, None], rounds)  # how each ends
    read = (rounds >= 0) & (rounds <= turns[:, None])
    lengths = read.sum(axis=1)
    cut = [rounds[i][read[i]] for i in np.flatnonzero(lengths > room)]
    if not cut:
        return
    if keep == "newest":
        last = max(row[len(row) - room - 1] for row in cut)
        what = f"the newest words stay, the oldest are left out, at most up to round {last}"
    else:
        first = min(row[room] for row in cut)
        what = f"the oldest words stay, the newest are left out, at the earliest from round {first}"
    logging.warning(
        "%d of %d dialogues are longer than %d tokens (the longest: %d): %s",
        len(cut), len(rounds), room, lengths.max(), what,
    )  # fmt: skip
