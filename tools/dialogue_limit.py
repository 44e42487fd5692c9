"""How far the dialogues of synthpedes can tell people apart: R@1 of who knows all but the words.

    python tools/dialogue_limit.py --variant chat

An observer who knows the attributes that every image shows, and how well witnesses remember each,
gives every image the probability of all that was told up to a round, or not remembered, and ranks
by it. Attributes are taken as remembered independently, and each counts once however often it is
told. Images are not looked at and words not read: it is a yardstick for a search by both, which
sees less in an image, and reads words that may mean several values; no proven bound.
"""

import argparse
import copy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jaxreid.data.synthpedes.attributes import VALUES
from jaxreid.data.synthpedes.builder import Synthpedes
from jaxreid.data.synthpedes.dialogue import DIALOGUES, converse, witness
from jaxreid.data.synthpedes.memory import RATES, mistakable
from jaxreid.data.synthpedes.pictures import Picture, dialogue_rng, plan
from jaxreid.data.synthpedes.visibility import visible
from jaxreid.metrics import first_ranks
from jaxreid.round_metrics import round_metrics

# Probability of what an image does not explain: another image of the same person may.
_UNEXPLAINED = 1e-4
_TOLD, _NOT_TOLD = ("true", "wrong"), ("vague", "unknown")


def main(arguments: list[str] | None = None) -> int:
    """Prints the table; returns the exit code."""
    variants = {config.name: config for config in Synthpedes.BUILDER_CONFIGS}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variant", default="chat", choices=sorted(variants), help="of synthpedes")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument("--rounds", type=int, default=5, help="of every dialogue, the first ones")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        print(f"error: --rounds must be >= 1, got {options.rounds}", file=sys.stderr)
        return 2
    config = variants[options.variant]
    people = {"train": config.train, "val": config.val, "test": config.test}
    pictures = plan(config.seed, people, config.changed, config.twins)[options.split]
    found = limit(pictures, options.rounds)
    print(f"{DIALOGUES * len(pictures)} dialogues, {len(pictures)} images")
    print("| after rounds | R1 | R5 | R10 | mAP |\n|---|---|---|---|---|")
    for turn, scores in enumerate(
        zip(*(found[n] for n in ("R1", "R5", "R10", "mAP")), strict=True)
    ):
        print(f"| {turn} |", " | ".join(f"{score:.2f}" for score in scores), "|")
    return 0


def limit(pictures: Sequence[Picture], rounds: int) -> Mapping[str, list[float] | float]:
    """Returns the scores of `round_metrics` after 0 .. rounds rounds.

    Args:
      pictures: the gallery; what is told of each is asked for.
      rounds: read of each dialogue; a shorter one stays as it is.
    """
    likelihood = log_likelihood([_look(picture) for picture in pictures])
    ties = np.random.default_rng(0).uniform(0.0, 1e-9, len(pictures))
    person_id = np.array([picture.person_id for picture in pictures])
    ranks, precision = [], []
    for picture in pictures:
        for told in conversations(picture):
            scores, counted = [ties], set()
            for turn in range(rounds):
                recalled = told[turn] if turn < len(told) else {}
                new = [one for one in recalled.items() if one[0] not in counted]
                counted |= recalled.keys()  # a witness who is asked again says the same
                scores.append(scores[-1] + sum(likelihood[one] for one in new))
            asked = np.full(rounds + 1, picture.person_id)
            of_turn, average = first_ranks(np.stack(scores), asked, person_id)
            ranks.append(of_turn)
            precision.append(average)
    return round_metrics(np.stack(ranks, axis=1), np.stack(precision, axis=1))


def conversations(picture: Picture) -> list[list[dict[str, str]]]:
    """Returns what each round of the dialogues of a picture tells: attribute -> value, or kind.

    Wrong values are as they are told; the kind "vague" or "unknown" is there for what is not.
    """
    rng, found = dialogue_rng(picture), []
    for _ in range(DIALOGUES):
        # What a conversation begins with.
        memory = witness(picture.person, picture.view, copy.deepcopy(rng))
        rounds = converse(picture.person, picture.view, rng)
        found.append([
            {a: memory[a].value if kind in _TOLD else kind
             for a, kind in one.recalled.items() if kind in _TOLD + _NOT_TOLD}
            for one in rounds
        ])  # fmt: skip
    return found


def log_likelihood(looks: Sequence[Mapping[str, str]]) -> dict[tuple[str, str], np.ndarray]:
    """Returns (attribute, what is told) -> log probability given each look, f64[N].

    Args:
      looks: N of attribute -> value, what an image shows.
    """
    table = {
        (attribute, told): np.full(len(looks), _UNEXPLAINED)
        for attribute in RATES
        for told in (*VALUES[attribute], *_NOT_TOLD)
    }
    for i, look in enumerate(looks):
        for attribute, truth in look.items():
            rates, others = RATES[attribute], mistakable(attribute, look)
            chances = {"vague": rates.vague, "unknown": rates.unknown, truth: 1.0 - sum(rates)}
            if not others:  # a mistake that cannot be made is none
                chances[truth] += rates.wrong
            for value, weight in others.items():
                chances[value] = rates.wrong * weight / sum(others.values())
            for told, chance in chances.items():
                table[attribute, told][i] = max(chance, _UNEXPLAINED)
    return {key: np.log(chance) for key, chance in table.items()}


def _look(picture: Picture) -> dict[str, str]:
    """What an image shows."""
    return {a: picture.person[a] for a in visible(picture.person, picture.view)}


if __name__ == "__main__":
    sys.exit(main())
