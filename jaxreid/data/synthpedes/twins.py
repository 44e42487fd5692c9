"""Twins of synthpedes: another body in somebody's clothes, which only the body tells apart."""

from collections.abc import Collection, Sequence

import numpy as np

from jaxreid.data.synthpedes.attributes import VIEWS
from jaxreid.data.synthpedes.person import sample_person
from jaxreid.data.synthpedes.population import look
from jaxreid.data.synthpedes.triplets import BODY
from jaxreid.data.synthpedes.visibility import visible

_FEWEST_DIFFERENCES = 2  # of BODY, in every view: skin or build alone is seen too little


def twin(
    outfits: Sequence[dict[str, str]],
    taken: Collection[frozenset[tuple[str, str]]],
    rng: np.random.Generator,
) -> tuple[dict[str, str], ...]:
    """Returns another body of the same gender in each outfit of a person.

    From every side, at least two attributes of BODY that both pictures show differ.

    Args:
      outfits: the person in each outfit: equal in BODY, attribute -> value, without conflicts.
      taken: `look` of the people that the twin may not look like.
      rng: the only source of chance.
    """
    while True:
        other = sample_person(rng)
        if other["gender"] != outfits[0]["gender"]:  # else the outfit could conflict with the body
            continue
        body = {attribute: other[attribute] for attribute in BODY}
        twins = tuple(outfit | body for outfit in outfits)
        pairs = list(zip(outfits, twins, strict=True))
        told_apart = all(
            _differences(*pair, view) >= _FEWEST_DIFFERENCES for pair in pairs for view in VIEWS
        )
        if told_apart and not any(look(person) in taken for person in twins):
            return twins


def _differences(one: dict[str, str], other: dict[str, str], view: str) -> int:
    """How many attributes of the body differ that both pictures show."""
    shown = visible(one, view) & visible(other, view)
    return sum(one[attribute] != other[attribute] for attribute in BODY if attribute in shown)
