"""What can be asked of an attribute table: for each attribute its questions and answers.

In templates "{they}", "{them}", "{their}" and "{were}" become the pronouns and the verb of the
person, see `synthpedes.dialogue.fill`, and "{told}" what is told.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from jaxreid.data.synthpedes import wording
from jaxreid.data.triplet_maker.lexicon import detail_words, kind_words
from jaxreid.data.triplet_maker.records import NONE
from jaxreid.data.triplet_maker.scheme import BODY, PARTS, Part, kinds, part_of

_PLURAL = ("bottoms", "shoes")
_NO_KIND = ("something", "stack of papers", "few papers")
_MEN, _WOMEN = ("man", "male", "boy"), ("woman", "female", "girl", "lady")


class Matter(NamedTuple):
    """One attribute to ask about."""

    attribute: str
    questions: tuple[str, ...]
    present: tuple[str, ...]  # answers with {told}
    absent: tuple[str, ...] = ()  # answers where the part is absent
    noun: str = ""  # of the part; "" if the words stand alone
    head: str = ""  # the attribute that says whether there is a part to have this detail
    color: str = ""  # of a kind: the attribute of its colour, which may be told as well


def make_matter(name: str, names: Collection[str]) -> Matter:
    """Returns what can be asked of an attribute.

    Args:
      name: of the attribute.
      names: of all attributes of the table.

    Raises:
      ValueError: it is neither of the body nor of a part of the outfit.
    """
    part = next((p for p in PARTS if p.name == part_of(name)), None)
    if part is not None:
        return _of_outfit(name, part, names)
    stem = next((stem for stem in BODY if name == stem or name.startswith(f"{stem}_")), None)
    if stem is None:
        raise ValueError(
            f"is neither of the body ({', '.join(BODY)}) nor of a part of the outfit "
            f"({', '.join(part.name for part in PARTS)}); ignore it, or give it such a name"
        )
    if name in _BODY_MATTERS:
        return Matter(name, *_BODY_MATTERS[name])
    detail = name.replace("_", " ")
    return Matter(
        name,
        (f"What about {{their}} {detail}?", f"Can you tell me {{their}} {detail}?",
         f"Do you remember {{their}} {detail}?"),
        ("{told}.", "It was {told}.", "It was {told}, I think."),
        (f"No, no {detail}.", f"There was no {detail}."),
    )  # fmt: skip


def words_for(attribute: str, value: str) -> dict[str, float]:
    """Returns the words for a value, with weights; at least the value itself."""
    if attribute == "gender":
        group = "man" if value in _MEN else "woman" if value in _WOMEN else ""
        return {value: 1.0} | wording.GENDER_WORDS.get(group, {})
    if attribute == "hair_color":
        return {value: 3.0} | wording.HAIR_COLOR_WORDS.get(value, {})
    if attribute.endswith(("_color", "_color2")):
        return {value: 3.0} | wording.COLOR_WORDS.get(value, {})
    if attribute in ("hair", "hair_length"):
        return {value: 3.0} | wording.HAIR_LENGTH_WORDS.get(value, {})
    part = part_of(attribute)
    if part and attribute in kinds(part):
        words = kind_words(value)  # articles are gone, so some words cannot stand alone
        return {value: 1.0} | {w: n for w, n in words.items() if w not in _NO_KIND}
    if part:
        return dict(detail_words(attribute, value))
    return {value: 1.0}


def pronoun_gender(value: str) -> str | None:
    """Returns "man" or "woman" for a value of a gender, None for another value."""
    return "man" if value in _MEN else "woman" if value in _WOMEN else None


def with_article(words: str) -> str:
    """Returns words with "a" or "an" before them, where English has one."""
    last = words.split()[-1]
    plural = last.endswith("s") and not last.endswith("ss")
    if plural or last in ("footwear", "headwear", "paperwork", "paper", "denim"):
        return words
    return wording.article(words)


def _of_outfit(name: str, part: Part, names: Collection[str]) -> Matter:
    """The matter of an attribute of a part of the outfit."""
    noun, first = part.noun, _head(part.name, names)
    head = "" if name == first else first
    it_was = "They were" if noun in _PLURAL else "It was"
    plain = ("{told}.", f"{it_was} {{told}}.", f"I think {it_was.lower()} {{told}}.")
    if name == first:
        return _of_kind(name, part, names)
    if name in (f"{part.name}_color", f"{part.name}_color2"):
        of = f"the pattern of {{their}} {noun}" if name.endswith("2") else f"{{their}} {noun}"
        were = "were" if of == f"{{their}} {noun}" and noun in _PLURAL else "was"
        return Matter(
            name,
            (f"What color {were} {of}?", f"Do you remember the color of {of}?",
             f"Can you tell me the color of {of}?"),
            plain, noun=noun, head=head,
        )  # fmt: skip
    if name == "sleeves":
        return Matter(
            name,
            ("Were the sleeves long or short?", "What about the sleeves?",
             "How long were the sleeves?"),
            ("It was {told}.", "{told}.", "{told}, I believe."), noun=noun, head=head,
        )  # fmt: skip
    detail = name.removeprefix(f"{part.name}_").replace("_", " ")
    of_detail = {
        "pattern": (f"Was {{their}} {noun} plain or patterned?",
                    f"Any pattern on {{their}} {noun}?",
                    f"Did {{their}} {noun} have a pattern?"),
        "side": (f"On which side was {{their}} {noun}?", f"Where did {{they}} have the {noun}?",
                 f"Was the {noun} on the left or the right?"),
        "open": (f"Was {{their}} {noun} open or closed?", f"Did {{they}} wear the {noun} open?",
                 f"Was the {noun} open?"),
    }  # fmt: skip
    questions = of_detail.get(detail) or (
        f"What about the {detail} of {{their}} {noun}?",
        f"Can you tell me the {detail} of {{their}} {noun}?",
        f"Do you remember the {detail} of {{their}} {noun}?",
    )
    if detail == "side":
        plain = ("On the {told}.", "It was on the {told}.", "On the {told}, I think.")
    return Matter(name, questions, plain, noun=noun, head=head)


def _of_kind(name: str, part: Part, names: Collection[str]) -> Matter:
    """The matter of the attribute that says what a part is, or that there is one."""
    noun, color = part.noun, f"{part.name}_color"
    present = (
        "{They} {were} wearing {told}.", "{told}.", "{They} had {told} on.",
        "I think it was {told}.",
    )  # fmt: skip
    questions = (
        f"What kind of {noun} did {{they}} have on?", f"Can you describe {{their}} {noun}?",
        f"Do you remember {{their}} {noun}?",
    )  # fmt: skip
    if part.name in ("outer", "hat", "scarf", "cape", "belt"):
        questions = (
            f"Did {{they}} wear a {noun}?", f"Did you notice a {noun}?", f"Was there a {noun}?",
        )  # fmt: skip
        present = ("Yes, {told}.", "Yes, {they} wore {told}.", "{They} had {told} on.")
    elif part.name == "held":
        questions = ("Did {they} hold anything?", "What was in {their} hands?",
                     "Did {they} have something in {their} hands?")  # fmt: skip
        present = ("Yes, {told}.", "{They} held {told}.", "I think it was {told}.")
    elif part.carried:
        questions = (
            f"Did {{they}} carry a {noun}?", f"Did you notice a {noun}?", f"Was there a {noun}?",
        )  # fmt: skip
        present = ("Yes, {told}.", "Yes, {they} carried {told}.", "{They} had {told}.")
    absent = (f"No, no {noun}.", f"No, I saw no {noun}.", f"{{They}} had no {noun}.")
    if part.name == "held":
        absent = ("Nothing.", "No, {they} held nothing.", "No, {their} hands were empty.")
    has_color = name != color and color in names
    return Matter(name, questions, present, absent, noun, "", color if has_color else "")


def _head(part: str, names: Collection[str]) -> str:
    """The attribute that says what a part is; of a table without it the colour."""
    for name in (*kinds(part), f"{part}_color"):
        if name in names:
            return name
    return ""


_WAS = ("{told}.", "It was {told}.", "I think it was {told}.")
_THEY_WERE = ("{They} {were} {told}.", "{told}, I would say.", "{They} looked {told}.")
# attribute -> questions, answers with a value, answers without the part
_BODY_MATTERS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "gender": (
        ("Was it a man or a woman?", "Was the person male or female?",
         "Did you see a man or a woman?"),
        ("{told}.", "It was {told}.", "{told}, I am sure."),
    ),
    "age": (
        ("How old {were} {they}?", "Can you guess {their} age?", "Was the person young or old?"),
        _THEY_WERE,
    ),
    "skin": (
        ("What was {their} skin tone?", "Can you tell me the color of {their} skin?",
         "Did {they} have light or dark skin?"),
        _WAS,
    ),
    "build": (
        ("What was {their} build?", "{were} {they} slim or heavy?",
         "What kind of figure did {they} have?"),
        _THEY_WERE,
    ),
    "height": (
        ("How tall {were} {they}?", "{were} {they} tall or short?",
         "Can you guess {their} height?"),
        _THEY_WERE,
    ),
    "hair_color": (
        ("What color was {their} hair?", "Which hair color did {they} have?",
         "Do you remember the color of {their} hair?"),
        _WAS,
        ("{They} had no hair.", "No hair, {they} {were} bald."),
    ),
    "hair_length": (
        ("How long was {their} hair?", "Was {their} hair long or short?",
         "Did {they} have long or short hair?"),
        _WAS,
        ("{They} had no hair.", "No hair, {they} {were} bald."),
    ),
    "hair_style": (
        ("How did {they} wear {their} hair?", "Do you remember {their} hairstyle?",
         "What was {their} hairstyle?"),
        _WAS,
        ("{They} had no hair.", "No hair, {they} {were} bald."),
    ),
    "glasses": (
        ("{were} {they} wearing glasses?", "Did you notice any glasses?",
         "Did {they} have glasses on?"),
        ("Yes, {told}.", "Yes, {they} wore {told}.", "{They} had {told} on."),
        ("No, no glasses.", "No, I saw no glasses."),
    ),
    "beard": (
        ("Did {they} have a beard?", "Was there any facial hair?", "Did {they} wear a beard?"),
        ("Yes, {told}.", "Yes, {they} had {told}."),
        ("No, no beard.", "No, {they} had no beard."),
    ),
}  # fmt: skip
# Attributes whose words take an article: "a man", "a beard".
COUNTED = ("gender", "beard")


def is_missing(matter: Matter, attributes: Mapping[str, str]) -> bool:
    """Whether there is no part to have this detail."""
    return bool(matter.head) and attributes.get(matter.head) == NONE
