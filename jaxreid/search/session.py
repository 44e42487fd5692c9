"""A search in progress: what was said, told as a list of events, and what follows from it.

A session is the list of events and nothing else. The belief, the ranking and the next question are
computed from it, so that a corrected answer gives what it would have given at once.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxreid.data.records import AnnotationError
from jaxreid.files import write_json
from jaxreid.search.attributes import Scheme

WORDS, ANSWER, CHANGE = "words", "answer", "change"
_FORMAT = "jaxreid session 1"


class Event(NamedTuple):
    """One thing that was said."""

    kind: str  # WORDS | ANSWER | CHANGE
    text: str = ""  # of WORDS
    attribute: str = ""  # of ANSWER and CHANGE
    values: tuple[str, ...] = ()  # that the answer leaves open; none is "I don't know"


class Session(NamedTuple):
    """One search."""

    gallery: str  # fingerprint
    scheme: str  # fingerprint
    events: tuple[Event, ...]


def begin(gallery: str, scheme: Scheme, description: str) -> Session:
    """Returns a session that knows a first description.

    Args:
      gallery: fingerprint of the gallery.
      scheme: what can be asked.
      description: words.

    Raises:
      ValueError: there are no words.
    """
    return add_words(Session(gallery, scheme.fingerprint, ()), description)


def add_words(session: Session, text: str) -> Session:
    """Returns the session with more words in its description.

    Raises:
      ValueError: there are no words.
    """
    text = " ".join(text.split())
    if not any(letter.isalnum() for letter in text):
        raise ValueError(f"a description must have words, got {text!r}")
    return _with(session, Event(WORDS, text=text))


def answer(session: Session, scheme: Scheme, attribute: str, values: Sequence[str]) -> Session:
    """Returns the session with an answer.

    Args:
      session: one where the attribute was not answered yet.
      scheme: of the session.
      attribute: name.
      values: names of the values that the answer leaves open; none is "I don't know".

    Raises:
      ValueError: an unknown attribute or value, or the attribute was answered before.
    """
    event = _checked(ANSWER, scheme, attribute, values)
    if attribute in answers(session):
        raise ValueError(f"{attribute} was answered before; change that answer instead")
    return _with(session, event)


def change(session: Session, scheme: Scheme, attribute: str, values: Sequence[str]) -> Session:
    """Returns the session with another answer in the place of an earlier one.

    Args are those of `answer`.

    Raises:
      ValueError: an unknown attribute or value, or the attribute was not answered.
    """
    event = _checked(CHANGE, scheme, attribute, values)
    known = answers(session)
    if attribute not in known:
        answered = ", ".join(known) or "none"
        raise ValueError(f"{attribute} was not answered yet; answered were: {answered}")
    return _with(session, event)


def undo(session: Session) -> Session:
    """Returns the session without what was said last.

    Raises:
      ValueError: only the first description is left.
    """
    if len(session.events) < 2:
        raise ValueError("there is nothing to undo but the first description")
    return session._replace(events=session.events[:-1])


def answers(session: Session) -> dict[str, tuple[str, ...]]:
    """Returns what holds now, attribute -> values, in the order in which it was asked."""
    told: dict[str, tuple[str, ...]] = {}
    for event in session.events:
        if event.kind != WORDS:
            told[event.attribute] = event.values
    return told


def description(session: Session) -> str:
    """Returns all words of the description, as sentences."""
    texts = [event.text for event in session.events if event.kind == WORDS]
    ended = [text if text[-1] in ".!?" else f"{text}." for text in texts[:-1]]
    return " ".join([*ended, texts[-1]])


def save_session(path: str | Path, session: Session) -> None:
    """Writes a session as JSON."""
    events = [
        {"kind": WORDS, "text": event.text}
        if event.kind == WORDS
        else {"kind": event.kind, "attribute": event.attribute, "values": list(event.values)}
        for event in session.events
    ]
    content = {"format": _FORMAT, **session._asdict(), "events": events}
    write_json(path, content)


def load_session(path: str | Path, gallery: str, scheme: Scheme) -> Session:
    """Returns a saved session.

    Args:
      path: of `save_session`.
      gallery: fingerprint of the gallery that it is to go on in.
      scheme: what can be asked.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is of another gallery or scheme.
      AnnotationError: it is no session; names the event.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"no session at {path}") from None
    except (ValueError, OSError) as error:
        raise AnnotationError(path, None, None, f"cannot be read as JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise AnnotationError(path, None, "format", f"must be {_FORMAT!r}")
    if content.get("gallery") != gallery:
        raise ValueError(
            f"the session in {path} is of gallery {content.get('gallery')}, not of {gallery}: the "
            "images or the run are others"
        )
    if content.get("scheme") != scheme.fingerprint:
        raise ValueError(
            f"the session in {path} asks by another scheme of attributes than {scheme.name}"
        )
    if not isinstance(content.get("events"), list):
        raise AnnotationError(path, None, "events", "must be a list")
    session = Session(gallery, scheme.fingerprint, ())
    for number, event in enumerate(content["events"]):
        try:
            session = _replay(session, scheme, event)
        except (ValueError, TypeError, KeyError) as error:
            raise AnnotationError(path, number, None, f"is no event: {error}") from error
    if not session.events or session.events[0].kind != WORDS:
        raise AnnotationError(path, None, "events", "must begin with a description")
    return session


def _replay(session: Session, scheme: Scheme, event: dict) -> Session:
    """The session with one event of a file."""
    kind = event["kind"]
    if kind == WORDS:
        return add_words(session, event["text"])
    if kind not in (ANSWER, CHANGE):
        raise ValueError(f"kind must be {WORDS}, {ANSWER} or {CHANGE}, got {kind!r}")
    said = answer if kind == ANSWER else change
    return said(session, scheme, event["attribute"], event["values"])


def _checked(kind: str, scheme: Scheme, attribute: str, values: Sequence[str]) -> Event:
    """The event, if the scheme has the attribute and the values; values in the scheme's order."""
    known = scheme.attributes[scheme.index(attribute)]
    if isinstance(values, str):
        raise TypeError(f"values of {attribute} must be a list of names, got {values!r}")
    places = sorted({known.index(value) for value in values})
    return Event(kind, attribute=attribute, values=tuple(known.values[i].name for i in places))


def _with(session: Session, event: Event) -> Session:
    """The session with one more event."""
    return session._replace(events=(*session.events, event))
