"""Proposes targets: the same body in another outfit."""

from collections.abc import Sequence

import numpy as np

from jaxreid.data.triplet_maker.records import Looks, Record
from jaxreid.data.triplet_maker.scheme import PARTS, Scheme


def body_groups(looks: Looks, scheme: Scheme) -> np.ndarray:
    """Returns i32[m], equal for looks whose attributes of the body are equal, unknown ones too."""
    codes = looks.codes[:, [looks.names.index(name) for name in scheme.body]]
    return np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int32)


def person_groups(looks: Looks, records: Sequence[Record]) -> np.ndarray:
    """Returns i32[m], equal for looks of one person_id, for sets where people change clothes."""
    ids = [records[first].person_id for first in looks.first]
    return np.unique(ids, return_inverse=True)[1].astype(np.int32)


def visiting_order(records: Sequence[Record], rng: np.random.Generator) -> list[int]:
    """Returns the images in a random order that shows every person once before any twice.

    Where the making is stopped early, no person has had more than one turn more than another.
    """
    turns: dict[int, int] = {}
    keyed = []
    for image in rng.permutation(len(records)).tolist():
        person = records[image].person_id
        turns[person] = turns.get(person, 0) + 1
        keyed.append((turns[person], len(keyed), image))
    return [image for _, _, image in sorted(keyed)]


def changed_parts(looks: Looks, scheme: Scheme, reference: int) -> np.ndarray:
    """Returns i32[m], in how many parts of the outfit each look is known to differ from one."""
    count = np.zeros(len(looks.first), np.int32)
    for part in PARTS:
        codes = looks.codes[:, [looks.names.index(name) for name in scheme.of(part.name)]]
        known = (codes >= 0) & (codes[reference] >= 0)
        count += (known & (codes != codes[reference])).any(axis=1)
    return count


def propose(
    changed: np.ndarray,
    same_body: np.ndarray,
    used: np.ndarray,
    changes: tuple[int, int],
    most: int,
    rng: np.random.Generator,
) -> list[int]:
    """Returns at most `most` looks to be targets, those that were targets least often first.

    Args:
      changed: i32[m], from `changed_parts` of the reference's look.
      same_body: bool[m], looks of the reference's body.
      used: i32[m], how often each look was a target.
      changes: the fewest and the most parts that may differ; at least 1.
      most: looks.
      rng: orders looks used equally often.

    Raises:
      ValueError: changes is no range of parts.
    """
    if not 1 <= changes[0] <= changes[1]:
        raise ValueError(f"changes must be 1 <= fewest <= most, got {changes[0]} and {changes[1]}")
    fit = np.flatnonzero(same_body & (changed >= changes[0]) & (changed <= changes[1]))
    fit = fit[rng.permutation(len(fit))]
    return fit[np.argsort(used[fit], kind="stable")][:most].tolist()
