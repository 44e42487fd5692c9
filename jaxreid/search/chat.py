"""Searches a gallery in conversation: describe a person, answer questions, see who it may be.

    python -m jaxreid.search.chat --gallery FOLDER --run runs/clip
    python -m jaxreid.search.chat --gallery split:test --run runs/clip --session found.json

What is typed is an answer ("dark blue", "no", "black or navy", "I don't know"), more of a
description, or a command; help lists them.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jaxreid.search import session as sessions
from jaxreid.search.attributes import EMBEDDED, read_scheme
from jaxreid.search.candidates_sheet import candidates_sheet
from jaxreid.search.channel import scheme_channel
from jaxreid.search.desk import Desk, Stopping, View, look, open_desk
from jaxreid.search.fit import WAYS, can_train, fit
from jaxreid.search.gallery import index_folder, index_split
from jaxreid.search.load import load_run
from jaxreid.search.parse import Line, parse
from jaxreid.search.policies import expected_gain
from jaxreid.search.session import Session
from jaxreid.sheet import save_sheet

HELP = """\
  Answer the question, say "I don't know", or tell more of the person in a sentence.
  show [N]                the N likeliest images
  why                     why this is asked
  change ANSWER to VALUE  corrects an answer: "change color of top to red", "change 2 to red"
  undo                    takes back what was said last
  sheet FILE.png          draws the likeliest images
  save FILE.json          saves the search, to go on later with --session
  quit"""
SHOWN, DRAWN = 5, 20  # images listed after every turn, and drawn on a sheet
_MOST = 100  # images that are listed at once


class State(NamedTuple):
    """Where a conversation is."""

    session: Session | None = None  # None before the first description
    view: View | None = None  # of the session
    correcting: str = ""  # attribute whose new value was asked for
    over: bool = False


def reply(desk: Desk, state: State, line: str) -> tuple[State, str]:
    """Returns the state after a typed line, and what to print.

    What a user gets wrong is answered in a sentence and changes nothing.

    Args:
      desk: of the gallery.
      state: before the line.
      line: as typed.
    """
    if state.session is None:
        meant = parse(line, desk.scheme, "", {})
    else:
        meant = parse(line, desk.scheme, _asked(state), sessions.answers(state.session))
    if meant.kind == "quit":
        return state._replace(over=True), ""
    if meant.kind == "help":
        return state, HELP
    if state.session is None and meant.kind not in ("words", "again"):
        return state, "Describe the person first, as in: a man in a black jacket"
    try:
        if meant.kind in ("show", "why", "sheet", "save"):
            return state, _tell(desk, state, meant)
        if meant.kind == "again":
            return state, meant.note
        if meant.kind == "change" and meant.values is None:
            attribute = desk.scheme.attributes[desk.scheme.index(meant.attribute)]
            return state._replace(correcting=meant.attribute), attribute.question
        if meant.kind == "undo" and len(state.session.events) == 1:
            return State(), "Taken back. Describe the person you look for."
        return _said(desk, state, meant)
    except (ValueError, OSError) as error:
        return state, sentence(error)


def start(desk: Desk, session: Session | None) -> tuple[State, str]:
    """Returns the state before anything was typed, and what to print.

    Args:
      desk: of the gallery.
      session: one to go on with; None begins a new one.
    """
    hello = f"{len(desk.gallery.files):,} images."
    if session is None:
        return State(), f"{hello} Describe the person you look for; help lists what can be typed."
    state = _viewed(desk, session)
    return state, f"{hello} Going on with: {told(desk, session)}\n{_turn(desk, state)}"


def told(desk: Desk, session: Session) -> str:
    """Returns what was said so far, in a line."""
    parts = [sessions.description(session)]
    for number, (name, values) in enumerate(sessions.answers(session).items(), start=1):
        says = desk.scheme.attributes[desk.scheme.index(name)].says
        parts.append(f"{number} {says}: {_named(desk, name, values)}")
    return "; ".join(parts)


def sentence(error: Exception) -> str:
    """Returns the message of an error as one sentence."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}."
    text = " ".join(str(error).split())
    return text if text.endswith(".") else f"{text}."


def _asked(state: State) -> str:
    """The attribute that a line may answer."""
    if state.correcting:
        return state.correcting
    question = state.view.question
    return "" if question is None else question.attribute


def _said(desk: Desk, state: State, meant: Line) -> tuple[State, str]:
    """After an answer, a correction, more words or undo."""
    session, notes = state.session, [meant.note]
    if meant.kind == "undo":
        session = sessions.undo(session)
        notes.append(f"Taken back. {told(desk, session)}")
    elif meant.kind == "words" and session is None:
        session = sessions.begin(desk.gallery.fingerprint, desk.scheme, meant.text)
    elif meant.kind == "words":
        session = sessions.add_words(session, meant.text)
        notes.append("I read that as more of the description and rank the images again.")
    else:
        name = meant.attribute or _asked(state)
        change = name in sessions.answers(session)
        take = sessions.change if change else sessions.answer
        session = take(session, desk.scheme, name, meant.values)
        says = desk.scheme.attributes[desk.scheme.index(name)].says
        notes.append(f"{'Changed' if change else 'Noted'}, {says}: "
                     f"{_named(desk, name, meant.values)}.")  # fmt: skip
        if meant.text:
            session = sessions.add_words(session, meant.text)
            notes.append(f"{meant.text!r} joins the description.")
    new = _viewed(desk, session)
    return new, "\n".join([*filter(None, notes), _turn(desk, new)])


def _viewed(desk: Desk, session: Session) -> State:
    """The state of a session."""
    return State(session, look(desk, session))


def _tell(desk: Desk, state: State, meant: Line) -> str:
    """The reply to a command that changes nothing."""
    view = state.view
    if meant.kind == "show":
        return _listed(desk, view, min(int(meant.text or DRAWN), _MOST))
    if meant.kind == "why":
        if view.question is None:
            return "Nothing is left to ask."
        return f"{view.question.reason}; it is expected to tell {view.question.gain:.2f} nats."
    path = Path(meant.text).expanduser()
    if meant.kind == "save":
        sessions.save_session(path, state.session)
        return f"Saved in {path}."
    if path.suffix.lower() != ".png":
        return f"A sheet is a PNG image: say sheet {path.with_suffix('.png')}"
    drawn = view.index[:DRAWN], view.probability[:DRAWN]
    lines = told(desk, state.session).split("; ")
    save_sheet(path, candidates_sheet(lines, desk.gallery.images, desk.gallery.files, *drawn))
    return f"{len(drawn[0])} images are in {path}."


def _turn(desk: Desk, state: State) -> str:
    """The likeliest images, and the next question."""
    view = state.view
    lines = [_listed(desk, view, SHOWN), f"{_many(view.candidates)} the probability."]
    if view.done:
        lines.append(f"You may stop here: {view.done}.")
    if view.question is not None:
        lines.append(view.question.text)
    else:
        lines.append("Nothing is left to ask; tell more of the person, or quit.")
    return "\n".join(lines)


def _many(candidates: int) -> str:
    """How many images are likely."""
    return "1 image holds 90 % of" if candidates == 1 else f"{candidates:,} images hold 90 % of"


def _listed(desk: Desk, view: View, count: int) -> str:
    """The likeliest images, a line each."""
    rows = zip(view.index[:count], view.probability[:count], strict=True)
    return "\n".join(
        f"{rank:4d}  {100 * p:5.1f} %  {desk.gallery.files[i]}"
        for rank, (i, p) in enumerate(rows, start=1)
    )


def _named(desk: Desk, name: str, values: tuple[str, ...]) -> str:
    """Values in words."""
    all_values = [value.name for value in desk.scheme.attributes[desk.scheme.index(name)].values]
    without = [value for value in all_values if value not in values]
    if not values:
        return "not known"
    if len(values) > 3 and len(without) <= 3:
        return f"not {' or '.join(without)}"
    return " or ".join(values)


def talk(desk: Desk, session: Session | None, read: Callable[[], str], write, keep: str) -> None:
    """Converses until quit or the end of the input.

    Args:
      desk: of the gallery.
      session: one to go on with, or None.
      read: returns a typed line; EOFError at the end.
      write: prints.
      keep: file in which the session is kept after every turn; "" for none.
    """
    state, text = start(desk, session)
    while not state.over:
        write(text)
        try:
            line = read()
        except (EOFError, KeyboardInterrupt):
            break
        before = state.session
        state, text = reply(desk, state, line)
        if keep and state.session is not None and state.session != before:
            sessions.save_session(keep, state.session)


def open_from(options: argparse.Namespace) -> Desk:
    """Returns the desk that the command line names."""
    scheme = read_scheme(options.scheme or EMBEDDED)
    searcher = load_run(options.run, data_dir=options.data_dir)
    cache = options.cache or os.path.join(options.run, "search")
    way = options.values or ("head" if can_train(searcher, scheme) else "prompts")
    fitted = fit(searcher, scheme, way, cache)
    kind, _, name = options.gallery.partition(":")
    if kind == "split":
        gallery = index_split(searcher, name, cache)
    else:
        gallery = index_folder(searcher, options.gallery, options.cache)
    return open_desk(
        searcher, gallery, scheme, fitted, scheme_channel(scheme), expected_gain, Stopping()
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs the conversation; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxreid.search.chat",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    gallery = "folder of images, or split:test of the data set of the run"
    parser.add_argument("--gallery", required=True, metavar="FOLDER", help=gallery)
    parser.add_argument("--run", required=True, metavar="DIR", help="folder of a trained run")
    parser.add_argument("--session", default="", metavar="FILE",
                        help="kept there after every turn; an existing one goes on")  # fmt: skip
    parser.add_argument("--scheme", default="", metavar="FILE", help="attributes of your own")
    parser.add_argument("--values", choices=WAYS, default="",
                        help="how to tell what an image shows")  # fmt: skip
    parser.add_argument("--cache", default="", metavar="DIR", help="folder of what is computed")
    parser.add_argument("--data-dir", default="", metavar="DIR", help="of prepared data")
    options = parser.parse_args(arguments)
    print("Reading the run and the gallery, which takes longer the first time.", file=sys.stderr)
    try:
        desk = open_from(options)
        session = None
        if options.session and os.path.exists(options.session):
            session = sessions.load_session(options.session, desk.gallery.fingerprint, desk.scheme)
        talk(desk, session, lambda: input("> "), print, options.session)
    except (ValueError, OSError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
