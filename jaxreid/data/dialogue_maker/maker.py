"""Makes dialogues of records with attributes: memory, questions in any order, answers, words."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreid.data.dialogue_maker.matters import (
    COUNTED,
    Matter,
    is_missing,
    pronoun_gender,
    with_article,
    words_for,
)
from jaxreid.data.dialogues import Dialogue, Round
from jaxreid.data.synthpedes.attributes import COLORS, colors_close
from jaxreid.data.synthpedes.dialogue import FORGOTTEN, TELLS_GENDER, fill
from jaxreid.data.synthpedes.memory import RATES, Rates, Recollection
from jaxreid.data.synthpedes.person import pick
from jaxreid.data.synthpedes.vague import VAGUE, vaguely
from jaxreid.data.triplet_maker.records import NONE, Record

# Of an attribute that synthpedes does not have, or does not show.
OTHER_RATES = Rates(unknown=0.15, vague=0.08, wrong=0.06)
_COLOR = "_color"
_CLOSE_WEIGHT = 5.0  # of a colour that is close to the true one
_COLOR_TOLD = 0.6  # share of the colours that are told with the kind, unasked
_ROUGHLY = {
    True: ("I have only a rough idea of it.", "Nothing that caught the eye, I think.",
           "Nothing special, I think.", "I could not describe it."),
    False: ("I don't think so, but I'm not sure.", "Perhaps not."),
}  # fmt: skip

Words = Callable[[str, Sequence["Turn"]], Sequence[tuple[str, str]]]


class Told(NamedTuple):
    """What is remembered of one attribute, and so what an answer has to tell of it."""

    attribute: str
    kind: str  # one of `memory.KINDS`
    value: str  # the value that is told, a true or a wrong one; "" if none is
    truth: str  # the true value


class Turn(NamedTuple):
    """One question and its answer."""

    asked: Told
    aside: Told | None  # a colour that the answer tells unasked
    question: str
    answer: str


class Plan(NamedTuple):
    """How dialogues are made."""

    matters: Mapping[str, Matter]  # by attribute
    values: Mapping[str, Mapping[str, int]]  # attribute -> value -> how often it occurs
    rates: Mapping[str, Rates]  # of every attribute
    rounds: tuple[int, int] = (5, 10)  # fewest and most, if there is as much to ask
    per_image: int = 2


def make_rates(
    names: Collection[str],
    stated: Mapping[str, Rates],
    *,
    unknown: float | None = None,
    vague: float | None = None,
    wrong: float | None = None,
) -> dict[str, Rates]:
    """Returns the rates of every attribute: those of synthpedes, unless stated otherwise.

    Args:
      names: attributes of the table.
      stated: rates of single attributes; they go before all others.
      unknown, vague, wrong: of all attributes that `stated` does not have; None leaves them.

    Raises:
      ValueError: an attribute is unknown, a rate is not in [0, 1] or the three are more than 1.
    """
    for name in stated:
        if name not in names:
            raise ValueError(f"rates: unknown attribute {name!r}; known are {', '.join(names)}")
    given = {"unknown": unknown, "vague": vague, "wrong": wrong}
    given = {kind: rate for kind, rate in given.items() if rate is not None}
    rates = {}
    for name in names:
        known = RATES.get(name) or RATES.get(f"{name}_type") or OTHER_RATES
        known = OTHER_RATES if name == "height" else known  # no picture of synthpedes shows it
        rates[name] = stated[name] if name in stated else known._replace(**given)
        if min(rates[name]) < 0 or sum(rates[name]) > 1:
            raise ValueError(
                f"rates of {name!r} must be >= 0 and at most 1 together, got "
                f"{', '.join(f'{kind} {rate}' for kind, rate in rates[name]._asdict().items())}"
            )
    return rates


def count_values(rows: Iterable[Mapping[str, str]]) -> dict[str, Counter]:
    """Returns attribute -> value -> in how many rows of attributes."""
    values: dict[str, Counter] = {}
    for row in rows:
        for name, value in row.items():
            values.setdefault(name, Counter())[value] += 1
    return {name: values[name] for name in sorted(values)}


def make(
    records: Sequence[Record], plan: Plan, seed: Sequence[int], words: Words | None = None
) -> Iterator[tuple[tuple[Turn, ...], ...]]:
    """Yields the dialogues of each record, `plan.per_image` of them, by witnesses of their own.

    Args:
      records: images with attributes; only what an image shows is remembered.
      plan: what is asked, and how well it is remembered.
      seed: numbers >= 0; a record has the same dialogues whatever comes before it.
      words: gives a dialogue other words, as a language model: (file, turns) -> a question and an
        answer for each turn.

    Raises:
      ValueError: `words` gives back something else.
    """
    for number, record in enumerate(records):
        rng = np.random.default_rng((*seed, number))
        made = [converse(record.visible, plan, rng) for _ in range(plan.per_image)]
        if words is not None:
            made = [_reworded(record.file, turns, words) for turns in made]
        yield tuple(made)


def as_dialogue(turns: Sequence[Turn]) -> Dialogue:
    """Returns what was said in the turns."""
    return Dialogue(tuple(Round(turn.question, turn.answer) for turn in turns))


def askable(look: Mapping[str, str], matters: Mapping[str, Matter]) -> list[str]:
    """Returns the attributes of an image that can be asked for: no details of missing parts."""
    return [
        name
        for name, matter in matters.items()
        if name in look and not is_missing(matter, look) and (look[name] != NONE or matter.absent)
    ]


def remember(
    look: Mapping[str, str], plan: Plan, rng: np.random.Generator
) -> dict[str, Recollection]:
    """Returns what a witness remembers of what can be asked for, each by its rates."""
    return {name: _recall(name, look[name], plan, rng) for name in askable(look, plan.matters)}


def mistakable(attribute: str, truth: str, plan: Plan) -> dict[str, float]:
    """Returns the values that a true one may be taken for, as often as they occur.

    A value counts only if there are words for it that are none for the true one.
    """
    others = {}
    for value, count in plan.values[attribute].items():
        if value == truth or (value == NONE and not plan.matters[attribute].absent):
            continue
        if value != NONE and not _own_words(attribute, value, truth):
            continue
        close = {truth, value} <= set(COLORS) and colors_close(truth, value)
        others[value] = count * (_CLOSE_WEIGHT if close else 1.0)
    return others


def converse(look: Mapping[str, str], plan: Plan, rng: np.random.Generator) -> tuple[Turn, ...]:
    """Returns one dialogue about an image: attributes in any order, each asked for once.

    Args:
      look: attribute -> value, what the image shows; with something to ask.
      plan: as in `make`.
      rng: the only source of chance.
    """
    memory = remember(look, plan, rng)
    count = int(rng.integers(plan.rounds[0], plan.rounds[1] + 1))
    waiting = [list(memory)[i] for i in rng.permutation(len(memory))]
    unasked = {name for name in memory if rng.random() < _COLOR_TOLD}
    gender = _gender(memory)
    turns: list[Turn] = []
    known = None
    while waiting and len(turns) < count:
        name = waiting.pop(0)
        matter = plan.matters[name]
        if matter.head in memory and _denied(memory[matter.head]):
            continue  # the witness told, or would tell, that there is no such part
        color = matter.color if matter.color in unasked else ""
        if color in waiting:  # told with the kind, remembered or not: not asked for any more
            waiting.remove(color)
        else:
            color = ""
        answer, told = _answer(matter, memory, color, rng)
        question = matter.questions[rng.integers(len(matter.questions))]
        aside = _told(color, memory) if color in told else None
        turns.append(Turn(_told(name, memory), aside, fill(question, known), fill(answer, gender)))
        if TELLS_GENDER.search(turns[-1].answer.lower()):
            known = gender
    return tuple(turns)


def _recall(name: str, truth: str, plan: Plan, rng: np.random.Generator) -> Recollection:
    """What is remembered of one attribute."""
    number, kind = rng.random(), "true"
    for candidate, rate in plan.rates[name]._asdict().items():
        if 0 <= number < rate:
            kind = candidate
        number -= rate
    if kind != "wrong":
        return Recollection(kind, truth, truth)
    others = mistakable(name, truth, plan)
    if not others:  # nothing in the table that it could be taken for
        return Recollection("true", truth, truth)
    return Recollection("wrong", pick(rng, others), truth)


def _told(name: str, memory: Mapping[str, Recollection]) -> Told:
    """What is told of an attribute."""
    told = memory[name]
    return Told(name, told.kind, told.value if told.firm else "", told.truth)


def _denied(told: Recollection) -> bool:
    """Whether the witness tells that there is no part."""
    return told.firm and told.value == NONE


def _answer(
    matter: Matter, memory: Mapping[str, Recollection], color: str, rng: np.random.Generator
) -> tuple[str, set[str]]:
    """What is said of an attribute, and of its colour if that is told as well; what it tells."""
    name, told = matter.attribute, memory[matter.attribute]
    if told.kind == "unknown":
        return FORGOTTEN[rng.integers(len(FORGOTTEN))], set()
    if told.kind == "vague":
        return _vaguely(name, told.truth, rng), set()
    if told.value == NONE:
        return matter.absent[rng.integers(len(matter.absent))], {name}
    phrase = _word(told, name, rng)
    if name == "sleeves" and phrase in ("long", "short"):
        return ("{told}.", "It had {told}.")[rng.integers(2)].replace(
            "{told}", f"{phrase} sleeves"
        ), {name}
    if not matter.head and matter.noun and name.endswith(_COLOR):
        phrase = f"{phrase} {matter.noun}"  # the colour is all that is known of the part
    says = {name}
    shade = memory.get(color)
    if shade is not None and shade.firm and shade.value != NONE:
        phrase = f"{_word(shade, color, rng)} {phrase}"
        says.add(color)
    if name in COUNTED or (matter.noun and not matter.head):
        phrase = with_article(phrase)
    text = matter.present[rng.integers(len(matter.present))]
    return text.replace("{told}", phrase), says


def _word(told: Recollection, attribute: str, rng: np.random.Generator) -> str:
    """A word for what is told; for a wrong value one that is none for the true one."""
    if told.kind == "wrong":
        return pick(rng, _own_words(attribute, told.value, told.truth))
    return pick(rng, words_for(attribute, told.value))


def _own_words(attribute: str, value: str, truth: str) -> dict[str, float]:
    """The words for a value that are none for the true one."""
    shared = words_for(attribute, truth) if truth != NONE else {}
    return {word: w for word, w in words_for(attribute, value).items() if word not in shared}


def _vaguely(attribute: str, truth: str, rng: np.random.Generator) -> str:
    """What is said of something that is hardly remembered; true of the value."""
    of = attribute if attribute in VAGUE else "top_color" if attribute.endswith(_COLOR) else ""
    if any(truth in values for values in VAGUE.get(of, {})):
        return vaguely(of, truth, rng)
    texts = _ROUGHLY[truth != NONE]
    return texts[rng.integers(len(texts))]


def _gender(memory: Mapping[str, Recollection]) -> str | None:
    """The gender that the witness tells."""
    told = memory.get("gender")
    return pronoun_gender(told.value) if told is not None and told.firm else None


def _reworded(file: str, turns: Sequence[Turn], words: Words) -> tuple[Turn, ...]:
    """The turns in other words."""
    given: Any = words(file, turns)
    try:
        pairs = [(question, answer) for question, answer in given]
        whole = all(isinstance(text, str) and text.strip() for pair in pairs for text in pair)
    except (TypeError, ValueError):
        pairs, whole = [], False
    if not whole or len(pairs) != len(turns):
        raise ValueError(
            f"words must return {len(turns)} pairs of a question and an answer for {file}, "
            f"got {given!r:.80}"
        )
    return tuple(
        turn._replace(question=" ".join(question.split()), answer=" ".join(answer.split()))
        for turn, (question, answer) in zip(turns, pairs, strict=True)
    )
