"""Filter inferability: reference and words together say which outfit is meant, none alone does.

Counted in looks of the set, because all images of a person in an outfit are right answers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxreid.data.triplet_maker.reading import Phrase
from jaxreid.data.triplet_maker.records import Looks
from jaxreid.data.triplet_maker.scheme import Scheme
from jaxreid.data.triplet_maker.verdict import Verdict


class Answers(NamedTuple):
    """How many looks of the set a query leaves, the target's among them."""

    words: int  # that the words are true of
    reference: int  # of the reference's body in another outfit
    both: int  # of that body that the words are true of, as near to the reference as the target


class AnswerLimits(NamedTuple):
    """What the numbers of answers must be."""

    fewest_by_words: int  # words alone must leave several
    fewest_by_reference: int  # so must the reference alone
    most_by_both: int  # both together few


def count_answers(
    looks: Looks,
    scheme: Scheme,
    same_body: np.ndarray,
    reference: int,
    target: int,
    phrases: Sequence[Phrase],
) -> Answers:
    """Returns how many looks the words, the reference, and both leave.

    What the words do not tell stays as on the reference: of the looks that the words are true of,
    those count for both that differ from it in no more untold attributes than the target does.
    An unknown attribute excludes nothing.

    Args:
      looks: of the set.
      scheme: roles of the attributes.
      same_body: bool[m], looks of the reference's body.
      reference: look of the reference.
      target: look of the target.
      phrases: from `reading.read`, of the words.
    """
    satisfied = np.ones(len(looks.first), bool)
    told: set[str] = set()
    for phrase in phrases:
        satisfied &= _holds(looks, phrase)
        told |= {scheme.outfit[name] for name in phrase.attributes()}
    untold = [looks.names.index(name) for name, part in scheme.outfit.items() if part not in told]
    codes = looks.codes[:, untold]
    known = (codes >= 0) & (codes[reference] >= 0)
    distance = (known & (codes != codes[reference])).sum(axis=1)
    others = same_body & (np.arange(len(satisfied)) != reference)
    return Answers(
        words=int(satisfied.sum()),
        reference=int(others.sum()),
        both=int((same_body & satisfied & (distance <= distance[target])).sum()),
    )


def inferability(answers: Answers, limits: AnswerLimits) -> Verdict:
    """Returns the verdict on a query; the score is 1 / looks that reference and words leave.

    Args:
      answers: from `count_answers`.
      limits: of each count.
    """
    score = 1 / answers.both if answers.both else 0.0
    checks = (
        ("both", answers.both >= 1, "no look has the reference's body and what the words tell"),
        (
            "both",
            answers.both <= limits.most_by_both,
            f"reference and words leave {answers.both} looks > {limits.most_by_both}",
        ),
        (
            "words alone",
            answers.words >= limits.fewest_by_words,
            f"the words alone leave {answers.words} looks < {limits.fewest_by_words}",
        ),
        (
            "reference alone",
            answers.reference >= limits.fewest_by_reference,
            f"the reference alone leaves {answers.reference} looks < {limits.fewest_by_reference}",
        ),
    )
    for measure, holds, reason in checks:
        if not holds:
            return Verdict("inferability", score, False, reason, measure)
    return Verdict("inferability", score, True, "", "both")


def _holds(looks: Looks, phrase: Phrase) -> np.ndarray:
    """bool[m], the looks that a phrase may be true of."""
    result = np.zeros(len(looks.first), bool)
    for claims in phrase.readings:
        reading = np.ones(len(looks.first), bool)
        for name, values in claims:
            if name in looks.names:  # else it is unknown everywhere
                allowed = [value in values for value in looks.values[looks.names.index(name)]]
                # The last place is what the code -1, unknown, looks up.
                reading &= np.array([*allowed, True])[looks.column(name)]
        result |= reading
    return result
