"""Which attributes are of the body, and which of which part of the outfit."""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

# Attributes with these names, or that begin with one and "_" (hair_color), are of the body.
BODY = ("gender", "age", "skin", "build", "height", "hair", "glasses", "beard")
_ALSO = {"sleeves": "top"}  # attributes of a part that do not begin with its name


class Part(NamedTuple):
    """A part of the outfit; its attributes are NAME or NAME_type (the kind) and NAME_..."""

    name: str
    noun: str  # for a table that does not say the kind
    carried: bool = False  # else worn


# In the order in which they are told.
PARTS = (
    Part("outer", "jacket"),
    Part("top", "top"),
    Part("bottom", "bottoms"),
    Part("shoes", "shoes"),
    Part("hat", "hat"),
    Part("scarf", "scarf"),
    Part("cape", "cape"),
    Part("belt", "belt"),
    Part("backpack", "backpack", carried=True),
    Part("handbag", "handbag", carried=True),
    Part("bag", "bag", carried=True),
    Part("held", "object", carried=True),
)


class Scheme(NamedTuple):
    """The roles of the attributes of a table."""

    body: tuple[str, ...]
    outfit: Mapping[str, str]  # attribute -> name of its part

    def of(self, part: str) -> tuple[str, ...]:
        """The attributes of a part, its kind first."""
        return tuple(
            sorted(
                (name for name, owner in self.outfit.items() if owner == part),
                key=lambda name: (name not in kinds(part), name),
            )
        )

    def kind(self, part: str) -> str | None:
        """The attribute that says the kind of a part; None if the table has none."""
        return next((name for name in self.outfit if name in kinds(part)), None)

    def color(self, part: str) -> str | None:
        """The attribute that says the colour of a part; None if the table has none."""
        return next((name for name in self.outfit if name == f"{part}_color"), None)


def make_scheme(attributes: Iterable[str], body: Collection[str] = ()) -> Scheme:
    """Returns the roles of attributes, by their names.

    Args:
      attributes: names in the table.
      body: attributes that say whose body it is, if not those that `BODY` tells. An attribute of
        `BODY` that is not among them has no role.

    Raises:
      ValueError: an attribute has no role, `body` names one that is not there, or none is of the
        body or of the outfit.
    """
    attributes = sorted(attributes)
    for name in body:
        if name not in attributes:
            raise ValueError(f"body names {name!r}, the attributes are {', '.join(attributes)}")
    chosen, outfit = [], {}
    for name in attributes:
        part = part_of(name)
        if name in body or (not body and _begins(name, BODY)):
            chosen.append(name)
        elif part:
            outfit[name] = part
        elif not _begins(name, BODY):
            raise ValueError(
                f"attribute {name!r} is neither of the body ({', '.join(BODY)}) nor of a part of "
                f"the outfit ({', '.join(part.name for part in PARTS)}); "
                "name it among those of the body or among those to ignore"
            )
    if not chosen or not outfit:
        raise ValueError(
            "triplets need an attribute of the body and one of the outfit, "
            f"got {', '.join(attributes) or 'none'}"
        )
    return Scheme(tuple(chosen), outfit)


def part_of(attribute: str) -> str | None:
    """Returns the part that an attribute is of, by its name, or None."""
    if attribute in _ALSO:
        return _ALSO[attribute]
    return next((part.name for part in PARTS if _begins(attribute, (part.name,))), None)


def kinds(part: str) -> tuple[str, str]:
    """Returns the names of the attribute that says the kind of a part."""
    return part, f"{part}_type"


def _begins(name: str, stems: Iterable[str]) -> bool:
    """Whether a name is one of the stems or begins with one and "_"."""
    return any(name == stem or name.startswith(f"{stem}_") for stem in stems)
