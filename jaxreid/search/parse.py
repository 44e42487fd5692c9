"""What a typed line means: a command, an answer to the question asked, or more of a description."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxreid.search.attributes import NONE, Attribute, Scheme
from jaxreid.search.naming import (
    begins,
    clauses_of,
    other_things,
    read_others,
    values_of,
    words_in,
)

COMMANDS = ("help", "show", "why", "sheet", "save", "undo", "change", "correct", "quit")
_ALIASES = {"exit": "quit", "q": "quit", "bye": "quit", "?": "help", "list": "show"}

_UNKNOWN = re.compile(
    r"\b(i )?(really |honestly )?"
    r"(do not|don'?t|did not|didn'?t|can ?not|can'?t|could not|couldn'?t)( really| quite)? "
    r"(know|remember|recall|see|say|tell|notice|pay attention)( (that|it|them))?\b"
    r"|\b(i'?m |i am )?(not|un) ?(sure|certain)( about (that|it))?\b"
    r"|\bno (idea|clue)\b|\bdunno\b|\bidk\b|\bi forgot\b|\b(skip|pass|unknown|who knows)\b"
)
_NO = re.compile(r"^(no|nope|nah|none|nothing|neither|not really|not any)\b")
_YES = re.compile(r"^(yes|yeah|yep|yup|sure|right|of course|correct)\b")
# A question that asks for a value: "no" is no answer to it.
_ASKS_WHICH = re.compile(
    r"^(what|which|how|on which|in which|where)\b|\bor\b(?! cap| a coat)", re.I
)
_FILLERS = frozenset(
    (
        "a", "about", "an", "and", "are", "believe", "but", "er", "guess", "had", "have", "he",
        "hello", "her", "hey", "hi", "him", "his", "hm", "hmm", "i", "is", "it", "its", "just",
        "like", "maybe", "my", "no", "not", "of", "oh", "ok", "okay", "or", "perhaps", "please",
        "probably", "really", "she", "so", "sorry", "sure", "thank", "thanks", "that", "the",
        "their", "them", "there", "they", "think", "this", "wait", "was", "wearing", "well",
        "were", "with", "wore", "yes", "you",
    )
)  # fmt: skip
_CLOSE = 0.8  # how alike a mistyped word must be


class Line(NamedTuple):
    """What a line means."""

    # of COMMANDS | "answer" | "words" | "again": not understood
    kind: str
    attribute: str = ""  # of "change"; of an answer to another question than the one asked
    # of "answer" and "change": values that are left open, none is "I don't know"; None: ask
    values: tuple[str, ...] | None = None
    text: str = ""  # of "words"; besides an answer: what joins the description; of "sheet": a file
    note: str = ""  # a sentence for who typed


def parse(line: str, scheme: Scheme, asked: str, answered: Mapping[str, Sequence[str]]) -> Line:
    """Returns what a typed line means.

    Args:
      line: as typed.
      scheme: what can be asked.
      asked: attribute of the question that was asked; "" where none was.
      answered: attribute -> values, in the order of the answers.
    """
    line = " ".join(line.split()).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    if not any(letter.isalnum() or letter == "?" for letter in line):
        return Line("again", note="Please type an answer, or help.")
    first, _, rest = line.partition(" ")
    command = _ALIASES.get(first.lower(), first.lower())
    if command in ("help", "show", "why", "undo", "quit") and (
        not rest or (command == "show" and rest.isdigit())
    ):
        return Line(command, text=rest)
    if command in ("sheet", "save") and len(rest.split()) <= 1:
        if not rest:
            return Line("again", note=f"Say which file, as in: {command} found.png")
        return Line(command, text=rest)
    if command in ("change", "correct"):
        return _change(rest, scheme, answered)
    if asked:
        found = read_answer(scheme, asked, line)
        if found is not None:
            return found
    content = [word for word in re.findall(r"[\w'-]+", line.lower()) if word not in _FILLERS]
    for name, values in (read_others(scheme, line) if asked else {}).items():
        if set(content) <= {word for value in values for word in value.split()}:
            return Line("answer", attribute=name, values=values)  # nothing else is said
    known = {word for a in scheme.attributes for value in a.values for word in value.words}
    if not content or (len(line.split()) < 2 and (asked or content[0] not in known)):
        hint = "describe the person in a sentence"
        if asked:
            said = choices(scheme.attributes[scheme.index(asked)])
            hint = f"say {said}, I don't know, or tell more of the person in a sentence"
        return Line("again", note=f"I do not understand {line!r}; {hint}.")
    return Line("words", text=line)


def read_answer(scheme: Scheme, asked: str, line: str) -> Line | None:
    """Returns the answer that a line gives to a question, or None if it gives none.

    "black or navy" leaves two values open, "not black" all others, "yes" all but "none". What is
    said of another thing ("a red umbrella", asked for the top) is no answer.

    Args:
      scheme: what can be asked.
      asked: attribute that was asked for.
      line: as typed.
    """
    attribute = scheme.attributes[scheme.index(asked)]
    others = other_things(scheme, attribute)
    clauses = clauses_of(line)
    for number, clause in enumerate(clauses):
        values = values_of(attribute, clause.lower(), lambda of: not begins(of, others))
        if values:
            rest = _content(clauses[:number] + clauses[number + 1 :])
            return Line("answer", values=values, text=rest)
    lowered = line.lower()
    if _UNKNOWN.search(lowered) or line.strip() == "?":
        rest = [re.sub(_UNKNOWN, " ", clause.lower()) for clause in clauses]
        return Line("answer", values=(), text=_content(rest))
    rest = _content(clauses[1:])
    short = not _content([_NO.sub("", _YES.sub("", clauses[0].lower()))]) if clauses else False
    absent = [value.name for value in attribute.values if NONE in value.words]
    if short and absent and not _ASKS_WHICH.search(attribute.question):
        if _NO.match(lowered):
            return Line("answer", values=tuple(absent), text=rest)
        if _YES.match(lowered):
            present = tuple(v.name for v in attribute.values if v.name not in absent)
            return Line("answer", values=present, text=rest)
    if short and (_NO.match(lowered) or _YES.match(lowered)) and not rest:
        return Line("again", note=f"Please say {choices(attribute)}, or I don't know.")
    return _mistyped(attribute, lowered)


def choices(attribute: Attribute) -> str:
    """Returns the values of an attribute as a list in words."""
    names = [value.name for value in attribute.values]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def find_attribute(
    words: str, scheme: Scheme, answered: Mapping[str, Sequence[str]]
) -> str | list[str]:
    """Returns the attribute that words mean; a list, maybe empty, where not exactly one fits.

    Args:
      words: a number of an answer, from 1, the name of an attribute, or words of it.
      scheme: what can be asked.
      answered: attributes in the order of their answers; they are meant first.
    """
    known = list(answered)
    if words.isdigit() and 1 <= int(words) <= len(known):
        return known[int(words) - 1]
    wanted = words_in(words)
    fits = [
        attribute.name
        for attribute in scheme.attributes
        if wanted and wanted <= words_in(f"{attribute.name.replace('_', ' ')} {attribute.says}")
    ]
    exact = [name for name in fits if words_in(name.replace("_", " ")) == wanted]
    for found in (exact, [name for name in fits if name in answered], fits):
        if len(found) == 1:
            return found[0]
    return fits


def _change(rest: str, scheme: Scheme, answered: Mapping[str, Sequence[str]]) -> Line:
    """A correction: "2 to red", "color of top to red", "2"."""
    words, _, value = re.sub(r"\bto\b", "\0", rest, count=1).partition("\0")
    if not answered:
        return Line("again", note="There is no answer to change yet.")
    name = find_attribute(words.strip(), scheme, answered)
    if not isinstance(name, str) and value.strip():  # "pants" could be two, "shorts" is one
        fits = [fit for fit in name if fit in answered and _is_answer(scheme, fit, value.strip())]
        name = fits[0] if len(fits) == 1 else name
    told = ", ".join(
        f"{number} {scheme.attributes[scheme.index(a)].says}"
        for number, a in enumerate(answered, start=1)
    )
    if not isinstance(name, str) or name not in answered:
        return Line("again", note=f"Which answer? You gave: {told}. Try: change 1 to VALUE")
    attribute = scheme.attributes[scheme.index(name)]
    if not value.strip():
        return Line("change", attribute=name)
    if not _is_answer(scheme, name, value.strip()):
        return Line(
            "again", note=f"{value.strip()!r} is no {attribute.says}: say {choices(attribute)}."
        )
    found = read_answer(scheme, name, value.strip())
    return Line("change", attribute=name, values=found.values, text=found.text, note=found.note)


def _is_answer(scheme: Scheme, name: str, value: str) -> bool:
    """Whether words are a value of an attribute."""
    found = read_answer(scheme, name, value)
    return found is not None and found.kind == "answer"


def _mistyped(attribute: Attribute, line: str) -> Line | None:
    """The value that a short line nearly names."""
    words = {word: value.name for value in attribute.values for word in value.words}
    if len(line.split()) > 2:
        return None
    for part in (line, *line.split()):
        near = difflib.get_close_matches(part, words, 1, _CLOSE) if len(part) > 3 else []
        if near:
            value = words[near[0]]
            return Line("answer", values=(value,), note=f"I take {part!r} for {value}.")
    return None


def _content(clauses: Sequence[str]) -> str:
    """The clauses that say something of their own, joined."""
    kept = [
        clause.strip()
        for clause in clauses
        if len([w for w in re.findall(r"[\w'-]+", clause.lower()) if w not in _FILLERS]) >= 2
    ]
    return ", ".join(kept)
