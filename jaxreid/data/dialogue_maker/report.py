"""Counts what was asked and how it was answered."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from jaxreid.data.dialogue_maker.maker import Plan, Turn
from jaxreid.data.synthpedes.memory import KINDS

_EXAMPLES = 2  # dialogues


class Report:
    """What was made of one split; grows with `add`."""

    def __init__(self):
        self.images = 0
        self.dialogues = 0
        self.rounds = Counter()  # rounds -> dialogues
        self.words = 0
        self.kinds: dict[str, Counter] = defaultdict(Counter)  # attribute -> kind -> answers
        self.examples: list[dict[str, Any]] = []

    def add(self, file: str, dialogues: Sequence[Sequence[Turn]]) -> None:
        """Counts the dialogues of one image."""
        self.images += 1
        for turns in dialogues:
            self.dialogues += 1
            self.rounds[len(turns)] += 1
            for turn in turns:
                self.words += len(f"{turn.question} {turn.answer}".split())
                self.kinds[turn.asked.attribute][turn.asked.kind] += 1
            if len(self.examples) < _EXAMPLES:
                lines = [f"{turn.question} {turn.answer}" for turn in turns]
                self.examples.append({"file": file, "lines": lines})

    def as_json(self, plan: Plan) -> dict[str, Any]:
        """The counts, with the stated rates beside those that came about."""
        return {
            "images": self.images,
            "dialogues": self.dialogues,
            "rounds": {str(count): self.rounds[count] for count in sorted(self.rounds)},
            "shorter_than_asked_for": self._short(plan),
            "words": self.words,
            "answers": {
                name: {
                    "asked": sum(self.kinds[name].values()),
                    "stated": plan.rates[name]._asdict(),
                    **{kind: self.kinds[name][kind] for kind in KINDS},
                }
                for name in plan.matters
            },
            "examples": self.examples,
        }

    def as_text(self, plan: Plan) -> str:
        """The same in lines to read."""
        lines = [
            f"{self.images:,} images, {self.dialogues:,} dialogues of "
            f"{min(self.rounds, default=0)} to {max(self.rounds, default=0)} rounds, "
            f"{self.words / max(self.dialogues, 1):.0f} words each; {self._short(plan):,} shorter "
            f"than {plan.rounds[0]} rounds",
            f"{'answers, % (stated)':<24}{'asked':>8}" + "".join(f"{k:>16}" for k in KINDS),
        ]
        for name in plan.matters:
            asked = sum(self.kinds[name].values())
            stated = _shares(plan.rates[name]._asdict())
            cells = [
                f"{100 * self.kinds[name][kind] / max(asked, 1):.1f} ({100 * stated[kind]:.1f})"
                for kind in KINDS
            ]
            lines.append(f"{name:<24}{asked:>8,}" + "".join(f"{cell:>16}" for cell in cells))
        for example in self.examples:
            lines += [example["file"], *(f"  {line}" for line in example["lines"])]
        return "\n".join(lines)

    def _short(self, plan: Plan) -> int:
        """Dialogues with fewer rounds than the fewest."""
        return sum(n for count, n in self.rounds.items() if count < plan.rounds[0])


def _shares(rates: Mapping[str, float]) -> dict[str, float]:
    """The share of every kind of answer."""
    return {"true": 1 - sum(rates.values()), **rates}
