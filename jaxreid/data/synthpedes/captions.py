"""Captions of synthpedes: what a passer-by writes about a picture of a person.

Lengths, openings, sentence patterns and how often a part is told follow the public captions of
CUHK-PEDES: mean 24 words, 5 % below 16 and 5 % above 39, one to three sentences, the shoes in half
of the captions and the hair in a third.
"""

from typing import NamedTuple

import numpy as np

from jaxreid.data.synthpedes import noun_phrases, wording
from jaxreid.data.synthpedes.noun_phrases import Look, Phrase
from jaxreid.data.synthpedes.person import pick
from jaxreid.data.synthpedes.sentences import Parts, Subject, write
from jaxreid.data.synthpedes.visibility import visible
from jaxreid.data.synthpedes.wording import chance

CAPTIONS = 2  # of an image

# Words of a caption: at least a few, and a log-normal number more; with what is told at last
# running over by a few words, the quantiles are those of CUHK-PEDES.
_FEWEST_WORDS, _MEDIAN_MORE, _LOG_SPREAD = 13.1, 6.8, 0.74

# How early a part comes to mind, relative; parts are told until the caption is long enough.
_SALIENCE = {
    "top": 60.0, "bottom": 45.0, "outer": 70.0, "shoes": 1.6, "hair": 0.7, "bag": 8.0, "held": 6.0,
    "hat": 7.0, "glasses": 3.5, "scarf": 7.0, "beard": 0.9, "manner": 0.35, "figure": 0.25,
}  # fmt: skip
_PHRASES = {
    "top": noun_phrases.top, "bottom": noun_phrases.bottom, "outer": noun_phrases.outer,
    "shoes": noun_phrases.shoes, "hair": noun_phrases.hair, "bag": noun_phrases.bag,
    "held": noun_phrases.held, "hat": noun_phrases.hat, "glasses": noun_phrases.glasses,
    "scarf": noun_phrases.scarf, "beard": noun_phrases.beard,
}  # fmt: skip
# How the person stands to the camera; whether they walk is not an attribute, so it is not told.
_MANNERS = {
    "front": {"facing the camera": 5, "facing forward": 4, "looking straight ahead": 2,
              "looking at the camera": 1, "facing front": 2, "seen from the front": 3,
              "turned towards the camera": 1, "looking forward": 2},
    "back": {"facing away from the camera": 5, "seen from behind": 4, "facing away": 3,
             "turned away": 2, "seen from the back": 2, "viewed from behind": 2,
             "looking away from the camera": 2, "turned with {their} back to the camera": 2},
    "left": {"facing left": 4, "seen from the side": 4, "turned to the side": 2,
             "looking to the left": 3, "turned to the left": 2, "in profile": 1,
             "viewed from the side": 1, "facing to the left": 2, "turned sideways": 1},
    "right": {"facing right": 4, "seen from the side": 4, "turned to the side": 2,
              "looking to the right": 3, "turned to the right": 2, "in profile": 1,
              "viewed from the side": 1, "facing to the right": 2, "turned sideways": 1},
}  # fmt: skip


class Description(NamedTuple):
    """A caption and the attributes that its words tell something about."""

    text: str
    mentions: frozenset[str]


def describe(person: dict[str, str], view: str, rng: np.random.Generator) -> Description:
    """Writes a caption of the person as seen from `view`.

    The words depend on the visible attributes alone, and every statement is true of them.

    Args:
      person: attribute -> value, without conflicts.
      view: one of VIEWS.
      rng: the only source of chance.

    Returns:
      The caption and its attributes: some of the visible ones, never all (of build and skin at
      most one is told).
    """
    seen = visible(person, view)
    look = {attribute: person[attribute] for attribute in sorted(seen)}
    words = _FEWEST_WORDS + np.exp(rng.normal(np.log(_MEDIAN_MORE), _LOG_SPREAD))
    detail = float(np.clip((words - 15) / 25, 0, 1))
    subject, told = _subject(look, rng)
    mentions = set(told)
    parts = Parts()
    length = 3.0  # "the man is wearing"
    for topic in _by_salience(rng):
        if length >= words:
            break
        if topic == "manner":
            parts = parts._replace(manner=pick(rng, _MANNERS[view]))
            length += len(parts.manner.split())
        elif topic == "figure":
            length += 1
            if chance(rng, 0.7) and look["build"] in wording.BUILD_WORDS:
                mentions.add("build")
                adjective = pick(rng, wording.BUILD_WORDS[look["build"]])
                subject = subject._replace(adjective=adjective)
            elif chance(rng, 0.4):
                parts, length = _add(parts, length, "skin", noun_phrases.skin(look, rng, detail))
        else:
            parts, length = _add(parts, length, topic, _PHRASES[topic](look, rng, detail))
    text = write(subject, parts, rng)
    return Description(text, frozenset(mentions.union(*(p.mentions for p in parts.phrases()))))


def caption(person: dict[str, str], view: str, rng: np.random.Generator) -> str:
    """Returns the text of `describe`."""
    return describe(person, view, rng).text


def captions(person: dict[str, str], view: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Returns CAPTIONS captions of an image, drawn independently, no two of them equal."""
    texts: list[str] = []
    while len(texts) < CAPTIONS:
        text = caption(person, view, rng)
        if text not in texts:
            texts.append(text)
    return tuple(texts)


def _subject(look: Look, rng: np.random.Generator) -> tuple[Subject, set[str]]:
    """Who the caption is about, and {"gender"} unless the words leave it open."""
    gender = look.get("gender")
    if gender is None or chance(rng, 0.04):
        return Subject(pick(rng, wording.NEUTRAL_WORDS), "they", "their"), set()
    words = wording.NEUTRAL_WORDS if chance(rng, 0.03) else wording.GENDER_WORDS[gender]
    he, his = ("he", "his") if gender == "man" else ("she", "her")
    return Subject(pick(rng, words), he, his), {"gender"}


def _by_salience(rng: np.random.Generator) -> list[str]:
    """The topics, likely the salient ones first."""
    waits = {topic: rng.exponential() / salience for topic, salience in _SALIENCE.items()}
    return sorted(waits, key=waits.get)


def _add(parts: Parts, length: float, topic: str, phrase: Phrase | None) -> tuple[Parts, float]:
    """`parts` with the phrase, if there is one, and the length with its words and a link."""
    if phrase is None:
        return parts, length
    return parts.add(topic, phrase), length + len(phrase.text.split()) + 1.2
