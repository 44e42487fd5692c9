"""Dialogues of synthpedes: a questioner asks a witness about a person, one matter a round.

The witness tells what one picture shows, truthfully, but does not remember everything, and people
remember a coat better than shoes: REMEMBERED says how well. A policy that asks has something to
win only because the topics differ in this.
"""

import re
from typing import NamedTuple

import numpy as np

from jaxreid.data.synthpedes.noun_phrases import Look, Phrase
from jaxreid.data.synthpedes.person import pick
from jaxreid.data.synthpedes.topics import REMEMBERED, TOPICS
from jaxreid.data.synthpedes.visibility import visible
from jaxreid.data.synthpedes.wording import chance

ROUNDS = (5, 8)  # fewest and most of a dialogue
_TELLING = 3  # at least so many rounds tell something of the looks
# How early a topic is asked about, relative.
_URGENCY = {
    "looks": 14.0, "gender": 4.0, "top": 12.0, "bottom": 6.0, "outer": 3.0, "bag": 4.0,
    "shoes": 2.0, "hair": 3.0, "hair style": 1.0, "hat": 1.5, "glasses": 1.5, "pattern": 1.5,
    "sleeves": 1.0, "held": 1.2, "bag side": 0.8, "beard": 0.6, "scarf": 0.5, "build": 1.0,
    "skin": 0.6,
}  # fmt: skip
_FORGOTTEN = (
    "I don't remember.", "I'm not sure about that.", "Sorry, I can't recall that.",
    "I didn't pay attention to that.", "I don't remember, sorry.", "Hmm, I really can't remember.",
)  # fmt: skip
_UNSEEN = {
    "front": ("I couldn't see that.", "I can't say, I only saw {them} from the front."),
    "back": ("I can't say, I only saw {them} from behind.", "{Their} back was to me, so no idea."),
    "left": ("I couldn't see that from the side.", "I only saw {their} left side, so I can't say."),
    "right": ("I couldn't see that from the side.", "I only saw {their} right side, so no idea."),
}
_TELLS_GENDER = re.compile(
    r"\b(he|she|his|her|him|man|woman|male|female|guy|gentleman|fellow|lady)\b"
)


class Round(NamedTuple):
    """One question with its answer."""

    topic: str  # a key of TOPICS
    question: str
    answer: str
    mentions: frozenset[str]  # attributes that the answer tells; empty if it tells nothing


def converse(person: dict[str, str], view: str, rng: np.random.Generator) -> tuple[Round, ...]:
    """Returns ROUNDS rounds, each about another topic, about the person as seen from `view`.

    Args:
      person: attribute -> value, without conflicts.
      view: one of VIEWS, from where the witness saw the person.
      rng: the only source of chance.
    """
    look = {attribute: person[attribute] for attribute in sorted(visible(person, view))}
    while True:
        rounds = _rounds(look, person["gender"], view, rng)
        telling = sum(bool(r.mentions) for r in rounds)
        if len(rounds) >= ROUNDS[0] and telling >= _TELLING:
            return rounds


def dialogue(person: dict[str, str], view: str, rng: np.random.Generator) -> list:
    """Returns the rounds of `converse` in the format of ChatPedes.

    A round is [{"from": "gpt", "value": question}, {"from": "user", "value": answer}].
    """
    return [
        [{"from": "gpt", "value": r.question}, {"from": "user", "value": r.answer}]
        for r in converse(person, view, rng)
    ]


def _rounds(look: Look, gender: str, view: str, rng: np.random.Generator) -> tuple[Round, ...]:
    """One draw of a dialogue; the questioner says "they" until an answer has told the gender."""
    waits = {topic: rng.exponential() / urgency for topic, urgency in _URGENCY.items()}
    count = int(rng.integers(ROUNDS[0], ROUNDS[1] + 1))
    rounds: list[Round] = []
    known = None  # the gender, once it is told
    for topic in sorted(waits, key=waits.get):
        if len(rounds) == count:
            break
        if not _worth_asking(topic, rounds, known):
            continue
        question = _choose(TOPICS[topic].questions, rng)
        answer, mentions = _answer(topic, look, view, rng)
        question, answer = _fill(question, known), _fill(answer, gender)
        rounds.append(Round(topic, question, answer, mentions))
        if _TELLS_GENDER.search(answer.lower()):
            known = gender
    return tuple(rounds)


def _worth_asking(topic: str, rounds: list[Round], known: str | None) -> bool:
    """False for questions that an earlier answer has settled, or that come out of nowhere."""
    told = frozenset().union(*(r.mentions for r in rounds))
    if topic == "looks":  # opens a dialogue or is not asked
        return not rounds
    if topic == "gender":
        return known is None
    if topic == "beard":
        return known == "man"
    return not (TOPICS[topic].settled_by & told) and TOPICS[topic].needs <= told


def _answer(
    topic: str, look: Look, view: str, rng: np.random.Generator
) -> tuple[str, frozenset[str]]:
    """The answer as a template, and what it tells."""
    asked = TOPICS[topic]
    if topic == "bottom" and look.get("top_type") == "dress":
        return "None of these, {they} {were} wearing a dress.", frozenset({"top_type"})
    if asked.attribute not in look:
        return _choose(_UNSEEN[view], rng), frozenset()
    if not chance(rng, REMEMBERED[topic]):
        return _choose(_FORGOTTEN, rng), frozenset()
    phrase: Phrase | None = asked.say(look, rng)
    if phrase is None:
        return pick(rng, asked.absent), frozenset({asked.attribute})
    return pick(rng, asked.present).replace("{phrase}", phrase.text), phrase.mentions


def _choose(texts: tuple[str, ...], rng: np.random.Generator) -> str:
    """One of the texts, each as likely."""
    return texts[rng.integers(len(texts))]


def _fill(template: str, gender: str | None) -> str:
    """Puts the pronouns of a gender, or "they", into a template and a capital in front."""
    they, them, their, was = {
        "man": ("he", "him", "his", "was"),
        "woman": ("she", "her", "her", "was"),
        None: ("they", "them", "their", "were"),
    }[gender]
    text = template.format(
        they=they, them=them, their=their, were=was, They=they.capitalize(),
        Their=their.capitalize(),
    )  # fmt: skip
    return text[0].upper() + text[1:]
