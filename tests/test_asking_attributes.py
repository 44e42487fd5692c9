import json

import numpy as np
import pytest

from jaxreid.data.records import AnnotationError
from jaxreid.data.synthpedes.attributes import VALUES
from jaxreid.data.synthpedes.memory import RATES
from jaxreid.search.attributes import closing, labels_of, read_scheme, value_counts, value_mask

MINE = {
    "name": "mine",
    "synonyms": {"gray": ["grey"]},
    "attributes": [
        {
            "name": "bag", "says": "bag", "question": "Was there a bag?", "unknown": 0.1,
            "wrong": 0.2, "prompt": "A person with a {value}.",
            "values": [{"name": "none", "prompt": "A person.", "words": ["No bag"]}, "backpack"],
        },
        {
            "name": "bag_color", "says": "color of the bag", "question": "What color was the bag?",
            "unknown": 0, "wrong": 0, "unless": {"bag": ["none"]},
            "prompt": "A {value} bag.", "values": ["gray", "red", "blue"],
        },
    ],
}  # fmt: skip


def write(folder, change=None):
    content = json.loads(json.dumps(MINE))
    if change:
        change(content)
    path = folder / "mine.json"
    path.write_text(json.dumps(content))
    return path


def test_the_embedded_scheme_has_the_values_of_synthpedes():
    scheme = read_scheme()
    names = {a.name: tuple(v.name for v in a.values) for a in scheme.attributes}
    assert {name: set(values) for name, values in names.items()} == {
        name: set(values) for name, values in VALUES.items() if name != "height"
    }


def test_the_embedded_rates_are_those_of_its_witnesses():
    """ "unknown": those who tell no value; "wrong": of the others, a draw that may be right."""
    for attribute in read_scheme().attributes:
        rates, values = RATES[attribute.name], len(attribute.values)
        silent = rates.unknown + rates.vague
        wrong = rates.wrong / (1 - silent) * values / (values - 1)
        assert attribute.unknown == pytest.approx(silent, abs=6e-4), attribute.name
        assert attribute.wrong == pytest.approx(wrong, abs=6e-4), attribute.name


def test_a_file_of_ones_own(tmp_path):
    scheme = read_scheme(write(tmp_path))
    bag, color = scheme.attributes
    assert value_counts(scheme).tolist() == [2, 3]
    assert value_mask(value_counts(scheme)).tolist() == [[True, True, False], [True] * 3]
    assert [v.prompt for v in (*bag.values, *color.values)] == [
        "A person.", "A person with a backpack.", "A gray bag.", "A red bag.", "A blue bag.",
    ]  # fmt: skip
    assert bag.values[0].words == ("none", "no bag")
    assert color.values[0].words == ("gray", "grey")
    assert np.argwhere(closing(scheme)).tolist() == [[0, 0, 1]]


def test_the_fingerprint_is_of_the_content(tmp_path):
    one = read_scheme(write(tmp_path)).fingerprint
    assert read_scheme(write(tmp_path)).fingerprint == one
    assert read_scheme(write(tmp_path, lambda c: c.update(name="other"))).fingerprint != one


def test_labels_are_positions_and_what_is_not_told_is_minus_1(tmp_path):
    scheme = read_scheme(write(tmp_path))
    rows = [{"bag": "backpack", "bag_color": "blue", "hat": "cap"}, {"bag": "none"}]
    assert labels_of(scheme, rows, "train").tolist() == [[1, 2], [0, -1]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"bag": "sack"}], r"train, record 0, key 'bag': unknown value of bag 'sack'"),
        ([{"bag": "none"}], r"train, key 'bag_color': no row tells this attribute"),
    ],
)
def test_tables_that_do_not_fit_are_refused(rows, message, tmp_path):
    with pytest.raises(AnnotationError, match=message):
        labels_of(read_scheme(write(tmp_path)), rows, "train")


def set_at(number, **fields):
    return lambda content: content["attributes"][number].update(fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("name"), "key 'name': is missing"),
        (lambda c: c.update(attribute=[]), "unknown key 'attribute' .is 'attributes' meant"),
        (lambda c: c.update(attributes=[]), "must be a list of at least one"),
        (set_at(0, says=""), "record 0, key 'says': must be words"),
        (set_at(0, unknown=1), "record 0, key 'unknown': must be in .0, 1., got 1"),
        (set_at(1, wrong=1.2), "record 1, key 'wrong': must be in .0, 1., got 1.2"),
        (set_at(1, wrong="much"), "record 1, key 'wrong': must be in"),
        (set_at(1, values=["red"]), "must be a list of 2 to 64 values"),
        (set_at(1, values=["red", "red"]), "'red' means value 'red' and value 'red'"),
        (set_at(1, prompt="A bag."), "must be a sentence with {value}, got 'A bag.' for 'gray'"),
        (set_at(1, name="bag"), "record 1, key 'name': 'bag' is record 0, too"),
        (set_at(1, unless={"bags": ["none"]}), "unknown attribute 'bags' .is 'bag' meant"),
        (set_at(1, unless={"bag": ["no"]}), "unknown value of bag 'no'"),
        (set_at(1, unless=["bag"]), "key 'unless': must be lists of values by attribute"),
        (set_at(0, colour="x"), "record 0: unknown key 'colour'"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_in_a_sentence(change, message, tmp_path):
    with pytest.raises(AnnotationError, match=message):
        read_scheme(write(tmp_path, change))


def test_a_missing_or_broken_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no scheme of attributes at"):
        read_scheme(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(AnnotationError, match=r"broken.json: cannot be read as JSON"):
        read_scheme(tmp_path / "broken.json")


def test_an_unknown_name_is_answered_with_the_nearest():
    scheme = read_scheme()
    with pytest.raises(ValueError, match=r"unknown attribute 'top_colour' .is 'top_color' meant"):
        scheme.index("top_colour")
    with pytest.raises(ValueError, match=r"unknown value of top_color 'blak' .is 'black' meant"):
        scheme.attributes[scheme.index("top_color")].index("blak")
