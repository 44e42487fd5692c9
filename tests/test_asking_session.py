import json

import pytest

from jaxreid.data.records import AnnotationError
from jaxreid.search.attributes import read_scheme
from jaxreid.search.session import (
    add_words,
    answer,
    answers,
    begin,
    change,
    description,
    load_session,
    save_session,
    undo,
)

SCHEME = read_scheme()


@pytest.fixture
def session():
    started = begin("g1", SCHEME, "a man  in a white shirt")
    started = answer(started, SCHEME, "bag_type", ["backpack"])
    return answer(started, SCHEME, "hair_color", [])


def test_answers_keep_their_order_and_corrections_their_place(session):
    session = answer(session, SCHEME, "top_color", ["navy", "black"])
    session = change(session, SCHEME, "bag_type", ["suitcase"])
    assert list(answers(session).items()) == [
        ("bag_type", ("suitcase",)), ("hair_color", ()), ("top_color", ("black", "navy")),
    ]  # fmt: skip


def test_words_are_kept_as_sentences(session):
    session = add_words(add_words(session, "He ran. "), "with an umbrella")
    assert description(session) == "a man in a white shirt. He ran. with an umbrella"


def test_undo_takes_back_one_thing_at_a_time(session):
    longer = change(add_words(session, "he ran"), SCHEME, "bag_type", ["none"])
    assert answers(undo(longer)) == answers(session)
    assert undo(undo(longer)) == session
    first = undo(undo(session))
    with pytest.raises(ValueError, match="nothing to undo but the first description"):
        undo(first)


def test_a_saved_session_is_the_same(session, tmp_path):
    session = change(add_words(session, "he ran, ça va"), SCHEME, "bag_type", ["none", "suitcase"])
    path = tmp_path / "search.json"
    save_session(path, session)
    assert load_session(path, "g1", SCHEME) == session


def test_a_session_of_another_gallery_is_refused(session, tmp_path):
    save_session(tmp_path / "a.json", session)
    with pytest.raises(ValueError, match="is of gallery g1, not of g2: the images or the run"):
        load_session(tmp_path / "a.json", "g2", SCHEME)


def test_a_session_of_another_scheme_is_refused(session, tmp_path):
    save_session(tmp_path / "a.json", session)
    other = SCHEME._replace(name="mine", fingerprint="0")
    with pytest.raises(ValueError, match="asks by another scheme of attributes than mine"):
        load_session(tmp_path / "a.json", "g1", other)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c.update(format="x"), "key 'format': must be"),
        (lambda c: c.update(events={}), "key 'events': must be a list"),
        (lambda c: c.update(events=[]), "must begin with a description"),
        (lambda c: c["events"].pop(0), "must begin with a description"),
        (lambda c: c["events"][1].update(values=["sack"]), "record 1: is no event: unknown value"),
        (lambda c: c["events"][1].update(values="backpack"), "must be a list of names"),
        (lambda c: c["events"][1].update(attribute="bags"), "record 1: is no event: unknown attr"),
        (lambda c: c["events"][2].update(kind="say"), "record 2: is no event: kind must be"),
        (lambda c: c["events"][2].pop("kind"), "record 2: is no event"),
        (lambda c: c["events"].append(c["events"][1]), "record 3: is no event: bag_type was ans"),
    ],
)
def test_a_spoilt_file_is_told_in_a_sentence(spoil, message, session, tmp_path):
    path = tmp_path / "a.json"
    save_session(path, session)
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match=message):
        load_session(path, "g1", SCHEME)


def test_a_missing_or_broken_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no session at"):
        load_session(tmp_path / "none.json", "g1", SCHEME)
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(AnnotationError, match=r"b.json: cannot be read as JSON"):
        load_session(tmp_path / "b.json", "g1", SCHEME)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: answer(s, SCHEME, "bag_type", ["none"]), "bag_type was answered before"),
        (lambda s: answer(s, SCHEME, "bag_colour", ["red"]), "is 'bag_color' meant"),
        (lambda s: answer(s, SCHEME, "bag_color", ["rad"]), "unknown value of bag_color 'rad'"),
        (lambda s: change(s, SCHEME, "top_color", ["red"]), "answered were: bag_type, hair_color"),
        (lambda s: add_words(s, " ... "), "a description must have words, got '...'"),
        (lambda s: begin("g", SCHEME, ""), "a description must have words, got ''"),
    ],
)
def test_what_cannot_be_said_is_told_in_a_sentence(call, message, session):
    with pytest.raises(ValueError, match=message):
        call(session)
