"""Sentences of captions: from the parts that are told to one to three English sentences."""

from typing import NamedTuple

import numpy as np

from jaxreid.data.synthpedes.noun_phrases import Phrase
from jaxreid.data.synthpedes.person import pick
from jaxreid.data.synthpedes.wording import article, chance

_WORN = ("outer", "top", "bottom", "shoes", "hat", "scarf", "glasses")
_FEATURES = ("hair", "beard", "skin")
_CARRIED = ("bag", "held")
_MOST = 3  # sentences
_LONG = 11  # words of a sentence after which the next clause rather starts a new one


class Subject(NamedTuple):
    """Who a caption is about."""

    noun: str  # "man"
    pronoun: str  # "he", "she" or "they"
    possessive: str  # "his", "her" or "their"
    adjective: str = ""  # "tall"

    def named(self) -> str:
        """Returns the noun with its adjective."""
        return f"{self.adjective} {self.noun}".strip()


class Parts(NamedTuple):
    """What is told of a person: (topic, phrase) in the order of telling, and what they do."""

    told: tuple[tuple[str, Phrase], ...] = ()
    manner: str = ""  # "walking away"

    def add(self, topic: str, phrase: Phrase) -> "Parts":
        """Returns the parts with one more."""
        return self._replace(told=(*self.told, (topic, phrase)))

    def phrases(self) -> tuple[Phrase, ...]:
        """Returns the phrases alone."""
        return tuple(phrase for _, phrase in self.told)

    def of(self, topics: tuple[str, ...]) -> list[tuple[str, Phrase]]:
        """Returns the parts of some topics, in the order of `topics`."""
        told = dict(self.told)
        return [(topic, told[topic]) for topic in topics if topic in told]


class _Clause(NamedTuple):
    """One thing said of the subject: kind "wear", "has", "carry" or "manner", and its words."""

    kind: str
    words: str
    predicate: str = ""  # of a clause with one phrase: "shoes are white"


def write(subject: Subject, parts: Parts, rng: np.random.Generator) -> str:
    """Returns the caption that tells the parts, with at least one part in it.

    Args:
      subject: who it is about.
      parts: what is told.
      rng: the only source of chance.
    """
    before, *clauses = _clauses(parts, rng)
    finite = not chance(rng, 0.42)
    opening = _finite_opening if finite else _fragment_opening
    sentences = [opening(subject, before, rng)]
    for clause in clauses:
        closed = f"{subject.possessive} {before.predicate}" == sentences[-1]  # nothing can follow
        if closed or (len(sentences) < _MOST and _starts_sentence(sentences[-1], rng)):
            if len(sentences) > 1 and clause is not clauses[-1]:
                clause = clause._replace(predicate="")  # leaves no sentence for those to come
            sentences.append(_next_sentence(subject, clause, rng))
            finite = True
        else:
            many = sentences[-1].lower().startswith("they ")
            link = _finite_link if finite else _fragment_link
            links = link(before.kind, clause, many)
            sentences[-1] += f"{pick(rng, links)} {clause.words}"
        before = clause
    text = ". ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)
    text = text.replace("{their}", subject.possessive)
    return text if chance(rng, 0.03) else f"{text}."


def _clauses(parts: Parts, rng: np.random.Generator) -> list[_Clause]:
    """Groups the parts into clauses, the clothes mostly first."""
    worn = _worn(parts, rng)
    first, later = [], []
    if worn:
        cut = len(worn)
        if len(worn) >= 4 or (len(worn) == 3 and chance(rng, 0.3)):
            cut = int(rng.integers(2, len(worn)))
        first.append(_clause("wear", worn[:cut], rng))
        if worn[cut:]:
            later.append(_clause("wear", worn[cut:], rng))
    if features := parts.of(_FEATURES):
        (first if chance(rng, 0.5) else later).append(_clause("has", features, rng))
    if carried := parts.of(_CARRIED):
        (first if chance(rng, 0.08) else later).append(_clause("carry", carried, rng))
    if parts.manner:
        (first if chance(rng, 0.5) else later).append(_Clause("manner", parts.manner))
    # Before the clothes come features and manner: "A man with short hair walking in a blue ...".
    order = {"has": 0, "manner": 1, "carry": 2, "wear": 3}
    first.sort(key=lambda clause: order[clause.kind])
    return first + [later[i] for i in rng.permutation(len(later))]


def _worn(parts: Parts, rng: np.random.Generator) -> list[tuple[str, Phrase]]:
    """The clothes in the order of telling, the layer above the top joined to it at times."""
    told = dict(parts.of(_WORN))
    if "outer" in told and "top" in told and chance(rng, 0.5):
        over, under = told.pop("outer"), told.pop("top")
        words = f"{over.text} over {under.text}"
        if " that " in over.text or chance(rng, 0.2):
            words = f"{under.text} under {over.text}"
        told["top"] = Phrase(words, over.mentions | under.mentions)
    topics = [topic for topic in _WORN if topic in told]
    if chance(rng, 0.15):
        topics = [topics[i] for i in rng.permutation(len(topics))]
    return [(topic, told[topic]) for topic in topics]


def _clause(kind: str, told: list[tuple[str, Phrase]], rng: np.random.Generator) -> _Clause:
    """A clause of one or more parts."""
    texts = [phrase.text for _, phrase in told]
    predicate = told[0][1].predicate if len(told) == 1 else ""
    topics = [topic for topic, _ in told]
    # Not after "a red shirt with white dots": two times "with" cannot be told apart.
    linked = kind == "wear" and topics[0] in ("top", "outer") and topics[1:2] == ["bottom"]
    if linked and not {"with", "that"} & set(texts[0].split()) and chance(rng, 0.4):
        link = pick(rng, {"with": 9, "along with": 1, "paired with": 1, "and": 1, "as well as": 1})
        return _Clause(kind, f"{texts[0]} {link} {_join(texts[1:], rng)}", predicate)
    return _Clause(kind, _join(texts, rng), predicate)


def _join(texts: list[str], rng: np.random.Generator) -> str:
    """Returns "a, b and c", with or without the comma before "and"."""
    if len(texts) < 3:
        return " and ".join(texts)
    comma = "," if chance(rng, 0.5) else ""
    return f"{', '.join(texts[:-1])}{comma} and {texts[-1]}"


def _finite_opening(subject: Subject, clause: _Clause, rng: np.random.Generator) -> str:
    """ "The man is wearing ...": a sentence with a verb."""
    who = pick(rng, {"the": 66, "this": 10, "a": 12, "pronoun": 12 * (not subject.adjective)})
    if who == "pronoun":
        return _statement(subject, subject.pronoun, clause, "", rng)
    named = article(subject.named()) if who == "a" else f"{who} {subject.named()}"
    where = {"": 95, " in this picture": 2, " in the image": 1, " in the photo": 1}
    return _statement(subject._replace(pronoun="he"), named + pick(rng, where), clause, "", rng)


def _statement(
    subject: Subject, who: str, clause: _Clause, also: str, rng: np.random.Generator
) -> str:
    """ "he is also wearing ...": who does what; `also` is "" or "also "."""
    many = subject.pronoun == "they"
    be, have, s = ("are", "have", "") if many else ("is", "has", "s")
    verbs = {
        "wear": {f"{be} {also}wearing": 70, f"{also}wear{s}": 14, f"{also}{have} on": 6,
                 f"{be} {also}dressed in": 4},
        "has": {f"{also}{have}": 1},
        "carry": {f"{be} {also}carrying": 66, f"{also}{'carry' if many else 'carries'}": 12,
                  f"{also}{have}": 16},
        "manner": {be: 1},
    }  # fmt: skip
    if clause.words.endswith((" feet", " head")):  # not "has on shoes on his feet"
        del verbs["wear"][f"{also}{have} on"]
    if clause.words.endswith(" hand"):
        verbs["carry"] = {f"{be} {also}holding": 5, f"{also}hold{s}": 1, f"{be} {also}carrying": 2}
    return f"{who} {pick(rng, verbs[clause.kind])} {clause.words}"


def _fragment_opening(subject: Subject, clause: _Clause, rng: np.random.Generator) -> str:
    """ "A man wearing ...": a description without a verb of its own."""
    named = subject.named()
    who = pick(rng, {article(named): 90, f"the {named}": 6, f"this is {article(named)}": 3,
                     f"there is {article(named)}": 1})  # fmt: skip
    verbs = {
        "wear": {
            "wearing": 66,
            "in": 22,
            "dressed in": 6,
            "who is wearing": 3,
            "sporting": 1,
            "clad in": 1,
        },
        "has": {"with": 1},
        "carry": {"carrying": 8, "with": 2},
        "manner": {"": 8, "who is": 1},
    }
    return " ".join(f"{who} {pick(rng, verbs[clause.kind])} {clause.words}".split())


def _starts_sentence(sentence: str, rng: np.random.Generator) -> bool:
    """True if the next clause gets a sentence of its own: rarely after a short sentence."""
    words = len(sentence.split())
    return chance(rng, 0.15 if words <= _LONG else 0.6 if words <= 1.5 * _LONG else 0.95)


def _next_sentence(subject: Subject, clause: _Clause, rng: np.random.Generator) -> str:
    """A sentence after the first: "He is also carrying ...", "Her hair is long"."""
    if clause.predicate and chance(rng, 0.3):
        return f"{subject.possessive} {clause.predicate}"
    also = "" if clause.kind == "manner" or chance(rng, 0.7) else "also "
    if chance(rng, 0.15):
        who = f"the {subject.noun}"
        return _statement(subject._replace(pronoun="he"), who, clause, also, rng)
    return _statement(subject, subject.pronoun, clause, also, rng)


def _finite_link(before: str, clause: _Clause, many: bool) -> dict[str, float]:
    """How a clause may follow one of kind `before` in a sentence with a verb; many: of "they"."""
    be, have = ("are", "have") if many else ("is", "has")
    if clause.kind == "wear":
        if before == "wear":
            return {" along with": 3, " and": 3, ", as well as": 1, " and also": 1}
        return {f" and {be} wearing": 6, ", wearing": 2 * (before == "manner")}
    if clause.kind == "has":
        return {f" and {have}": 3, " with": 2 * (before == "manner"), ", with": before == "wear"}
    if clause.kind == "carry":
        return {f" and {be} carrying": 6, ", carrying": 2 * (before in ("wear", "manner")),
                " while carrying": before == "manner"}  # fmt: skip
    return {f" and {be}": 3, " while": before == "wear" and clause.words.startswith("facing")}


def _fragment_link(before: str, clause: _Clause, many: bool) -> dict[str, float]:
    """How a clause may follow one of kind `before` in a description without a verb."""
    if clause.kind == "wear":
        if before == "wear":
            return {" along with": 3, " and": 4, ", as well as": 1}
        return {" wearing": 6, ", wearing": 3, " and wearing": 2 * (before != "has"),
                " in": before in ("manner", "has")}  # fmt: skip
    if clause.kind == "has":
        return {" with": 3 * (before == "manner"), ", with": 2, " and with": 1}
    if clause.kind == "carry":
        return {" and carrying": 5, ", carrying": 4, " carrying": 2, " while carrying": 1}
    return {",": 3, "": 2 * (before == "has")}
