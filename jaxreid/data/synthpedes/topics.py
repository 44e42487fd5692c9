"""What the dialogues of synthpedes ask about: questions and answers, topic by topic.

In templates "{they}", "{them}", "{their}" and "{were}" become the pronouns and the verb of the
person, and "{phrase}" what is told.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxreid.data.synthpedes import noun_phrases, wording
from jaxreid.data.synthpedes.noun_phrases import Look, Phrase
from jaxreid.data.synthpedes.person import pick

# Share of the witnesses who can answer, if what is asked about was to be seen.
REMEMBERED = {
    "looks": 1.0, "gender": 0.99, "outer": 0.96, "top": 0.94, "bag": 0.92, "hat": 0.92,
    "bottom": 0.88, "scarf": 0.85, "pattern": 0.8, "hair": 0.78, "held": 0.75, "beard": 0.72,
    "sleeves": 0.72, "build": 0.7, "bag side": 0.68, "hair style": 0.66, "glasses": 0.64,
    "skin": 0.6, "shoes": 0.5,
}  # fmt: skip


class Topic(NamedTuple):
    """One matter to ask about."""

    attribute: str  # asked for: seen or not, and told where there is nothing to describe
    questions: tuple[str, ...]
    say: Callable[[Look, np.random.Generator], Phrase | None]  # None: the part is absent
    present: dict[str, float]  # answers with {phrase}, with weights
    absent: dict[str, float]  # answers if the part is absent, with weights
    settled_by: frozenset[str]  # not asked once one of these attributes has been told
    needs: frozenset[str] = frozenset()  # not asked before these have been told


def _looks(look: Look, rng: np.random.Generator) -> Phrase:
    """A first impression: the gender and what is worn above."""
    who = pick(rng, wording.GENDER_WORDS[look["gender"]])
    mentions = {"gender"}
    if look["build"] in wording.BUILD_WORDS and rng.random() < 0.15:
        who = f"{pick(rng, wording.BUILD_WORDS[look['build']])} {who}"
        mentions.add("build")
    worn = noun_phrases.outer(look, rng, 0.2) or noun_phrases.top(look, rng, 0.2)
    link = pick(rng, {"in": 3, "wearing": 2, "with": 1})
    return Phrase(f"{wording.article(who)} {link} {worn.text}", worn.mentions | mentions)


def _gender(look: Look, rng: np.random.Generator) -> Phrase:
    """Man or woman."""
    words = wording.article(pick(rng, wording.GENDER_WORDS[look["gender"]]))
    return Phrase(words, frozenset({"gender"}))


def _upper(look: Look, rng: np.random.Generator) -> Phrase:
    """The top, and the layer over it."""
    over, top = (part(look, rng, 0.3) for part in (noun_phrases.outer, noun_phrases.top))
    if over is None or top is None:
        return over or top
    return Phrase(f"{over.text} over {top.text}", over.mentions | top.mentions)


def _part(part: Callable) -> Callable[[Look, np.random.Generator], Phrase | None]:
    """A noun phrase with few details."""
    return lambda look, rng: part(look, rng, 0.1)


def _hair(look: Look, rng: np.random.Generator) -> Phrase | None:
    """Hair with its colour."""
    while True:
        phrase = noun_phrases.hair(look, rng, 0.3)
        if phrase.mentions & {"hair_color", "hair_length"}:
            return phrase


def _hair_style(look: Look, rng: np.random.Generator) -> Phrase | None:
    """How the hair is worn."""
    words = {
        "straight": {"straight": 3, "straight and not tied": 1},
        "curly": {"curly": 4, "rather curly": 1},
        "ponytail": {"in a ponytail": 4, "tied back in a ponytail": 2},
        "bun": {"in a bun": 4, "up in a bun": 2},
    }
    if look["hair_style"] == "none":
        return None
    return Phrase(pick(rng, words[look["hair_style"]]), frozenset({"hair_style"}))


def _pattern(look: Look, rng: np.random.Generator) -> Phrase | None:
    """The pattern of the top with its colour."""
    if look["top_pattern"] == "plain":
        return None
    words = {"striped": "stripes", "plaid": "checks", "dotted": "dots", "floral": "flowers",
             "graphic": "a print"}[look["top_pattern"]]  # fmt: skip
    if rng.random() < 0.7 and "top_color2" in look:
        color = look["top_color2"]
        words = wording.article(f"{color} print") if words == "a print" else f"{color} {words}"
        return Phrase(words, frozenset({"top_pattern", "top_color2"}))
    return Phrase(words, frozenset({"top_pattern"}))


def _sleeves(look: Look, rng: np.random.Generator) -> Phrase | None:
    """Long or short sleeves; None if there are none."""
    if look["sleeves"] == "sleeveless":
        return None
    return Phrase(f"{look['sleeves']} sleeves", frozenset({"sleeves"}))


def _bag_side(look: Look, rng: np.random.Generator) -> Phrase:
    """On which side the bag is."""
    side = look["bag_side"]
    places = {f"on {{their}} {side} side": 2, f"on the {side}": 1}
    words = "on {their} back" if side == "back" else pick(rng, places)
    return Phrase(words, frozenset({"bag_side"}))


def _build(look: Look, rng: np.random.Generator) -> Phrase:
    """Slim, heavy or neither."""
    words = {**wording.BUILD_WORDS, "average": {"average": 4, "of average build": 2}}
    return Phrase(pick(rng, words[look["build"]]), frozenset({"build"}))


_WORE = {"{they} {were} wearing {phrase}.": 6, "{phrase}.": 4, "{they} had {phrase} on.": 2,
         "I think it was {phrase}.": 1, "{they} wore {phrase}.": 2}  # fmt: skip
_WORE_PLURAL = {"{they} {were} wearing {phrase}.": 6, "{phrase}.": 4, "{they} had {phrase} on.": 2,
                "{phrase}, I think.": 2, "{they} wore {phrase}.": 2}  # fmt: skip
_YES = {"Yes, {phrase}.": 4, "Yes, {they} had {phrase}.": 4, "{they} had {phrase}.": 2,
        "Yes, I remember {phrase}.": 1, "I think {they} had {phrase}, yes.": 1}  # fmt: skip

TOPICS = {
    "looks": Topic(
        "gender",
        ("Can you describe the person you saw?", "What did the person look like?",
         "Who did you see? Please describe the person.", "How would you describe the person?"),
        _looks,
        {"It was {phrase}.": 6, "{phrase}.": 4, "I saw {phrase}.": 4},
        {},
        frozenset(),
    ),
    "gender": Topic(
        "gender",
        ("Was it a man or a woman?", "Was the person male or female?",
         "Are you looking for a man or a woman?"),
        _gender,
        {"It was {phrase}.": 4, "{phrase}.": 3, "{phrase}, I am sure.": 1},
        {},
        frozenset({"gender"}),
    ),
    "top": Topic(
        "outer_type",
        ("What {were} {they} wearing on top?", "What did {they} wear on {their} upper body?",
         "What kind of top did {they} have on?", "Could you describe {their} upper clothing?"),
        _upper,
        _WORE,
        {},
        frozenset({"top_type", "outer_type"}),
    ),
    "outer": Topic(
        "outer_type",
        ("{were} {they} wearing a jacket or a coat?", "Did {they} wear anything over the top?",
         "Did you notice a jacket, a coat or a vest?"),
        _part(noun_phrases.outer),
        {"Yes, {phrase}.": 4, "Yes, {they} had {phrase} on.": 4, "{they} wore {phrase}.": 2},
        {"No, no jacket or coat.": 3, "No, nothing over the top.": 3,
         "No, {they} didn't wear a jacket.": 3},
        frozenset({"outer_type"}),
    ),
    "bottom": Topic(
        "bottom_type",
        ("What {were} {they} wearing below the waist?", "What about pants, shorts or a skirt?",
         "What did {they} wear on {their} legs?", "Can you describe {their} lower clothing?"),
        _part(noun_phrases.bottom),
        _WORE_PLURAL,
        {},
        frozenset({"bottom_type"}),
    ),
    "shoes": Topic(
        "shoes_type",
        ("What kind of shoes did {they} have on?", "Do you remember {their} shoes?",
         "What did {they} wear on {their} feet?"),
        _part(noun_phrases.shoes),
        _WORE_PLURAL,
        {},
        frozenset({"shoes_type"}),
    ),
    "hair": Topic(
        "hair_color",
        ("What was {their} hair like?", "Can you describe {their} hair?",
         "What color was {their} hair?", "Do you remember {their} hairstyle?"),
        _hair,
        {"{they} had {phrase}.": 6, "{phrase}.": 4, "I think {they} had {phrase}.": 1},
        {},
        frozenset({"hair_color", "hair_length"}),
    ),
    "hair style": Topic(
        "hair_style",
        ("Was {their} hair straight, curly or tied up?", "How did {they} wear {their} hair?"),
        _hair_style,
        {"It was {phrase}.": 4, "{their} hair was {phrase}.": 3, "I believe it was {phrase}.": 1},
        {},
        frozenset({"hair_style"}),
        frozenset({"hair_color"}),
    ),
    "bag": Topic(
        "bag_type",
        ("{were} {they} carrying a bag?", "Did {they} have a bag or a backpack?",
         "Did you notice any bag?", "Did {they} carry a bag with {them}?"),
        _part(noun_phrases.bag),
        _YES,
        {"No, {they} had no bag.": 3, "No bag that I could see.": 2,
         "No, there was no backpack.": 1},
        frozenset({"bag_type"}),
    ),
    "bag side": Topic(
        "bag_side",
        ("On which side was the bag?", "Where did {they} carry the bag?",
         "How did {they} carry the bag?"),
        _bag_side,
        {"{phrase}.": 4, "It was {phrase}.": 3, "{they} carried it {phrase}.": 3},
        {},
        frozenset({"bag_side"}),
        frozenset({"bag_type", "bag_color"}),
    ),
    "hat": Topic(
        "hat_type",
        ("{were} {they} wearing a hat or a cap?", "Did {they} have anything on {their} head?",
         "Did you see a hat or a cap?"),
        _part(noun_phrases.hat),
        _YES,
        {"No, no hat.": 3, "No, {they} didn't have a hat.": 2, "No, {their} head was bare.": 2},
        frozenset({"hat_type"}),
    ),
    "glasses": Topic(
        "glasses",
        ("{were} {they} wearing glasses?", "Did {they} have glasses or sunglasses?",
         "Did you notice any glasses?"),
        _part(noun_phrases.glasses),
        {"Yes, {phrase}.": 4, "Yes, {they} wore {phrase}.": 4, "{they} had {phrase} on.": 2},
        {"No, no glasses.": 3, "No, {they} didn't wear glasses.": 3, "No, I saw no glasses.": 1},
        frozenset({"glasses"}),
    ),
    "pattern": Topic(
        "top_pattern",
        ("Did the top have a pattern or a print?", "Was the top plain or patterned?",
         "Was there any pattern on {their} top?"),
        _pattern,
        {"It had {phrase}.": 4, "Yes, {phrase}.": 2, "I remember {phrase} on it.": 2},
        {"It was plain.": 4, "No, it was plain.": 2, "No pattern, just one color.": 2},
        frozenset({"top_pattern"}),
        frozenset({"top_type"}),
    ),
    "sleeves": Topic(
        "sleeves",
        ("Were the sleeves long or short?", "Did the top have long or short sleeves?",
         "What about the sleeves?"),
        _sleeves,
        {"{phrase}.": 4, "It had {phrase}.": 3, "{phrase}, I believe.": 1},
        {"It had no sleeves.": 3, "It was sleeveless.": 4},
        frozenset({"sleeves"}),
        frozenset({"top_type"}),
    ),
    "held": Topic(
        "held",
        ("{were} {they} holding anything?", "Did {they} have something in {their} hands?",
         "What was in {their} hands?"),
        _part(noun_phrases.held),
        {"Yes, {phrase}.": 3, "{they} {were} holding {phrase}.": 5, "{they} had {phrase}.": 2},
        {"Nothing, I think.": 3, "No, {they} held nothing.": 3, "No, {their} hands were empty.": 2},
        frozenset({"held"}),
    ),
    "beard": Topic(
        "beard",
        ("Did {they} have a beard?", "Was there any facial hair?"),
        _part(noun_phrases.beard),
        {"Yes, {phrase}.": 3, "Yes, {they} had {phrase}.": 3},
        {"No, no beard.": 3, "No, {they} had no beard.": 3},
        frozenset({"beard"}),
    ),
    "scarf": Topic(
        "scarf_color",
        ("Did {they} wear a scarf?", "Was there something around {their} neck?"),
        _part(noun_phrases.scarf),
        _YES,
        {"No, no scarf.": 3, "No, {they} didn't wear a scarf.": 3},
        frozenset({"scarf_color"}),
    ),
    "build": Topic(
        "build",
        ("What was {their} build?", "{were} {they} slim or heavy?",
         "Can you tell me something about {their} build?"),
        _build,
        {"{they} {were} {phrase}.": 5, "{phrase}, I would say.": 3, "{they} looked {phrase}.": 1},
        {},
        frozenset({"build"}),
    ),
    "skin": Topic(
        "skin",
        ("What was {their} skin tone?", "Can you tell me the color of {their} skin?"),
        _part(noun_phrases.skin),
        {"{they} had {phrase}.": 5, "{phrase}.": 2, "I think {they} had {phrase}.": 1},
        {},
        frozenset({"skin"}),
    ),
}  # fmt: skip
