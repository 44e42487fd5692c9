"""What a conversation about a person is, once read: the same for every data set."""

from collections.abc import Sequence
from typing import NamedTuple


class Round(NamedTuple):
    """One question with its answer."""

    question: str
    answer: str


class Dialogue(NamedTuple):
    """What a witness says of a person: at first, and then asked."""

    rounds: tuple[Round, ...]
    opening: str = ""  # a first description; "" where a dialogue begins with a question

    def first(self, rounds: int) -> "Dialogue":
        """Returns the opening and the first so many rounds."""
        return self._replace(rounds=self.rounds[:rounds])

    def plain(self) -> str:
        """Returns all that is said as one line."""
        return " ".join(filter(None, (self.opening, *(text for r in self.rounds for text in r))))


def as_openings(captions: Sequence[Sequence[str]]) -> tuple[tuple[Dialogue, ...], ...]:
    """Returns captions as dialogues that end with their opening."""
    return tuple(tuple(Dialogue((), text) for text in texts) for texts in captions)


def with_openings(
    dialogues: Sequence[Sequence[Dialogue]], captions: Sequence[Sequence[str]]
) -> tuple[tuple[Dialogue, ...], ...]:
    """Returns dialogues that open with a caption of their image, in turn.

    Args:
      dialogues: of each image, without openings.
      captions: of each image.

    Raises:
      ValueError: an image with dialogues has no caption, or a dialogue has an opening.
    """
    opened = []
    for i, (told, texts) in enumerate(zip(dialogues, captions, strict=True)):
        if told and not texts:
            raise ValueError(f"image {i} has no caption that its dialogues could open with")
        if any(dialogue.opening for dialogue in told):
            raise ValueError(f"a dialogue of image {i} has an opening already")
        opened.append(tuple(d._replace(opening=texts[k % len(texts)]) for k, d in enumerate(told)))
    return tuple(opened)
