"""People of synthpedes: drawn as a population with families of look-alikes."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from jaxreid.data.synthpedes.attributes import VIEWS, conflicts
from jaxreid.data.synthpedes.person import pick, sample_person
from jaxreid.data.synthpedes.visibility import visible

# What the members of a family may differ in: one to three attributes, never skin or build alone.
_FAMILY_DIFFERENCES = (
    ("top_color",), ("top_pattern", "top_color2"), ("top_color", "top_type"), ("sleeves",),
    ("outer_color",), ("outer_type", "outer_color"), ("outer_type", "outer_color", "outer_open"),
    ("bottom_color",), ("bottom_type",), ("bottom_type", "bottom_color"),
    ("top_color", "bag_color"), ("top_color", "bottom_color"), ("shoes_color",), ("shoes_type",),
    ("shoes_type", "shoes_color"),
    ("bag_color",), ("bag_type", "bag_color"), ("bag_type", "bag_color", "bag_side"),
    ("hat_type", "hat_color"), ("hair_color",), ("hair_length", "hair_style"),
    ("hair_color", "hat_type", "hat_color"), ("scarf_color",), ("bottom_color", "shoes_color"),
    ("top_color", "bottom_color", "shoes_color"), ("bottom_type", "shoes_type", "shoes_color"),
)  # fmt: skip
_FAMILY_SIZES = (2, 6)
_MOST_VIEWS = 3  # of the four
_TRIES = 300  # members to try before another family is begun


class Population(NamedTuple):
    """n people; those of one family look alike and belong into one split."""

    people: tuple[dict[str, str], ...]
    family: np.ndarray  # i32[n], 0.. without gaps, ascending; most families have one member


def sample_population(
    rng: np.random.Generator, people: int, look_alikes: float = 0.6
) -> Population:
    """Returns a population in which no two people look the same from all sides.

    The members of a family of 2 to 6 have equal attributes except one to three, and each two of
    them differ in one that is seen from most views.

    Args:
      rng: the only source of chance.
      people: how many, >= 1.
      look_alikes: share of the people that live in families, in [0, 1].

    Raises:
      ValueError: people < 1 or look_alikes outside [0, 1].
    """
    if people < 1:
        raise ValueError(f"people must be >= 1, got {people}")
    if not 0 <= look_alikes <= 1:
        raise ValueError(f"look_alikes must be in [0, 1], got {look_alikes}")
    sizes = _family_sizes(rng, people, round(people * look_alikes))
    looks: set[frozenset] = set()
    families: list[list[dict[str, str]]] = []
    while len(families) < len(sizes):
        members = _sample_family(rng, sizes[len(families)])
        new = {look(person) for person in members}
        if not new & looks:
            looks |= new
            families.append(members)
    return Population(
        tuple(person for members in families for person in members),
        np.repeat(np.arange(len(sizes), dtype=np.int32), sizes),
    )


def split_population(
    rng: np.random.Generator, family: np.ndarray, people: dict[str, int]
) -> dict[str, np.ndarray]:
    """Returns i32[people[split]] for each split, ascending indices of people, no family in two.

    Args:
      rng: the only source of chance.
      family: i32[n], as in Population.
      people: split -> number of people; the sum must be n.

    Raises:
      ValueError: the numbers do not add up to n, or the families do not fit into the splits.
    """
    if sum(people.values()) != len(family):
        raise ValueError(f"people must add up to {len(family)}, got {people}")
    order = rng.permutation(family.max() + 1)
    sizes = np.bincount(family)
    taken: dict[str, list[int]] = {split: [] for split in people}
    for index in sorted(order, key=lambda i: -sizes[i]):  # single people last: they fill the rest
        room = {split: people[split] - len(taken[split]) for split in people}
        fitting = [split for split in people if room[split] >= sizes[index]]
        if not fitting:
            raise ValueError(f"a family of {sizes[index]} does not fit into the splits {people}")
        # In proportion to the room, so that every split gets its share of look-alikes.
        split = pick(rng, {split: room[split] for split in fitting})
        taken[split] += np.flatnonzero(family == index).tolist()
    return {split: np.array(sorted(taken[split]), np.int32) for split in people}


def look(person: dict[str, str]) -> frozenset[tuple[str, str]]:
    """Returns (attribute, value) of all that is seen of the person from some side."""
    seen = frozenset().union(*(visible(person, view) for view in VIEWS))
    # These three are seen, but too little for two people to differ in nothing else.
    return frozenset((a, person[a]) for a in seen - {"skin", "build", "beard"})


def _sample_family(rng: np.random.Generator, size: int) -> list[dict[str, str]]:
    """Draws `size` people who differ in the attributes of one row of _FAMILY_DIFFERENCES."""
    while True:
        first = sample_person(rng)
        differing = _FAMILY_DIFFERENCES[rng.integers(len(_FAMILY_DIFFERENCES))]
        members = [first]
        for _ in range(_TRIES):
            if len(members) == size:
                return members
            other = sample_person(rng)
            member = first | {attribute: other[attribute] for attribute in differing}
            if not conflicts(member) and all(_differ(member, m, differing) for m in members):
                members.append(member)


def _differ(one: dict[str, str], other: dict[str, str], attributes: Iterable[str]) -> bool:
    """True if one of the attributes differs and is seen from most views of one of the two."""
    return any(
        one[a] != other[a]
        and any(sum(a in visible(p, v) for v in VIEWS) >= _MOST_VIEWS for p in (one, other))
        for a in attributes
    )


def _family_sizes(rng: np.random.Generator, people: int, in_families: int) -> list[int]:
    """Draws sizes that add up to `people`; those above 1 to `in_families` (or 1 off)."""
    low, high = _FAMILY_SIZES
    sizes = []
    left = in_families
    while left >= low:
        size = min(int(rng.integers(low, high + 1)), left)
        sizes.append(size)
        left -= size
    return sizes + [1] * (people - sum(sizes))
