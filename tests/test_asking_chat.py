import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxreid.search import chat, session
from jaxreid.search.attributes import closing, labels_of, read_scheme, value_counts, value_mask
from jaxreid.search.channel import scheme_channel
from jaxreid.search.desk import Desk, Stopping, as_dialogue, look
from jaxreid.search.gallery import Gallery
from jaxreid.search.policies import expected_gain, make_world

SCHEME = read_scheme()
# Four people, 6 images each; what they do not tell is spread over all values.
PEOPLE = [
    {"gender": "man", "top_color": "red", "bag_type": "backpack", "bag_color": "black"},
    {"gender": "man", "top_color": "red", "bag_type": "none", "bag_color": "none"},
    {"gender": "man", "top_color": "navy", "bag_type": "backpack", "bag_color": "red"},
    {"gender": "woman", "top_color": "navy", "bag_type": "suitcase", "bag_color": "black"},
]
ROWS = [PEOPLE[i // 6] for i in range(24)]


def make_desk():
    counts = value_counts(SCHEME)
    full = {a.name: a.values[0].name for a in SCHEME.attributes}
    labels = labels_of(SCHEME, [*ROWS, full], "test")[:24]
    shown = np.repeat((value_mask(counts) / counts[:, None])[None], 24, axis=0)
    for i, a in np.argwhere(labels >= 0):
        shown[i, a] = 0.1 * shown[i, a]
        shown[i, a, labels[i, a]] += 0.9
    world = make_world(jnp.asarray(shown, jnp.float32), jnp.asarray(counts), scheme_channel(SCHEME))
    scored = []

    def similarity(told):
        """Words decide little: each 'woman' is for the last person."""
        scored.append(told.opening)
        return np.array([[0.2 * (i >= 18) * told.opening.count("woman") for i in range(24)]])

    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (40, 20, 3), np.uint8) for _ in range(24)]
    files = tuple(f"p{i // 6}/{i}.png" for i in range(24))
    gallery = Gallery(images, files, np.zeros((24, 2), np.float32), None, "g1")
    desk = Desk(
        gallery, SCHEME, world, closing(SCHEME), 0.1, similarity, expected_gain,
        Stopping(few=6),
    )  # fmt: skip
    return desk, scored


@pytest.fixture(scope="module")
def world():
    return make_desk()


@pytest.fixture
def desk(world):
    return world[0]


def converse(desk, *lines):
    """The state and the replies."""
    state, replies = chat.State(), []
    for line in lines:
        state, text = chat.reply(desk, state, line)
        replies.append(text)
    return state, replies


def mass(view, person):
    return view.probability[(view.index // 6) == person].sum()


def test_a_search_finds_the_person(desk):
    state, replies = converse(desk, "somebody at the station")
    truth = {"gender": "woman", "top_color": "navy", "bag_type": "suitcase", "bag_color": "black"}
    asked = []
    while not state.view.done:
        name = state.view.question.attribute
        asked.append(name)
        assert replies[-1].endswith(state.view.question.text)
        state, text = chat.reply(desk, state, truth.get(name, "I don't know"))
        replies.append(text)
    assert set(asked) <= set(truth)  # nothing else tells images apart
    assert mass(state.view, 3) > 0.9
    assert "You may stop here: 6 images hold 90 % of the probability." in replies[-1]
    assert len(asked) == len(set(asked)) <= 3


def test_the_reason_tells_how_the_images_split(desk):
    state, _ = converse(desk, "somebody at the station")
    assert state.view.question.attribute == "bag_type"
    assert state.view.candidates == 22  # 90 % of 24 images, all alike
    why = chat.reply(desk, state, "why")[1]
    assert why.startswith("asked because it splits the 22 likeliest images: backpack 5")
    assert f"{state.view.question.gain:.2f} nats" in why


def test_an_answer_that_says_there_is_none_closes_what_depends_on_it(desk):
    started = session.begin("g1", SCHEME, "somebody")
    for values, is_open in ((["none"], False), (["none", "suitcase"], True), ([], True)):
        told = session.answer(started, SCHEME, "bag_type", values)
        seen = set()
        while (question := look(desk, told).question) is not None:
            seen.add(question.attribute)
            told = session.answer(told, SCHEME, question.attribute, [])
        assert ("bag_color" in seen) is is_open


def test_what_the_description_tells_is_not_asked(desk):
    assert converse(desk, "somebody there")[0].view.question.attribute == "bag_type"
    state, _ = converse(desk, "somebody with a suitcase")
    assert state.view.question.attribute != "bag_type"
    told, replies = converse(desk, "somebody with a suitcase", "a backpack")
    assert session.answers(told.session) == {"bag_type": ("backpack",)}  # but can be said
    assert "Noted, bag: backpack." in replies[-1]


def test_a_correction_gives_what_the_right_answer_would_have_given(desk):
    wrong, _ = converse(desk, "somebody there", "backpack", "change 1 to suitcase", "man")
    right, _ = converse(desk, "somebody there", "suitcase", "man")
    assert session.answers(wrong.session) == session.answers(right.session)
    np.testing.assert_array_equal(wrong.view.index, right.view.index)
    np.testing.assert_array_equal(wrong.view.probability, right.view.probability)
    assert wrong.view.question == right.view.question


def test_undo_gives_what_was_before(desk):
    before, _ = converse(desk, "somebody there", "backpack")
    after, replies = converse(desk, "somebody there", "backpack", "man", "undo")
    assert after.session == before.session
    np.testing.assert_array_equal(after.view.probability, before.view.probability)
    assert replies[-1].startswith("Taken back. somebody there; 1 bag: backpack")
    assert converse(desk, "somebody there", "undo")[0] == chat.State()


def test_not_knowing_leaves_the_ranking_and_asks_something_else(desk):
    before, _ = converse(desk, "somebody there")
    after, replies = converse(desk, "somebody there", "I don't know")
    np.testing.assert_allclose(after.view.probability, before.view.probability, atol=1e-6)
    assert after.view.question.attribute != before.view.question.attribute
    assert "Noted, bag: not known." in replies[-1]


def test_free_words_join_the_description_and_the_chat_says_so(world):
    desk, scored = world
    scored.clear()
    state, replies = converse(desk, "somebody at noon", "it was certainly a woman, a woman")
    assert scored == ["somebody at noon", "somebody at noon. it was certainly a woman, a woman"]
    assert "more of the description" in replies[-1]
    assert mass(state.view, 3) > 0.9
    assert session.answers(state.session) == {}  # the question was not answered


def test_words_besides_an_answer_join_too(world):
    desk, scored = world
    scored.clear()
    state, replies = converse(desk, "somebody there", "backpack, she seemed a young woman")
    assert scored[-1] == "somebody there. she seemed a young woman"
    assert session.answers(state.session) == {"bag_type": ("backpack",)}
    assert "'she seemed a young woman' joins the description." in replies[-1]


def test_a_correction_without_a_value_asks_for_it(desk):
    state, replies = converse(desk, "somebody there", "backpack", "change 1", "none")
    assert replies[2] == "Did they carry a bag?"
    assert session.answers(state.session) == {"bag_type": ("none",)}
    assert "Changed, bag: none." in replies[3]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("asdf",), "I do not understand 'asdf'"),
        (("",), "Please type an answer"),
        (("why",), "Describe the person first"),
        (("sheet a.png",), "Describe the person first"),
        (("undo",), "Describe the person first"),
        (("help",), "undo"),
        (("somebody there", "asdf"), "say none, backpack"),
        (("somebody there", "change 1 to red"), "There is no answer to change yet."),
        (("somebody there", "sheet a.jpg"), "say sheet a.png"),
        (("somebody there", "save /dev/null/a.json"), "/dev/null: File exists."),
    ],
)
def test_what_makes_no_sense_is_answered_and_changes_nothing(desk, lines, words):
    before, _ = converse(desk, *lines[:-1])
    after, replies = converse(desk, *lines)
    assert words in replies[-1]
    assert after.session == before.session


def test_a_sheet_and_a_saved_search(desk, tmp_path):
    state, replies = converse(
        desk,
        "somebody there",
        "black",
        f"sheet {tmp_path}/a.png",
        f"save {tmp_path}/a.json",
        "show 3",
    )
    assert replies[2] == f"20 images are in {tmp_path}/a.png."
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.width > 900
        assert np.asarray(sheet).std() > 20
    again = session.load_session(tmp_path / "a.json", "g1", SCHEME)
    assert again == state.session
    shown = replies[-1].splitlines()
    assert len(shown) == 3
    assert shown[0].split()[0] == "1"
    assert shown[0].split()[-1] == desk.gallery.files[state.view.index[0]]


def test_talk_goes_on_with_a_kept_session(desk, tmp_path):
    keep = tmp_path / "kept.json"
    printed = []

    def type_in(*lines):
        left = list(lines)
        return lambda: left.pop(0) if left else _end()

    chat.talk(desk, None, type_in("somebody there", "backpack", "help"), printed.append, str(keep))
    kept = session.load_session(keep, "g1", SCHEME)
    printed.clear()
    chat.talk(desk, kept, type_in("quit", "never read"), printed.append, str(keep))
    assert len(printed) == 1
    assert "Going on with: somebody there; 1 bag: backpack" in printed[0]


def _end():
    raise EOFError


def test_a_session_of_another_gallery_is_refused(desk):
    with pytest.raises(ValueError, match="the session is of gallery g2, not of g1"):
        look(desk, session.begin("g2", SCHEME, "somebody"))


def test_what_was_asked_is_a_dialogue(desk):
    state, _ = converse(desk, "somebody there", "backpack or suitcase", "I don't know")
    dialogue = as_dialogue(SCHEME, state.session)
    assert dialogue.opening == "somebody there"
    assert dialogue.rounds[0] == ("Did they carry a bag?", "backpack or suitcase.")
    assert dialogue.rounds[1].answer == "I don't know."


def test_answers_that_the_query_holds_do_not_join_twice(desk):
    """Where the method reads them the belief is the prior of the whole dialogue."""
    seen = []
    reading = desk._replace(
        reads_answers=True,
        similarity=lambda told: seen.append(told) or np.linspace(0, 1, 24)[None],
    )
    before, _ = converse(reading, "somebody there")
    after, _ = converse(reading, "somebody there", "backpack")
    np.testing.assert_array_equal(after.view.probability, before.view.probability)
    assert seen[-1].rounds == (("Did they carry a bag?", "backpack."),)
    assert after.view.question.attribute != "bag_type"


def test_a_gallery_of_few_images_stops_at_once(desk):
    state, replies = converse(desk, "a woman, a woman, a woman, a woman, a woman, a woman")
    assert state.view.candidates == 6
    assert "You may stop here" in replies[-1]
