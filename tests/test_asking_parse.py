import pytest

from jaxreid.search.attributes import read_scheme
from jaxreid.search.naming import read_others
from jaxreid.search.parse import choices, find_attribute, parse

SCHEME = read_scheme()
ANSWERED = {"gender": ("man",), "top_color": ("black",), "bag_color": ()}
COLORS = [v.name for v in SCHEME.attributes[SCHEME.index("top_color")].values]
BAGS = ("backpack", "shoulder bag", "handbag", "shopping bag", "suitcase")


def read(asked, line):
    return parse(line, SCHEME, asked, ANSWERED)


@pytest.mark.parametrize(
    ("asked", "line", "values"),
    [
        ("top_color", "black", ("black",)),
        ("top_color", "  BLACK!!! ", ("black",)),
        ("top_color", "It was dark blue, I think.", ("navy",)),
        ("top_color", "light blue", ("light blue",)),
        ("top_color", "grey", ("gray",)),
        ("top_color", "black or navy", ("black", "navy")),
        ("top_color", "not black", tuple(c for c in COLORS if c != "black")),
        ("top_color", "maybe red? not sure", ("red",)),
        ("top_color", "a black shirt", ("black",)),
        ("top_color", "black with a red umbrella", ("black",)),
        ("bottom_color", "blue jeans", ("blue",)),
        ("hair_color", "long brown hair", ("brown",)),
        ("bag_type", "no", ("none",)),
        ("bag_type", "no bag", ("none",)),
        ("bag_type", "No, nothing.", ("none",)),
        ("bag_type", "yes", BAGS),
        ("bag_type", "Yes, a rucksack", ("backpack",)),
        ("bag_type", "not a backpack", ("none", *BAGS[1:])),
        ("beard", "yeah", ("beard",)),
        ("beard", "no, he was clean shaven", ("none",)),
        ("gender", "a guy", ("man",)),
        ("gender", "she was a woman", ("woman",)),
        ("glasses", "sunglasses", ("sunglasses",)),
        ("top_pattern", "nope", ("plain",)),
        ("bag_side", "on the left", ("left",)),
        ("scarf_color", "no", ("none",)),
    ],
)
def test_answers_as_people_type_them(asked, line, values):
    got = read(asked, line)
    assert (got.kind, got.values, got.text) == ("answer", values, "")


@pytest.mark.parametrize(
    "line",
    [
        "I don't know", "i dont know", "I don\N{RIGHT SINGLE QUOTATION MARK}t know", "not sure",
        "I'm not sure about that.", "no idea", "can't remember", "I couldn't see that", "idk",
        "skip", "I really didn't notice", "unsure", "Dunno!",
    ],
)  # fmt: skip
def test_not_knowing_has_many_forms(line):
    for asked in ("top_color", "bag_type", "gender"):
        assert read(asked, line)[:3] == ("answer", "", ())


@pytest.mark.parametrize(
    ("asked", "line", "values", "text"),
    [
        ("hat_type", "not sure, but he had a red umbrella", (), "he had a red umbrella"),
        (
            "hair_color", "black and he carried a big blue umbrella", ("black",),
            "he carried a big blue umbrella",
        ),
        ("outer_type", "a coat. He walked very fast.", ("coat",), "He walked very fast"),
    ],
)  # fmt: skip
def test_what_is_said_besides_an_answer_joins_the_description(asked, line, values, text):
    got = read(asked, line)
    assert (got.kind, got.values, got.text) == ("answer", values, text)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ("top_color", "he had a red umbrella with him"),
        ("top_color", "a red and white umbrella"),
        ("top_color", "a red shoulder bag"),
        ("gender", "wearing something dark and running"),
        ("", "a man in a black jacket"),
        ("", "Woman"),
        ("top_color", "a jogging woman with wide eyes"),
        ("top_color", "not a beanie"),
        ("", "no idea about the shoes but a red cap"),
    ],
)
def test_other_words_are_a_description_whole(asked, line):
    assert read(asked, line)[:4] == ("words", "", None, line)


@pytest.mark.parametrize(
    ("asked", "line", "note"),
    [
        ("top_color", "", "Please type an answer"),
        ("top_color", " ... !", "Please type an answer"),
        ("top_color", "asdf", "I do not understand 'asdf'; say black, white"),
        ("top_color", "oh wait", "I do not understand 'oh wait'; say black, white"),
        ("", "hello there", "describe the person in a sentence."),
        ("", "asdf", "I do not understand 'asdf'; describe the person in a sentence."),
        ("gender", "yes", "Please say man or woman, or I don't know."),
        ("top_color", "no", "Please say black, white"),
        ("hair_length", "no", "Please say bald, short, medium or long"),
        ("top_color", "sheet", "Say which file"),
        ("top_color", "change shoes to red", "You gave: 1 gender, 2 color of the top, 3 color of"),
        ("top_color", "change 7 to red", "Which answer?"),
        ("top_color", "change color to red", "Which answer?"),
        ("top_color", "change gender to purple", "'purple' is no gender: say man or woman."),
    ],
)
def test_rubbish_is_answered_with_what_can_be_said(asked, line, note):
    got = read(asked, line)
    assert got.kind == "again"
    assert note in got.note


@pytest.mark.parametrize(
    ("line", "kind", "text"),
    [
        ("help", "help", ""), ("?", "help", ""), ("HELP", "help", ""), ("show", "show", ""),
        ("show 20", "show", "20"), ("why", "why", ""), ("undo", "undo", ""), ("quit", "quit", ""),
        ("exit", "quit", ""), ("sheet a.png", "sheet", "a.png"), ("save b.json", "save", "b.json"),
    ],
)  # fmt: skip
def test_commands(line, kind, text):
    for asked in ("top_color", ""):
        got = read(asked, line)
        assert (got.kind, got.text) == (kind, text)


@pytest.mark.parametrize(
    ("line", "attribute", "values"),
    [
        ("change color of top to red", "top_color", ("red",)),
        ("change COLOUR of the top to light blue", "top_color", ("light blue",)),
        ("correct 2 to red", "top_color", ("red",)),
        ("change 2", "top_color", None),
        ("correct gender", "gender", None),
        ("change top to I don't know", "top_color", ()),
        ("change bag to black or navy", "bag_color", ("black", "navy")),
        ("change top_color to navy", "top_color", ("navy",)),
    ],
)
def test_corrections(line, attribute, values):
    assert read("hat_type", line)[:3] == ("change", attribute, values)


def test_words_for_two_attributes_are_told_apart_by_the_value():
    answered = {"bottom_color": ("black",), "bottom_type": ()}
    for value, name in (("skirt", "bottom_type"), ("navy", "bottom_color")):
        got = parse(f"change clothes on the legs to {value}", SCHEME, "beard", answered)
        assert got[:3] == ("change", name, (value,))


@pytest.mark.parametrize(
    ("line", "attribute", "values"),
    [
        ("a skirt", "bottom_type", ("skirt",)),
        ("Woman!", "gender", ("woman",)),
        ("a suitcase or a handbag", "bag_type", ("handbag", "suitcase")),
    ],
)
def test_a_short_answer_to_another_question_is_taken_as_that(line, attribute, values):
    assert read("top_color", line)[:3] == ("answer", attribute, values)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a woman in a t-shirt", {"gender": ("woman",), "top_type": ("t-shirt",)}),
        ("white and navy polo", {"top_type": ("polo",), "top_color": ("white", "navy")}),
        ("beige shoulder bag", {"bag_type": ("shoulder bag",), "bag_color": ("beige",)}),
        ("not white but gray hair", {"hair_color": ("gray",)}),
        ("black shoes, a tan bag and long arms", {
            "shoes_color": ("black",), "bag_color": ("beige",),
        }),
        ("A man. He had a suitcase or a handbag, no beanie.", {
            "gender": ("man",), "bag_type": ("handbag", "suitcase"),
        }),
    ],
)  # fmt: skip
def test_words_for_one_attribute_alone_tell_it(line, told):
    assert read_others(SCHEME, line) == told


def test_nothing_is_to_be_changed_before_an_answer():
    got = parse("change 1 to red", SCHEME, "gender", {})
    assert (got.kind, got.note) == ("again", "There is no answer to change yet.")


def test_a_mistyped_value_is_taken_and_told():
    got = read("top_color", "blakc")
    assert (got.values, got.note) == (("black",), "I take 'blakc' for black.")


def test_every_value_is_understood_by_every_word_of_it():
    for attribute in SCHEME.attributes:
        for value in attribute.values:
            for word in value.words:
                if word in ("none", "nothing") or word.startswith("no "):
                    continue
                got = read(attribute.name, word)
                assert (got.kind, got.values) == ("answer", (value.name,)), (attribute.name, word)


def test_words_for_several_attributes_are_not_guessed():
    assert find_attribute("color", SCHEME, {}) != "top_color"
    assert isinstance(find_attribute("color", SCHEME, {}), list)
    assert find_attribute("", SCHEME, {}) == []


def test_choices_read_as_a_list():
    assert choices(SCHEME.attributes[SCHEME.index("beard")]) == "none or beard"
