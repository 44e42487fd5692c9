"""Dialogues as files hold them: the form of prepared data, and the chats of ChatPedes.

A chat is a list of rounds, a round is [{"from": "gpt", "value": question}, {"from": "user",
"value": answer}]. It has no place for an opening.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxreid.data.dialogues import Dialogue, Round
from jaxreid.data.json_records import show, string
from jaxreid.data.records import AnnotationError

_SPEAKERS = ("gpt", "user")  # who asks, and who answers


def to_json(dialogues: Sequence[Dialogue]) -> list[dict[str, Any]]:
    """Returns dialogues as prepared data keeps them: {"opening", "rounds"}, a round a pair."""
    return [
        {"opening": dialogue.opening, "rounds": [list(one) for one in dialogue.rounds]}
        for dialogue in dialogues
    ]


def from_json(stored: Sequence[dict[str, Any]]) -> tuple[Dialogue, ...]:
    """Returns the dialogues of `to_json`."""
    return tuple(
        Dialogue(tuple(Round(*one) for one in dialogue["rounds"]), dialogue["opening"])
        for dialogue in stored
    )


def to_chat(dialogue: Dialogue) -> list[list[dict[str, str]]]:
    """Returns the rounds of a dialogue as a chat.

    Raises:
      ValueError: the dialogue has an opening.
    """
    if dialogue.opening:
        raise ValueError(f"a chat has no place for an opening, got {dialogue.opening!r}")
    return [
        [{"from": who, "value": text} for who, text in zip(_SPEAKERS, one, strict=True)]
        for one in dialogue.rounds
    ]


def read_chats(path: Path, index: int, key: str, value: Any) -> tuple[Dialogue, ...]:
    """Returns the dialogues of a record: a list of chats, or one chat.

    Args:
      path, index, key: file, record and key, for messages.
      value: what the key holds.

    Raises:
      AnnotationError: it holds no chat, a chat no round, or a round no question or no answer.
    """
    if not isinstance(value, list) or not value:
        raise AnnotationError(
            path, index, key, f"must be a list of chats, or one chat, got {show(value)}"
        )
    first = value[0]
    if isinstance(first, list) and first and isinstance(first[0], dict):
        value = [value]  # a round: the only chat stands there without a list around it
    return tuple(_chat(path, index, key, number, chat) for number, chat in enumerate(value))


def _chat(path: Path, index: int, key: str, number: int, chat: Any) -> Dialogue:
    """One chat."""
    if not isinstance(chat, list) or not chat:
        raise AnnotationError(
            path, index, key, f"chat {number} must be a list of rounds, got {show(chat)}"
        )
    return Dialogue(
        tuple(
            _round(path, index, key, f"chat {number}, round {turn}", one)
            for turn, one in enumerate(chat)
        )
    )


def _round(path: Path, index: int, key: str, where: str, value: Any) -> Round:
    """One round."""
    if not isinstance(value, list) or len(value) != len(_SPEAKERS):
        raise AnnotationError(
            path, index, key, f"{where} must be [question, answer], got {show(value)}"
        )
    return Round(
        *(
            _turn(path, index, key, where, who, turn)
            for who, turn in zip(_SPEAKERS, value, strict=True)
        )
    )


def _turn(path: Path, index: int, key: str, where: str, who: str, turn: Any) -> str:
    """What was said in one turn."""
    what = "question" if who == _SPEAKERS[0] else "answer"
    if not isinstance(turn, dict) or set(turn) != {"from", "value"}:
        raise AnnotationError(
            path, index, key,
            f"{where}: the {what} must be an object of 'from' and 'value', got {show(turn)}",
        )  # fmt: skip
    if turn["from"] != who:
        raise AnnotationError(
            path, index, key, f"{where}: the {what} must be from {who!r}, got {show(turn['from'])}"
        )
    text = turn["value"]
    if not isinstance(text, str) or not text.strip():
        raise AnnotationError(
            path, index, key, f"{where}: the {what} must be words, got {show(text)}"
        )
    return string(path, index, key, text)
