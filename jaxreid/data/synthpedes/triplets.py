"""Composed triplets of synthpedes: a picture, words for other clothes, the same person in them."""

import numpy as np

from jaxreid.data.synthpedes import noun_phrases
from jaxreid.data.synthpedes.noun_phrases import Look
from jaxreid.data.synthpedes.person import pick, sample_person
from jaxreid.data.synthpedes.visibility import visible
from jaxreid.data.synthpedes.wording import chance

# What stays when the clothes change; everything else of a person is the outfit.
BODY = (
    "gender", "skin", "build", "height", "hair_color", "hair_length", "hair_style", "glasses",
    "beard",
)  # fmt: skip
_CLOTHES = ("top_type", "top_color", "outer_type", "outer_color", "bottom_type", "bottom_color")
_FEWEST_CHANGES = 3  # of _CLOTHES
# Share of the words in which a visible part is told, and its absence.
_TOLD = {"outer": 0.95, "top": 0.95, "bottom": 0.92, "shoes": 0.5, "hat": 0.8, "scarf": 0.7}
_TOLD_CARRIED = {"bag": 0.75, "held": 0.6}
_TOLD_ABSENT = {"bag_type": 0.12, "hat_type": 0.05, "outer_type": 0.04}
_ABSENT = {
    "bag_type": {"no bag": 3, "without a bag": 2},
    "hat_type": {"no hat": 3, "without a hat": 1},
    "outer_type": {"no jacket": 3, "without a jacket": 1},
}


def change_outfit(person: dict[str, str], rng: np.random.Generator) -> dict[str, str]:
    """Returns the person with equal BODY and another outfit, at least three clothes of it new.

    Args:
      person: attribute -> value, without conflicts.
      rng: the only source of chance.
    """
    body = {attribute: person[attribute] for attribute in BODY}
    while True:
        other = sample_person(rng)
        # Another gender's outfit could conflict with the body.
        changes = sum(other[attribute] != person[attribute] for attribute in _CLOTHES)
        if other["gender"] == person["gender"] and changes >= _FEWEST_CHANGES:
            return other | body


def edit_caption(person: dict[str, str], view: str, rng: np.random.Generator) -> str:
    """Returns the words of a triplet: what the person of the target picture wears and carries.

    For example "Wearing a red coat, blue jeans and carrying a black handbag". Only what is seen
    from `view` is told.

    Args:
      person: of the target picture.
      view: of the target picture.
      rng: the only source of chance.
    """
    look = {attribute: person[attribute] for attribute in sorted(visible(person, view))}
    worn = _told(_TOLD, look, rng)
    if not worn:
        part = noun_phrases.outer(look, rng, 0.0) or noun_phrases.top(look, rng, 0.0)
        worn = [part.text]
    absent = [
        pick(rng, _ABSENT[attribute])
        for attribute, share in _TOLD_ABSENT.items()
        if look.get(attribute) == "none" and chance(rng, share)
    ]
    carried = _told(_TOLD_CARRIED, look, rng)
    if carried:
        verb = pick(rng, {"carrying": 3, "holding": 2})
        carried = [f"{verb} {' and '.join(carried)}"]
    text = f"Wearing {_join([*worn, *absent, *carried], rng)}"
    return text.replace("{their}", "his" if person["gender"] == "man" else "her")


def triplet(
    cpr_id: int, reference: tuple[str, str], target: tuple[str, str], edit: str
) -> dict[str, str | int]:
    """Returns one triplet in the format of SynCPR.

    Args:
      cpr_id: equal for triplets whose targets show the same person in the same outfit.
      reference: (path of the picture relative to the image folder, its caption).
      target: the same of the picture to be found.
      edit: the words, see `edit_caption`.
    """
    return {
        "reference_caption": reference[1],
        "target_caption": target[1],
        "reference_image_path": reference[0],
        "target_image_path": target[0],
        "edit_caption": edit,
        "cpr_id": cpr_id,
    }


def _told(shares: dict[str, float], look: Look, rng: np.random.Generator) -> list[str]:
    """The parts of the look that come to be told."""
    parts = {
        "outer": noun_phrases.outer, "top": noun_phrases.top, "bottom": noun_phrases.bottom,
        "shoes": noun_phrases.shoes, "hat": noun_phrases.hat, "scarf": noun_phrases.scarf,
        "bag": noun_phrases.bag, "held": noun_phrases.held,
    }  # fmt: skip
    phrases = [parts[topic](look, rng, 0.0) for topic in shares if chance(rng, shares[topic])]
    return [phrase.text for phrase in phrases if phrase is not None]


def _join(texts: list[str], rng: np.random.Generator) -> str:
    """Returns "a, b and c", "a, b, and c" or "a, b, c"."""
    if len(texts) == 1:
        return texts[0]
    link = pick(rng, {" and ": 5, ", and ": 3 * (len(texts) > 2), ", ": 3})
    return f"{', '.join(texts[:-1])}{link}{texts[-1]}"
