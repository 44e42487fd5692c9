"""Dialogues of synthpedes: a questioner asks a witness about a person, one matter a round.

The witness tells of one picture what `memory.remember` says: mostly the truth, some of it vaguely,
some not at all, and some wrongly, as sure as if it were true. `ask` is one round of it, for whoever
chooses the questions; `converse` is a whole conversation with questions in any order.
"""

import functools
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from jaxreid.data.dialogues import Dialogue
from jaxreid.data.dialogues import Round as PlainRound
from jaxreid.data.synthpedes.memory import (
    HEADS,
    UNSEEN,
    Memory,
    Recollection,
    is_absent,
    is_rated,
    remember,
)
from jaxreid.data.synthpedes.noun_phrases import Phrase
from jaxreid.data.synthpedes.person import pick
from jaxreid.data.synthpedes.synonyms import tells_apart
from jaxreid.data.synthpedes.topics import TOPICS, Topic
from jaxreid.data.synthpedes.vague import vaguely
from jaxreid.data.synthpedes.visibility import visible

DIALOGUES = 2  # of an image, of witnesses of their own
ROUNDS = (5, 10)  # fewest and most of a dialogue
_TELLING = 3  # so many rounds tell something of the looks, if the most rounds suffice
_MORE = 3  # topics that a questioner has in mind beyond the number of rounds
_ASIDE = 0.6  # share of the details that a witness tells unasked
# How likely a topic is asked about, relative.
_URGENCY = {
    "looks": 10.0, "upper": 5.0, "gender": 3.0, "outer_type": 4.0, "top_type": 6.0,
    "bottom_type": 8.0, "bag_type": 6.0, "shoes_type": 4.0, "hair_color": 4.0, "hat_type": 3.0,
    "top_color": 4.0, "outer_color": 6.0, "outer_open": 4.0, "bottom_color": 3.5,
    "shoes_color": 3.0, "bag_color": 6.0, "bag_side": 4.0, "hat_color": 6.0, "held": 3.0,
    "held_side": 5.0, "top_pattern": 3.5, "top_color2": 5.0, "hair_length": 2.5,
    "hair_style": 2.0, "glasses": 2.5, "sleeves": 2.5, "build": 1.5, "beard": 2.0,
    "scarf_color": 1.5, "skin": 1.2, "height": 0.5,
}  # fmt: skip
FORGOTTEN = (
    "I don't remember.", "I'm not sure about that.", "Sorry, I can't recall that.",
    "I didn't pay attention to that.", "I don't remember, sorry.", "Hmm, I really can't remember.",
    "No idea, sorry.", "That I don't know.",
)  # fmt: skip
_FORGOTTEN_COLOR = (
    " I don't remember the color.", " The color I forgot.", " I'm not sure about the color.",
)  # fmt: skip
_UNSEEN = {
    "front": ("I couldn't see that.", "I can't say, I only saw {them} from the front."),
    "back": ("I can't say, I only saw {them} from behind.", "{Their} back was to me, so no idea."),
    "left": ("I couldn't see that from the side.", "I only saw {their} left side, so I can't say."),
    "right": ("I couldn't see that from the side.", "I only saw {their} right side, so no idea."),
}
_UNSEEN_HEIGHT = (
    "Hard to say.", "I can't say how tall {they} {were}.",
    "I can't tell, there was nothing to compare.",
)  # fmt: skip
# What is said when a detail of a missing part is asked for.
_NO_PART = {
    "outer_type": "There was no jacket or coat.",
    "bag_type": "There was no bag.",
    "hat_type": "There was no hat.",
    "held": "{They} held nothing.",
    "top_pattern": "There was no pattern, it was plain.",
    "hair_length": "{They} had no hair.",
}
TELLS_GENDER = re.compile(
    r"\b(he|she|his|her|him|man|woman|male|female|guy|gentleman|fellow|lady)\b"
)
_REFERS = re.compile(rf"{TELLS_GENDER.pattern}|\b(they|them|their)\b")
_COLOR = "_color"
_TOPICS = tuple(_URGENCY)
_WEIGHTS = np.array(tuple(_URGENCY.values()))
_DETAILS = tuple(sorted({detail for topic in TOPICS.values() for detail in topic.asides}))


class Answer(NamedTuple):
    """What a witness says, and how well that was remembered."""

    text: str  # a template
    # attribute -> one of KINDS or UNSEEN: all that is told, and what was asked for if it is not
    recalled: Mapping[str, str]


class Round(NamedTuple):
    """One question with its answer."""

    topic: str  # a key of TOPICS
    question: str
    answer: str
    recalled: Mapping[str, str]  # as in Answer

    @property
    def mentions(self) -> frozenset[str]:
        """Attributes of which the answer tells a value, a true or a wrong one."""
        return frozenset(a for a, kind in self.recalled.items() if kind in ("true", "wrong"))


def witness(
    person: Mapping[str, str], view: str, rng: np.random.Generator
) -> dict[str, Recollection]:
    """Returns what somebody remembers who saw the person from `view`.

    Args:
      person: attribute -> value, without conflicts.
      view: one of VIEWS.
      rng: the only source of chance.
    """
    return remember({a: person[a] for a in sorted(visible(person, view))}, rng)


def ask(
    topic: str,
    memory: Memory,
    view: str,
    rng: np.random.Generator,
    *,
    known: str | None = None,
    asides: Collection[str] | None = None,
) -> Round:
    """Returns one round: a question about a topic, and what the witness answers.

    Args:
      topic: one of TOPICS; every attribute is one.
      memory: of the witness, see `witness`.
      view: from where the witness saw the person, one of VIEWS.
      rng: chooses the words.
      known: "man" or "woman" if that has been told, for the pronouns of the question.
      asides: details that may be told unasked; None draws them.

    Raises:
      ValueError: there is no such topic.
    """
    if topic not in TOPICS:
        raise ValueError(f"topic must be one of {', '.join(TOPICS)}, got {topic!r}")
    question = _choose(TOPICS[topic].questions, rng)
    answer = _answer(
        TOPICS[topic], memory, view, rng, _draw_asides(rng) if asides is None else asides
    )
    return Round(topic, fill(question, known), fill(answer.text, _gender(memory)), answer.recalled)


def converse(person: dict[str, str], view: str, rng: np.random.Generator) -> tuple[Round, ...]:
    """Returns ROUNDS rounds, each about another topic, about the person as seen from `view`.

    What is asked for does not depend on how well that is remembered, so the answers about an
    attribute are wrong, vague and missing as often as RATES says.

    Args:
      person: attribute -> value, without conflicts.
      view: one of VIEWS, from where the witness saw the person.
      rng: the only source of chance.
    """
    memory = witness(person, view, rng)
    asides = _draw_asides(rng)
    count = int(rng.integers(ROUNDS[0], ROUNDS[1] + 1))
    rounds: list[Round] = []
    settled: set[str] = set()  # attributes that are not asked for any more
    known = None  # the gender, once it is told
    waiting = _order(count, rng)
    while waiting and len(rounds) < ROUNDS[1]:
        telling = sum(bool(r.mentions) for r in rounds)
        if len(rounds) >= count and telling >= _TELLING:
            break
        topic = next((t for t in waiting if _can_ask(t, memory, rounds, known)), None)
        if topic is None:
            break
        waiting.remove(topic)
        if TOPICS[topic].attribute in settled:
            continue
        rounds.append(ask(topic, memory, view, rng, known=known, asides=asides))
        settled |= _settles(topic, memory, asides)
        if TELLS_GENDER.search(rounds[-1].answer.lower()):
            known = _gender(memory)
    return tuple(rounds)


def dialogues(person: dict[str, str], view: str, rng: np.random.Generator) -> tuple[Dialogue, ...]:
    """Returns DIALOGUES dialogues by `converse`, of witnesses of their own.

    Args:
      person, view, rng: as in `converse`.
    """
    told = [converse(person, view, rng) for _ in range(DIALOGUES)]
    return tuple(
        Dialogue(tuple(PlainRound(r.question, r.answer) for r in rounds)) for rounds in told
    )


def fill(template: str, gender: str | None) -> str:
    """Returns a template with the pronouns of a gender, or "they", and a capital in front."""
    text = template.format_map(_pronouns(gender)) if "{" in template else template
    return text[0].upper() + text[1:]


@functools.cache
def _pronouns(gender: str | None) -> dict[str, str]:
    """What stands in the place of each name in a template."""
    they, them, their, was = {
        "man": ("he", "him", "his", "was"),
        "woman": ("she", "her", "her", "was"),
        None: ("they", "them", "their", "were"),
    }[gender]
    return {"they": they, "them": them, "their": their, "were": was, "They": they.capitalize(),
            "Their": their.capitalize()}  # fmt: skip


def _draw_asides(rng: np.random.Generator) -> frozenset[str]:
    """The details that a witness tells unasked."""
    told = rng.random(len(_DETAILS)) < _ASIDE
    return frozenset(detail for detail, is_told in zip(_DETAILS, told, strict=True) if is_told)


def _order(count: int, rng: np.random.Generator) -> list[str]:
    """All topics: first some more than `count` likely ones in any order, then the others."""
    waits = rng.exponential(size=len(_TOPICS)) / _WEIGHTS
    likely_first = [_TOPICS[i] for i in np.argsort(waits)]
    first = likely_first[: count + _MORE]
    first = [first[i] for i in rng.permutation(len(first))]
    if "looks" in first:  # opens a dialogue or is not asked
        first.remove("looks")
        first.insert(0, "looks")
    return first + likely_first[count + _MORE :]


def _can_ask(topic: str, memory: Memory, rounds: list[Round], known: str | None) -> bool:
    """False for a question that comes out of nowhere, or that the words used so far have settled.

    Whether the attribute itself is remembered plays no part: else those asked for were forgotten
    more often than stated.
    """
    if topic == "looks":
        return not rounds
    if topic == "gender":
        return not any(r.topic == "looks" or _REFERS.search(r.answer.lower()) for r in rounds)
    if topic == "beard":
        return known == "man"
    needs = TOPICS[topic].needs
    return not needs or (any(needs in r.mentions for r in rounds) and not is_absent(memory, needs))


def _settles(topic: str, memory: Memory, asides: Collection[str]) -> frozenset[str]:
    """The attributes that need not be asked for after a topic, remembered or not."""
    heads = {TOPICS[topic].attribute}
    if topic == "looks":
        covered = "outer_type" in memory and memory["outer_type"].truth != "none"
        heads.add("outer_type" if covered else "top_type")
    if topic == "upper":
        heads.add("top_type")
    details = {detail for head in heads for detail in TOPICS[head].asides}
    return frozenset(heads | (details & set(asides)))


def _answer(
    topic: Topic, memory: Memory, view: str, rng: np.random.Generator, asides: Collection[str]
) -> Answer:
    """What is said of a topic."""
    attribute, head = topic.attribute, HEADS.get(topic.attribute)
    if topic.also:
        return _answer_at_large(topic, memory, rng, asides)
    if attribute not in memory:
        return _answer_unseen(attribute, memory, view, rng)
    if is_absent(memory, head):
        return Answer(_NO_PART[head], {head: memory[head].kind})
    remembered = memory[attribute]
    if not is_rated(attribute, memory):
        return Answer(_choose(FORGOTTEN, rng), {})
    if remembered.kind == "unknown":
        return Answer(_choose(FORGOTTEN, rng), {attribute: "unknown"})
    if remembered.kind == "vague":
        return Answer(vaguely(attribute, remembered.truth, rng), {attribute: "vague"})
    wanted = [detail for detail in topic.asides if detail in asides]
    phrase = _phrase(topic, _told(memory, (attribute, *wanted)), memory, rng)
    if phrase is None:
        return Answer(pick(rng, topic.absent), {attribute: remembered.kind})
    answer = _in_words(topic, phrase, memory, rng)
    if is_absent(memory, attribute):
        return answer
    return _with_color(answer, [a for a in wanted if a.endswith(_COLOR)], memory, rng)


def _answer_unseen(attribute: str, memory: Memory, view: str, rng: np.random.Generator) -> Answer:
    """What is said of something that the witness did not see."""
    top = memory.get("top_type")
    if attribute.startswith("bottom") and top is not None and "dress" in (top.value, top.truth):
        if top.firm and top.value == "dress":
            return Answer("None of these, {they} {were} wearing a dress.", {"top_type": top.kind})
        return Answer(_choose(FORGOTTEN, rng), {})
    texts = _UNSEEN_HEIGHT if attribute == "height" else _UNSEEN[view]
    return Answer(_choose(texts, rng), {attribute: UNSEEN})


def _answer_at_large(
    topic: Topic, memory: Memory, rng: np.random.Generator, asides: Collection[str]
) -> Answer:
    """What is said when more than one attribute is asked for."""
    names = [a for a in (topic.attribute, *topic.also) if a in asides or a not in _DETAILS]
    told = _told(memory, names)
    if topic.attribute == "outer_type" and not {"outer_type", "top_type", "top_color"} & set(told):
        return Answer(_choose(FORGOTTEN, rng), {})
    phrase = _phrase(topic, told, memory, rng)
    if phrase is None:  # no layer over a top that is not remembered
        return Answer(_choose(FORGOTTEN, rng), {})
    return _in_words(topic, phrase, memory, rng)


def _told(memory: Memory, names: Collection[str]) -> dict[str, str]:
    """attribute -> value that the witness tells, of those that are told at all."""
    return {name: memory[name].value for name in names if name in memory and memory[name].firm}


def _phrase(
    topic: Topic, told: Mapping[str, str], memory: Memory, rng: np.random.Generator
) -> Phrase | None:
    """What is told in words; those for a wrong value are never such that they suit the true one."""
    while True:
        phrase = topic.say(told, rng)
        if phrase is None or all(
            tells_apart(phrase.text, name, memory[name].value, memory[name].truth)
            for name in phrase.mentions
            if memory[name].kind == "wrong"
        ):
            return phrase


def _in_words(topic: Topic, phrase: Phrase, memory: Memory, rng: np.random.Generator) -> Answer:
    """The phrase in a sentence."""
    text = pick(rng, topic.present).replace("{phrase}", phrase.text)
    return Answer(text, {name: memory[name].kind for name in sorted(phrase.mentions)})


def _with_color(
    answer: Answer, colors: Collection[str], memory: Memory, rng: np.random.Generator
) -> Answer:
    """The answer and, of a colour that is not firmly remembered, what there is to say."""
    for name in colors:
        if name not in memory or memory[name].firm or not is_rated(name, memory):
            continue
        kind = memory[name].kind
        more = " " + vaguely(name, memory[name].truth, rng)
        if kind == "unknown":
            more = _choose(_FORGOTTEN_COLOR, rng)
        answer = Answer(answer.text + more, {**answer.recalled, name: kind})
    return answer


def _gender(memory: Memory) -> str | None:
    """The gender that the witness tells."""
    return memory["gender"].value if memory["gender"].firm else None


def _choose(texts: tuple[str, ...], rng: np.random.Generator) -> str:
    """One of the texts, each as likely."""
    return texts[rng.integers(len(texts))]
