"""What the dialogues of synthpedes ask about: questions and answers, topic by topic.

There is a topic for every attribute, by its name, and "looks" and "upper", which ask for more than
one. In templates "{they}", "{them}", "{their}" and "{were}" become the pronouns and the verb of the
person, and "{phrase}" what is told.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxreid.data.synthpedes import noun_phrases, wording
from jaxreid.data.synthpedes.noun_phrases import Look, Phrase
from jaxreid.data.synthpedes.person import pick

Say = Callable[[Look, np.random.Generator], Phrase | None]


class Topic(NamedTuple):
    """One matter to ask about."""

    attribute: str  # asked for; of a topic that asks for more the first
    questions: tuple[str, ...]
    say: Say  # of what is told; None: the part is absent
    present: dict[str, float]  # answers with {phrase}, with weights
    absent: dict[str, float]  # answers if the part is absent, with weights
    asides: tuple[str, ...] = ()  # details that may be told as well
    needs: str = ""  # not asked before a part with this attribute has been told
    also: tuple[str, ...] = ()  # attributes besides `attribute` that are asked for


def looks(look: Look, rng: np.random.Generator) -> Phrase:
    """A first impression: the gender and what is worn above, as far as they are told."""
    mentions = set()
    who = pick(rng, wording.NEUTRAL_WORDS)
    if "gender" in look:
        who = pick(rng, wording.GENDER_WORDS[look["gender"]])
        mentions.add("gender")
    if look.get("build") in wording.BUILD_WORDS and rng.random() < 0.15:
        who = f"{pick(rng, wording.BUILD_WORDS[look['build']])} {who}"
        mentions.add("build")
    worn = noun_phrases.outer(look, rng, 0.2) or noun_phrases.top(look, rng, 0.2)
    if worn is None:
        return Phrase(wording.article(who), frozenset(mentions))
    link = pick(rng, {"in": 3, "wearing": 2, "with": 1})
    return Phrase(f"{wording.article(who)} {link} {worn.text}", worn.mentions | mentions)


def upper(look: Look, rng: np.random.Generator) -> Phrase | None:
    """The top, and the layer over it."""
    over, top = (part(look, rng, 0.3) for part in (noun_phrases.outer, noun_phrases.top))
    if over is None or top is None:
        return over or top
    return Phrase(f"{over.text} over {top.text}", over.mentions | top.mentions)


def _part(part: Callable, detail: float = 0.1) -> Say:
    """A noun phrase; `detail` is how readily sleeves, sides and the like are told."""
    return lambda look, rng: part(look, rng, detail)


def _words(attribute: str, words: dict[str, dict[str, float]]) -> Say:
    """A word for the value alone; None for a value without words."""

    def say(look: Look, rng: np.random.Generator) -> Phrase | None:
        if look[attribute] not in words:
            return None
        return Phrase(pick(rng, words[look[attribute]]), frozenset({attribute}))

    return say


def _hair_color(look: Look, rng: np.random.Generator) -> Phrase | None:
    """Hair with its colour, and perhaps its length."""
    while True:
        phrase = noun_phrases.hair(look, rng, 0.3)
        if "hair_color" in phrase.mentions:
            return phrase


def _pattern(look: Look, rng: np.random.Generator) -> Phrase | None:
    """The pattern of the top, perhaps with its colour."""
    if look["top_pattern"] == "plain":
        return None
    words = {"striped": "stripes", "plaid": "checks", "dotted": "dots", "floral": "flowers",
             "graphic": "a print"}[look["top_pattern"]]  # fmt: skip
    color = look.get("top_color2", "none")
    if color == "none":
        return Phrase(words, frozenset({"top_pattern"}))
    color = pick(rng, wording.COLOR_NAMES.get(color, {color: 1}))
    words = wording.article(f"{color} print") if words == "a print" else f"{color} {words}"
    return Phrase(words, frozenset({"top_pattern", "top_color2"}))


_WORE = {"{they} {were} wearing {phrase}.": 6, "{phrase}.": 4, "{they} had {phrase} on.": 2,
         "I think it was {phrase}.": 1, "{they} wore {phrase}.": 2}  # fmt: skip
_WORE_PLURAL = {"{they} {were} wearing {phrase}.": 6, "{phrase}.": 4, "{they} had {phrase} on.": 2,
                "{phrase}, I think.": 2, "{they} wore {phrase}.": 2}  # fmt: skip
_YES = {"Yes, {phrase}.": 4, "Yes, {they} had {phrase}.": 4, "{they} had {phrase}.": 2,
        "Yes, I remember {phrase}.": 1, "I think {they} had {phrase}, yes.": 1}  # fmt: skip
_IT_WAS = {"{phrase}.": 4, "It was {phrase}.": 4, "I think it was {phrase}.": 1,
           "{phrase}, I believe.": 1}  # fmt: skip
_THEY_WERE = {"{phrase}.": 4, "They were {phrase}.": 4, "I think they were {phrase}.": 1,
              "{phrase}, I believe.": 1}  # fmt: skip
_COLOR = wording.COLOR_WORDS


def _color_of(
    attribute: str, part: str, *more: str, needs: str = "", plural: bool = False
) -> Topic:
    """The topic of a colour alone; "{they}" are the person, so shoes are "They" as they stand."""
    were = "were" if plural else "was"
    return Topic(
        attribute,
        (f"What color {were} {part}?", f"Which color did {part} have?",
         f"Do you remember the color of {part}?", *more),
        _words(attribute, _COLOR),
        _THEY_WERE if plural else _IT_WAS,
        {},
        needs=needs,
    )  # fmt: skip


TOPICS = {
    "looks": Topic(
        "gender",
        ("Can you describe the person you saw?", "What did the person look like?",
         "Who did you see? Please describe the person.", "How would you describe the person?",
         "Tell me about the person, please."),
        looks,
        {"It was {phrase}.": 6, "{phrase}.": 4, "I saw {phrase}.": 4},
        {},
        also=("build", "outer_type", "outer_color", "outer_open", "top_type", "top_color",
              "top_pattern", "top_color2", "sleeves"),
    ),
    "upper": Topic(
        "outer_type",
        ("What {were} {they} wearing on top?", "What did {they} wear on {their} upper body?",
         "Could you describe {their} upper clothing?",
         "How {were} {they} dressed above the waist?"),
        upper,
        _WORE,
        {},
        also=("outer_color", "outer_open", "top_type", "top_color", "top_pattern", "top_color2",
              "sleeves"),
    ),
    "gender": Topic(
        "gender",
        ("Was it a man or a woman?", "Was the person male or female?",
         "Are you looking for a man or a woman?", "Did you see a man or a woman?"),
        lambda look, rng: Phrase(
            wording.article(pick(rng, wording.GENDER_WORDS[look["gender"]])), frozenset({"gender"})
        ),
        {"It was {phrase}.": 4, "{phrase}.": 3, "{phrase}, I am sure.": 1},
        {},
    ),
    "skin": Topic(
        "skin",
        ("What was {their} skin tone?", "Can you tell me the color of {their} skin?",
         "Did {they} have light or dark skin?"),
        _words("skin", wording.SKIN_WORDS),
        {"{they} had {phrase}.": 5, "{phrase}.": 2, "I think {they} had {phrase}.": 1},
        {},
    ),
    "build": Topic(
        "build",
        ("What was {their} build?", "{were} {they} slim or heavy?",
         "Can you tell me something about {their} build?", "What kind of figure did {they} have?"),
        _words("build", {**wording.BUILD_WORDS, "average": {"average": 4, "of average build": 2}}),
        {"{they} {were} {phrase}.": 5, "{phrase}, I would say.": 3, "{they} looked {phrase}.": 1},
        {},
    ),
    "height": Topic(
        "height",
        ("How tall {were} {they}?", "{were} {they} tall or short?",
         "Can you guess {their} height?"),
        _words("height", {}),
        {},
        {},
    ),
    "hair_color": Topic(
        "hair_color",
        ("What color was {their} hair?", "Can you describe {their} hair?",
         "What was {their} hair like?", "Which hair color did {they} have?"),
        _hair_color,
        {"{they} had {phrase}.": 6, "{phrase}.": 4, "I think {they} had {phrase}.": 1},
        {},
        asides=("hair_length",),
    ),
    "hair_length": Topic(
        "hair_length",
        ("How long was {their} hair?", "Was {their} hair long or short?",
         "Did {they} have long or short hair?"),
        _words("hair_length", {
            value: {f"{word} hair": weight for word, weight in words.items()}
            for value, words in wording.HAIR_LENGTH_WORDS.items()
        }),
        {"{phrase}.": 4, "{they} had {phrase}.": 4, "{phrase}, I think.": 1},
        {"{they} had a bald head.": 3, "{they} {were} bald.": 3, "No hair, {they} {were} bald.": 1},
    ),
    "hair_style": Topic(
        "hair_style",
        ("Was {their} hair straight, curly or tied up?", "How did {they} wear {their} hair?",
         "Do you remember {their} hairstyle?",
         "Did {they} wear {their} hair in a ponytail or a bun?"),
        _words("hair_style", {
            "straight": {"straight": 3, "straight and not tied": 1},
            "curly": {"curly": 4, "rather curly": 1},
            "ponytail": {"in a ponytail": 4, "tied back in a ponytail": 2},
            "bun": {"in a bun": 4, "up in a bun": 2},
        }),
        {"It was {phrase}.": 4, "{their} hair was {phrase}.": 3, "I believe it was {phrase}.": 1},
        {},
    ),
    "glasses": Topic(
        "glasses",
        ("{were} {they} wearing glasses?", "Did {they} have glasses or sunglasses?",
         "Did you notice any glasses?", "Anything in front of {their} eyes, such as glasses?"),
        _part(noun_phrases.glasses),
        {"Yes, {phrase}.": 4, "Yes, {they} wore {phrase}.": 4, "{they} had {phrase} on.": 2},
        {"No, no glasses.": 3, "No, {they} didn't wear glasses.": 3, "No, I saw no glasses.": 1},
    ),
    "beard": Topic(
        "beard",
        ("Did {they} have a beard?", "Was there any facial hair?", "Did {they} wear a beard?"),
        _part(noun_phrases.beard),
        {"Yes, {phrase}.": 3, "Yes, {they} had {phrase}.": 3},
        {"No, no beard.": 3, "No, {they} had no beard.": 3},
    ),
    "top_type": Topic(
        "top_type",
        ("What kind of top did {they} have on?", "What sort of shirt or top was it?",
         "Did {they} wear a shirt, a sweater or something else?", "Can you describe {their} top?"),
        _part(noun_phrases.top, 0.4),
        _WORE,
        {},
        asides=("top_color", "sleeves", "top_pattern", "top_color2"),
    ),
    "top_color": _color_of("top_color", "{their} top",
                           "What was the color of {their} shirt or top?"),
    "top_pattern": Topic(
        "top_pattern",
        ("Did the top have a pattern or a print?", "Was the top plain or patterned?",
         "Was there any pattern on {their} top?", "Any stripes, checks or a print on the top?"),
        _pattern,
        {"It had {phrase}.": 4, "Yes, {phrase}.": 2, "I remember {phrase} on it.": 2},
        {"It was plain.": 4, "No, it was plain.": 2, "No pattern, just one color.": 2},
        asides=("top_color2",),
    ),
    "top_color2": _color_of("top_color2", "the pattern on {their} top", needs="top_pattern"),
    "sleeves": Topic(
        "sleeves",
        ("Were the sleeves long or short?", "Did the top have long or short sleeves?",
         "What about the sleeves?", "How long were the sleeves?"),
        _words("sleeves", {"short": {"short sleeves": 1}, "long": {"long sleeves": 1}}),
        {"{phrase}.": 4, "It had {phrase}.": 3, "{phrase}, I believe.": 1},
        {"It had no sleeves.": 3, "It was sleeveless.": 4},
    ),
    "outer_type": Topic(
        "outer_type",
        ("{were} {they} wearing a jacket or a coat?", "Did {they} wear anything over the top?",
         "Did you notice a jacket, a coat or a vest?", "Was there an outer layer, such as a coat?"),
        _part(noun_phrases.outer),
        {"Yes, {phrase}.": 4, "Yes, {they} had {phrase} on.": 4, "{they} wore {phrase}.": 2},
        {"No, no jacket or coat.": 3, "No, nothing over the top.": 3,
         "No, {they} didn't wear a jacket.": 3},
        asides=("outer_color",),
    ),
    "outer_color": _color_of("outer_color", "{their} jacket or coat", needs="outer_type"),
    "outer_open": Topic(
        "outer_open",
        ("Was it open or closed?", "Did {they} wear it open?", "Was {their} jacket or coat open?"),
        _words("outer_open", {
            "open": {"open": 5, "unfastened": 1}, "closed": {"closed": 4, "done up": 1},
        }),
        {"It was {phrase}.": 4, "{phrase}.": 3, "I think it was {phrase}.": 1},
        {},
        needs="outer_type",
    ),
    "bottom_type": Topic(
        "bottom_type",
        ("What {were} {they} wearing below the waist?", "What about pants, shorts or a skirt?",
         "What did {they} wear on {their} legs?", "Can you describe {their} lower clothing?"),
        _part(noun_phrases.bottom),
        _WORE_PLURAL,
        {},
        asides=("bottom_color",),
    ),
    "bottom_color": _color_of("bottom_color", "the clothes on {their} legs",
                              "What color did {they} wear on {their} legs?"),
    "shoes_type": Topic(
        "shoes_type",
        ("What kind of shoes did {they} have on?", "Do you remember {their} shoes?",
         "What did {they} wear on {their} feet?", "Can you describe {their} footwear?"),
        _part(noun_phrases.shoes),
        _WORE_PLURAL,
        {},
        asides=("shoes_color",),
    ),
    "shoes_color": _color_of("shoes_color", "{their} shoes", "{were} {their} shoes dark or light?",
                             plural=True),
    "bag_type": Topic(
        "bag_type",
        ("{were} {they} carrying a bag?", "Did {they} have a bag or a backpack?",
         "Did you notice any bag?", "Did {they} carry a bag with {them}?"),
        _part(noun_phrases.bag),
        _YES,
        {"No, {they} had no bag.": 3, "No bag that I could see.": 2,
         "No, there was no backpack or bag.": 1},
        asides=("bag_color", "bag_side"),
    ),
    "bag_color": _color_of("bag_color", "the bag", needs="bag_type"),
    "bag_side": Topic(
        "bag_side",
        ("On which side was the bag?", "Where did {they} carry the bag?",
         "How did {they} carry the bag?"),
        _words("bag_side", {
            "left": {"on {their} left side": 2, "on the left": 1},
            "right": {"on {their} right side": 2, "on the right": 1},
            "back": {"on {their} back": 1},
        }),
        {"{phrase}.": 4, "It was {phrase}.": 3, "{they} carried it {phrase}.": 3},
        {},
        needs="bag_type",
    ),
    "hat_type": Topic(
        "hat_type",
        ("{were} {they} wearing a hat or a cap?", "Did {they} have anything on {their} head?",
         "Did you see a hat or a cap?", "Was {their} head covered?"),
        _part(noun_phrases.hat),
        _YES,
        {"No, no hat.": 3, "No, {they} didn't have a hat.": 2, "No, {their} head was bare.": 2},
        asides=("hat_color",),
    ),
    "hat_color": _color_of("hat_color", "the hat or cap", needs="hat_type"),
    "scarf_color": Topic(
        "scarf_color",
        ("Did {they} wear a scarf?", "Was there something around {their} neck?",
         "Did you notice a scarf, and its color?"),
        _part(noun_phrases.scarf),
        _YES,
        {"No, no scarf.": 3, "No, {they} didn't wear a scarf.": 3},
    ),
    "held": Topic(
        "held",
        ("{were} {they} holding anything?", "Did {they} have something in {their} hands?",
         "What was in {their} hands?", "Did {they} hold a phone or anything else?"),
        _part(noun_phrases.held),
        {"Yes, {phrase}.": 3, "{they} {were} holding {phrase}.": 5, "{they} had {phrase}.": 2},
        {"Nothing, I think.": 3, "No, {they} held nothing.": 3, "No, {their} hands were empty.": 2},
        asides=("held_side",),
    ),
    "held_side": Topic(
        "held_side",
        ("In which hand?", "Was it in {their} left or {their} right hand?",
         "Which hand did {they} hold it in?"),
        _words("held_side", {
            "left": {"in {their} left hand": 3, "in the left one": 1},
            "right": {"in {their} right hand": 3, "in the right one": 1},
        }),
        {"{phrase}.": 4, "It was {phrase}.": 2, "{they} held it {phrase}.": 3},
        {},
        needs="held",
    ),
}  # fmt: skip
