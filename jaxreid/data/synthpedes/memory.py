"""What a witness of synthpedes remembers of a person: truly, wrongly, vaguely or not at all.

People remember a coat better than shoes: RATES says how well each attribute is remembered. It is
the one place that says so. A policy that asks has something to win only because the rates differ.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxreid.data.synthpedes.attributes import ONLY_WOMEN, TOGETHER, VALUES, colors_close
from jaxreid.data.synthpedes.noun_phrases import Look
from jaxreid.data.synthpedes.person import pick
from jaxreid.data.synthpedes.synonyms import words_for

KINDS = ("true", "wrong", "vague", "unknown")  # of a recollection
UNSEEN = "unseen"  # of an answer about what the witness had no chance to see


class Rates(NamedTuple):
    """Shares of the witnesses; all the others tell what they saw."""

    unknown: float  # do not remember
    vague: float  # remember something of it, and that truly
    wrong: float  # tell another value, as sure as a true one


# Of the witnesses who saw the attribute. That of a part that is missing (the colour of an absent
# bag) follows the part, and so does that of a part that is told as missing.
RATES = {
    "gender": Rates(0.01, 0.0, 0.01),
    "skin": Rates(0.35, 0.15, 0.1),
    "build": Rates(0.25, 0.12, 0.1),
    "height": Rates(1.0, 0.0, 0.0),  # no picture shows it
    "hair_color": Rates(0.15, 0.12, 0.07),
    "hair_length": Rates(0.18, 0.1, 0.08),
    "hair_style": Rates(0.3, 0.1, 0.1),
    "glasses": Rates(0.3, 0.05, 0.08),
    "beard": Rates(0.25, 0.05, 0.06),
    "top_type": Rates(0.06, 0.06, 0.04),
    "top_color": Rates(0.05, 0.08, 0.05),
    "top_pattern": Rates(0.16, 0.08, 0.06),
    "top_color2": Rates(0.28, 0.15, 0.1),
    "sleeves": Rates(0.2, 0.08, 0.1),
    "outer_type": Rates(0.03, 0.03, 0.02),
    "outer_color": Rates(0.04, 0.06, 0.04),
    "outer_open": Rates(0.25, 0.08, 0.12),
    "bottom_type": Rates(0.1, 0.08, 0.05),
    "bottom_color": Rates(0.12, 0.12, 0.08),
    "shoes_type": Rates(0.4, 0.12, 0.1),
    "shoes_color": Rates(0.4, 0.15, 0.12),
    "bag_type": Rates(0.06, 0.05, 0.03),
    "bag_color": Rates(0.15, 0.12, 0.08),
    "bag_side": Rates(0.25, 0.08, 0.15),
    "hat_type": Rates(0.06, 0.04, 0.03),
    "hat_color": Rates(0.15, 0.12, 0.08),
    "scarf_color": Rates(0.14, 0.1, 0.06),
    "held": Rates(0.2, 0.08, 0.06),
    "held_side": Rates(0.3, 0.1, 0.18),
}

# Values that are taken for each other.
_ALIKE = (
    {"t-shirt", "polo", "blouse"}, {"t-shirt", "tank top"}, {"shirt", "polo", "blouse"},
    {"sweater", "hoodie"}, {"jacket", "coat"}, {"jacket", "blazer", "cardigan"}, {"vest", "jacket"},
    {"pants", "jeans", "leggings"}, {"shorts", "skirt"}, {"sneakers", "shoes", "boots"},
    {"sandals", "heels", "shoes"}, {"shoulder bag", "handbag", "backpack"},
    {"handbag", "shopping bag"}, {"cap", "hat"}, {"hat", "beanie"}, {"phone", "papers", "book"},
    {"bottle", "cup"}, {"glasses", "sunglasses"}, {"light", "tan"}, {"tan", "brown"},
    {"brown", "dark"}, {"striped", "plaid"}, {"floral", "graphic", "dotted"}, {"left", "right"},
    {"short", "medium"}, {"medium", "long"}, {"bald", "short"}, {"ponytail", "bun"},
    {"straight", "curly"}, {"slim", "average"}, {"average", "heavy"}, {"sleeveless", "short"},
)  # fmt: skip
_ALIKE_WEIGHT = 5.0  # against 1 for a value that is not alike
_ABSENT_WEIGHT = 0.5  # of a part that is told as missing, or plain
_HIDDEN_BY = {"dress"}  # nobody takes other clothes for a dress: what is worn below it is not told
# Attribute -> the part that it is a detail of.
HEADS = {
    detail: head for head, *details in TOGETHER for detail in details if head != "bottom_type"
} | {
    "top_color2": "top_pattern", "hair_color": "hair_length", "hair_style": "hair_length",
}  # fmt: skip
# Of a head: there is nothing to have the details.
ABSENT = {head: "none" for head in HEADS.values()} | {
    "top_pattern": "plain", "hair_length": "bald", "scarf_color": "none", "glasses": "none",
    "beard": "none",
}  # fmt: skip


class Recollection(NamedTuple):
    """What is remembered of one attribute."""

    kind: str  # one of KINDS
    value: str  # what is told if kind is "true" or "wrong", else the true value
    truth: str

    @property
    def firm(self) -> bool:
        """Whether a value is told."""
        return self.kind in ("true", "wrong")


Memory = Mapping[str, Recollection]  # attribute -> what is remembered; without what was not seen


def remember(look: Look, rng: np.random.Generator) -> dict[str, Recollection]:
    """Returns what one witness remembers, so that answers of a conversation agree.

    Every attribute is remembered by RATES, independently. A detail of a part that is missing is
    remembered as the part is; one of a part that is told as missing, or as there where there is
    none, is not remembered.

    Args:
      look: attribute -> value, what the witness saw.
      rng: the only source of chance.
    """
    memory: dict[str, Recollection] = {}
    numbers = rng.random(len(VALUES))  # one for each, so that none depends on what else is seen
    for number, attribute in zip(numbers, VALUES, strict=True):
        if attribute in look and not _follows(attribute, look):
            memory[attribute] = _recall(attribute, look, number, rng)
    for attribute in sorted(look.keys() - memory.keys()):
        head = memory[HEADS[attribute]]
        kind = "true" if head.kind == "true" else "unknown"
        memory[attribute] = Recollection(kind, "none", "none")
    for attribute, head in HEADS.items():
        if attribute in memory and is_absent(memory, head) and memory[head].kind == "wrong":
            truth = memory[attribute].truth
            memory[attribute] = Recollection("unknown", truth, truth)
    return memory


def is_absent(memory: Memory, attribute: str) -> bool:
    """True if the witness tells that there is no such part."""
    told = memory.get(attribute)
    return told is not None and told.firm and told.value == ABSENT.get(attribute)


def is_rated(attribute: str, memory: Memory) -> bool:
    """True if RATES alone say how the attribute is remembered: it is no detail of a missing part.

    Args:
      attribute: one that was seen.
      memory: of a witness.
    """
    head = memory.get(HEADS.get(attribute))
    absent = ABSENT.get(HEADS.get(attribute))
    return head is None or (head.truth != absent and not (head.firm and head.value == absent))


def mistakable(attribute: str, look: Look) -> dict[str, float]:
    """Returns the values that the true one may be taken for, with weights; {} if there are none.

    Of a kind of clothing for women alone a man has none. A value whose name is also a word for the
    true one ("shirt" for a t-shirt) would be no mistake.

    Args:
      attribute: one that was seen.
      look: attribute -> value, what was seen.
    """
    truth = look[attribute]
    if attribute == "gender" and any(
        look.get(name) in ("beard", *values)
        for name, values in (*ONLY_WOMEN.items(), ("beard", ()))
    ):
        return {}
    same_part = {look.get(a) for a in ("top_color", "top_color2") if attribute.startswith("top_c")}
    weights = {}
    for value in VALUES[attribute]:
        if value == truth or value in same_part or value in _HIDDEN_BY:
            continue
        if value == "none" and attribute not in ABSENT:
            continue
        if look["gender"] == "man" and value in ONLY_WOMEN.get(attribute, ()):
            continue
        if look["gender"] == "woman" and value == "beard":
            continue
        if value in words_for(attribute, truth):
            continue
        alike = any({truth, value} <= group for group in _ALIKE)
        if "color" in attribute and "none" not in (truth, value):
            alike = alike or colors_close(truth, value)
        weights[value] = _ALIKE_WEIGHT if alike else 1.0
        if value == ABSENT.get(attribute) and not alike:
            weights[value] = _ABSENT_WEIGHT
    return weights


def _follows(attribute: str, look: Look) -> bool:
    """True for a detail of a part that is missing."""
    head = HEADS.get(attribute)
    return head in look and look[head] == ABSENT[head]


def _recall(attribute: str, look: Look, number: float, rng: np.random.Generator) -> Recollection:
    """What is remembered of one attribute; `number` in [0, 1) says how."""
    rates, truth = RATES[attribute], look[attribute]
    kind = "true"
    for name, rate in rates._asdict().items():
        if 0 <= number < rate:
            kind = name
        number -= rate
    if kind == "wrong":
        others = mistakable(attribute, look)
        if not others:
            return Recollection("true", truth, truth)
        return Recollection("wrong", pick(rng, others), truth)
    return Recollection(kind, truth, truth)
