"""What a conversation about a person is, once read: the same for every data set."""

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
