"""The triplet maker keeps what its four filters allow, and says what they removed."""

import importlib.util
import json
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxreid.data.records import AnnotationError
from jaxreid.data.synthpedes.attributes import VIEWS
from jaxreid.data.synthpedes.person import sample_person
from jaxreid.data.synthpedes.triplets import change_outfit, edit_caption
from jaxreid.data.synthpedes.visibility import visible
from jaxreid.data.triplet_maker.filters import (
    embedding_identity,
    identity_consistency,
    scored_alignment,
    text_alignment,
)
from jaxreid.data.triplet_maker.inferability import (
    AnswerLimits,
    Answers,
    count_answers,
    inferability,
)
from jaxreid.data.triplet_maker.lexicon import make_lexicon
from jaxreid.data.triplet_maker.maker import Limits, Plan, make
from jaxreid.data.triplet_maker.plugs import Plugs, load
from jaxreid.data.triplet_maker.propose import body_groups, propose, visiting_order
from jaxreid.data.triplet_maker.quality import (
    ImageLimits,
    TextLimits,
    image_measures,
    image_quality,
    text_quality,
)
from jaxreid.data.triplet_maker.reading import holds, read
from jaxreid.data.triplet_maker.records import Collection, Record, attribute_values, find_looks
from jaxreid.data.triplet_maker.report import Report
from jaxreid.data.triplet_maker.scheme import make_scheme
from jaxreid.data.triplet_maker.tables import MARKET_1501, read_mapping, read_table
from jaxreid.data.triplet_maker.verdict import FILTERS
from jaxreid.data.triplet_maker.writing import differences, write

IMAGE = ImageLimits(width=10, height=20, sharpness=20.0, contrast=12.0, exposure=0.5)
TEXT = TextLimits(fewest=2, most=12, known=0.8)
LIMITS = Limits(IMAGE, TEXT, 1.0, 0.5, 1.0, 0.0, AnswerLimits(2, 2, 1))
PLAN = Plan("body", (1, 3), tries=3, per_image=1, limit=None)


def record(person_id, file=None, split="train", shown=None, **attributes):
    """An image of a person, all of whose attributes it shows."""
    file = file or f"{person_id}.png"
    shown = frozenset(attributes if shown is None else shown)
    return Record(file, split, person_id, (f"Caption of {file}.",), attributes, shown)


def sharp(height=40, width=20, low=40, high=200):
    """An image of good quality."""
    rng = np.random.default_rng(0)
    return rng.integers(low, high, (height, width, 3), dtype=np.uint8)


TOPS, COLORS = ("shirt", "coat", "vest"), ("red", "blue", "black")


def people(count=24, seed=3, images=2):
    """People of two bodies in random clothes, `images` images each."""
    rng = np.random.default_rng(seed)
    records = []
    for person in range(count):
        attributes = {
            "gender": ("man", "woman")[person % 2],
            "top": TOPS[rng.integers(3)],
            "top_color": COLORS[rng.integers(3)],
            "bottom": ("pants", "skirt")[rng.integers(2)],
            "shoes_color": COLORS[rng.integers(3)],
            "hat": ("none", "cap")[rng.integers(2)],
        }
        records += [record(person + 1, f"{person}_{i}.png", **attributes) for i in range(images)]
    return Collection(tuple(records), [sharp()] * len(records))


SCHEME = make_scheme(people().records[0].attributes)


def run(collection=None, limits=LIMITS, plan=PLAN, seed=5, plugs=Plugs()):  # noqa: B008
    """All candidates of a making, and its report."""
    collection = collection or people()
    report, found = Report(), []
    for judged in make(collection, SCHEME, limits, plan, np.random.default_rng(seed), plugs):
        report.add(judged, collection)
        found += judged
    return found, report.as_json()


# Tables


def test_equal_tables_are_read_from_every_form(tmp_path):
    rows = [{"id": 3, "hat": None, "belt": True, "top": "Red Coat"}, {"id": 4, "hat": "cap"}]
    (tmp_path / "list.json").write_text(json.dumps(rows))
    by_id = {row["id"]: {k: v for k, v in row.items() if k != "id"} for row in rows}
    (tmp_path / "object.json").write_text(json.dumps(by_id))
    (tmp_path / "a.csv").write_text("person_id,hat,belt,top\n3,none,belt,red coat\n04,cap,,\n")
    expected = {"3": {"hat": "none", "belt": "belt", "top": "red coat"}, "4": {"hat": "cap"}}
    for name in ("list.json", "object.json", "a.csv"):
        table = read_table(tmp_path / name)
        assert (table.by_person, table.rows) == (True, expected), name


def test_rows_of_images_are_found_by_path_or_name(tmp_path):
    (tmp_path / "t.csv").write_text("image,gender\ncam/1.jpg,man\n2.jpg,woman\n")
    table = read_table(tmp_path / "t.csv")
    assert not table.by_person
    assert table.row("cam/1.jpg", 9) == {"gender": "man"}
    assert table.row("cam/2.jpg", 9) == {"gender": "woman"}
    assert table.row("1.jpg", 9) is None


def test_market_columns_become_attributes(tmp_path):
    cells = {"gender": 2, "up": 1, "upred": 2, "upblack": 1, "hat": 1, "backpack": 2, "downblue": 2}
    (tmp_path / "m.json").write_text(json.dumps([{"id": 7, **cells}]))
    assert read_table(tmp_path / "m.json", mapping=read_mapping(MARKET_1501)).rows["7"] == {
        "gender": "woman", "sleeves": "long", "top_color": "red", "hat": "none",
        "backpack": "backpack", "bottom_color": "blue",
    }  # fmt: skip
    make_scheme(
        n for c in read_mapping(MARKET_1501).values() for a in (c or {}).values() for n in a
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([{"id": 1, "hat": "cap"}, {"hat": "cap"}], "record 1, key 'id': is missing"),
        ([{"id": 1}, {"id": 1}], "record 1, key 'id': '1' has a row before"),
        ([{"id": 1, "hat": 2}], "record 0, key 'hat': 2 is no word"),
        ([{"id": 1, "hat": "2"}], "record 0, key 'hat': '2' is no word"),
        ([{"id": 1, "hat": ["cap"]}], "record 0, key 'hat': must be a word"),
        ([{"id": True}], "record 0, key 'id': must be a whole number"),
        ([{"id": 1, "file": "a"}], "record 0, key 'id': stands beside 'file'"),
        ([{"id": 1}, {"file": "a"}], "record 1, key 'file': names a person, or an image"),
        ([7], "record 0: must be an object"),
        ([], "holds no records"),
        ("x", "must be a list or an object"),
    ],
)
def test_a_wrong_table_names_file_record_and_key(tmp_path, content, words):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(content))
    with pytest.raises(AnnotationError) as error:
        read_table(path)
    assert str(error.value).startswith(str(path))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"upred": 2, "upblue": 2}, "top_color is 'blue' here and 'red' before"),
        ({"upred": 3}, "3 is not in the mapping, which has 1, 2"),
        ({"tie": 1}, "key 'tie': is not in the mapping"),
    ],
)
def test_a_mapping_hides_no_contradiction_and_no_unknown_cell(tmp_path, row, words):
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{"id": 1, **row}]))
    mapping = {"upred": {"1": {}, "2": {"top_color": "red"}}}
    mapping["upblue"] = {"1": {}, "2": {"top_color": "blue"}}
    with pytest.raises(AnnotationError, match=words):
        read_table(path, mapping=mapping)


def test_every_attribute_has_a_role_or_is_refused():
    scheme = make_scheme(["gender", "hair_color", "top", "sleeves", "bag_color", "backpack"])
    assert scheme.body == ("gender", "hair_color")
    assert scheme.outfit == {
        "top": "top", "sleeves": "top", "bag_color": "bag", "backpack": "backpack",
    }  # fmt: skip
    with pytest.raises(ValueError, match="'tattoo' is neither of the body"):
        make_scheme(["gender", "top", "tattoo"])
    assert make_scheme(["gender", "top", "tattoo"], ["tattoo"]).body == ("tattoo",)
    with pytest.raises(ValueError, match="of the body and one of the outfit, got gender"):
        make_scheme(["gender"])


# Words


@pytest.fixture(scope="module")
def lexicon():
    attributes = {
        "top_type": ("t-shirt", "shirt", "sweater"), "top_color": ("red", "navy", "white"),
        "top_pattern": ("plain", "striped"), "top_color2": ("none", "white"),
        "sleeves": ("short", "long"), "outer_type": ("none", "jacket", "cardigan"),
        "outer_color": ("none", "black", "red"), "bottom_type": ("pants", "skirt"),
        "bottom_color": ("black", "navy"), "shoes_color": ("white", "brown"),
        "hat_type": ("none", "cap", "beanie"), "bag_type": ("none", "backpack"),
    }  # fmt: skip
    return make_lexicon(make_scheme(["gender", *attributes]), attributes)


LOOK = {
    "top_type": "t-shirt", "top_color": "red", "top_pattern": "striped", "top_color2": "white",
    "sleeves": "long", "outer_type": "cardigan", "outer_color": "black", "bottom_type": "pants",
    "bottom_color": "navy", "shoes_color": "white", "hat_type": "none", "bag_type": "none",
}  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        "a red shirt",
        "red and white striped t-shirt",
        "a long sleeved red top",
        "red tee with white stripes",
        "dark blue trousers, white shoes",
        "pants that are navy",
        "a black sweater",  # the cardigan
        "no hat and without a bag",
        "navy pants instead of a skirt",
        "white shoes rather than brown shoes",
        "white shoes, curly brown hair",
        "a purple tie, navy pants",
        "shoes that are white, blue pants",
        "a white tie, pants",
    ],
)
def test_words_that_are_true_are_read_as_true(lexicon, words):
    phrases = read(lexicon, words)
    assert phrases
    assert all(holds(phrase, LOOK, unknown=False) for phrase in phrases)


@pytest.mark.parametrize(
    "words",
    [
        "a navy shirt",
        "a navy, long sleeved shirt",
        "a white and navy striped shirt",
        "a short sleeved red top",
        "a plain t-shirt",
        "red tee with navy stripes",
        "black trousers",
        "pants that are black",
        "a red sweater and a skirt",
        "a cap",
        "no cardigan",
        "without white shoes",
        "a black backpack",
        "a turquoise and brown pair of shoes",
    ],
)
def test_words_that_are_false_are_read_as_false(lexicon, words):
    assert not all(holds(phrase, LOOK, unknown=False) for phrase in read(lexicon, words))


def test_unknown_words_and_attributes_claim_nothing(lexicon):
    assert read(lexicon, "") == read(lexicon, "he smiles, with brown hair") == ()
    (phrase,) = read(lexicon, "a red jacket")
    assert holds(phrase, {}, unknown=True)
    assert not holds(phrase, {}, unknown=False)
    assert not holds(phrase, {"outer_type": "none"}, unknown=True)


@pytest.fixture(scope="module")
def rendered():
    """Scheme, lexicon and 150 pairs of images of people in two outfits."""
    rng = np.random.default_rng(1)
    pairs = []
    for number in range(150):
        person = sample_person(rng)
        outfits = (person, change_outfit(person, rng))
        views = (VIEWS[rng.integers(4)] for _ in outfits)
        pairs.append(
            tuple(
                record(number, shown=visible(outfit, view), **outfit)
                for outfit, view in zip(outfits, views, strict=True)
            )
        )
    records = [one for pair in pairs for one in pair]
    scheme = make_scheme(records[0].attributes)
    return scheme, make_lexicon(scheme, attribute_values(records)), pairs


def test_written_words_are_read_back_as_true_of_the_target_and_as_a_change(rendered):
    scheme, lexicon, pairs = rendered
    rng = np.random.default_rng(2)
    changes = 0
    for reference, target in pairs:
        words = write(scheme, target, differences(scheme, reference, target), rng)
        verdict = text_alignment(
            read(lexicon, words), reference.attributes, target.visible, 1.0
        )  # a vague word may tell no change; a false one is never written
        assert "does not show" not in verdict.reason, words
        changes += verdict.keep
        assert "none" not in words.split()
    assert changes >= 145


def test_words_of_another_grammar_are_read_as_true(rendered):
    """Those of synthpedes, which know only what the target shows."""
    _, lexicon, pairs = rendered
    rng = np.random.default_rng(3)
    for (_, target), view in zip(pairs, VIEWS * 40, strict=False):
        seen = visible(target.attributes, view)
        words = edit_caption(dict(target.attributes), view, rng)
        for phrase in read(lexicon, words):
            shown = {name: target.attributes[name] for name in seen}
            assert holds(phrase, shown, unknown=False), (words, phrase.text)


def test_what_is_missing_is_told_last():
    reference = record(1, gender="man", outer="coat", top="shirt", top_color="red", bag="none")
    target = record(2, gender="man", outer="none", top="shirt", top_color="blue", bag="bag")
    scheme = make_scheme(target.attributes)
    words = write(scheme, target, differences(scheme, reference, target), np.random.default_rng(0))
    assert words.endswith("blue shirt, no coat and carrying a bag")


def test_only_differences_that_the_target_shows_are_told():
    reference = record(1, gender="man", top="shirt", top_color="red", hat="cap", belt="none")
    target = record(
        2, shown={"gender", "top", "top_color"}, gender="man", top="shirt", top_color="blue",
        hat="none", belt="belt",
    )  # fmt: skip
    scheme = make_scheme(target.attributes)
    different = differences(scheme, reference, target)
    assert [tuple(d) for d in different] == [("top", "top_color", "red", "blue")]
    assert "blue" in write(scheme, target, different, np.random.default_rng(0))
    hidden = differences(scheme, reference, target._replace(shown=frozenset({"gender"})))
    assert write(scheme, target, hidden, np.random.default_rng(0)) == ""


# Filters


def test_good_images_and_words_pass_quality():
    verdict = image_quality(image_measures(sharp()), IMAGE)
    assert verdict.keep
    assert verdict.score >= 1
    assert text_quality("A red coat", {"a", "red", "coat"}, TEXT).keep


def test_measures_of_an_image_equal_those_of_a_loop():
    image = sharp(6, 5)
    grey = [[0.299 * r + 0.587 * g + 0.114 * b for r, g, b in row] for row in image.tolist()]
    laplacian = [
        grey[y - 1][x] + grey[y + 1][x] + grey[y][x - 1] + grey[y][x + 1] - 4 * grey[y][x]
        for y in range(1, 5)
        for x in range(1, 4)
    ]
    measures = image_measures(image)
    assert measures["sharpness"] == pytest.approx(np.var(laplacian), rel=1e-4)
    assert measures["contrast"] == pytest.approx(np.std(grey), rel=1e-4)
    assert (measures["width"], measures["height"], measures["exposure"]) == (5, 6, 1)


@pytest.mark.parametrize(
    ("measure", "image"),
    [
        ("width", sharp(width=9)),
        ("height", sharp(height=19)),
        ("contrast", sharp(low=100, high=130)),
        ("sharpness", np.tile(np.linspace(0, 255, 40).astype(np.uint8)[:, None, None], (1, 20, 3))),
        ("exposure", np.where(sharp() > 60, 255, 0).astype(np.uint8)),
    ],
)
def test_each_measure_drops_its_image_and_no_other_does(measure, image):
    verdict = image_quality(image_measures(image), IMAGE)
    assert not verdict.keep
    assert verdict.measure == measure
    assert measure in verdict.reason
    assert verdict.score < 1
    assert image_quality(image_measures(image), IMAGE._replace(**{measure: 0})).keep


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("", "no words"),
        (" , .", "no words"),
        ("coat", "1 words, not 2 to 12"),
        ("coat " * 13, "13 words"),
        ("zorp blarg red coat", "does not use: blarg, zorp"),
    ],
)
def test_words_that_are_no_sentence_fail_quality(words, reason):
    verdict = text_quality(words, {"red", "coat"}, TEXT)
    assert not verdict.keep
    assert reason in verdict.reason


def test_identity_is_the_share_of_attributes_known_to_be_equal():
    one = {"gender": "man", "skin": "light", "hair": "red", "top": "coat"}
    body = ("gender", "skin", "hair", "age")
    verdict = identity_consistency(one, one | {"top": "vest"}, body, 0.75)
    assert (verdict.score, verdict.keep) == (0.75, True)  # the age is unknown
    verdict = identity_consistency(one, one | {"skin": "dark"}, body, 0.75)
    assert (verdict.score, verdict.keep) == (0.5, False)
    assert verdict.reason == "skin is light and dark"


def test_embeddings_are_compared_by_their_angle():
    one = np.array([3.0, 4.0])
    assert embedding_identity(one, one * 7, 0.99).keep
    verdict = embedding_identity(one, np.array([4.0, -3.0]), 0.1)
    assert (verdict.keep, round(verdict.score, 6)) == (False, 0.0)
    for other in (np.zeros(2), np.ones(3), np.array([1.0, np.nan])):
        with pytest.raises(ValueError, match="embedding"):
            embedding_identity(one, other, 0.5)


def test_alignment_drops_false_words_hidden_parts_and_words_without_a_change(lexicon):
    reference = LOOK | {"top_color": "navy"}

    def judge(words, target=LOOK, least=1.0):
        return text_alignment(read(lexicon, words), reference, target, least)

    assert judge("a red shirt and white shoes").keep
    half = judge("a red shirt and brown shoes")
    assert (half.keep, half.score) == (False, 0.5)
    assert half.reason == "the target does not show 'brown shoes'"
    assert judge("a red shirt and brown shoes", least=0.5).keep
    assert judge("white shoes").reason == "the words tell no change"
    hidden = {name: value for name, value in LOOK.items() if not name.startswith("top")}
    assert not judge("a red shirt", hidden).keep
    assert judge("he smiles").score == 0
    assert not scored_alignment(0.2, 0.3).keep
    with pytest.raises(ValueError, match="finite"):
        scored_alignment(float("nan"), 0.3)


def test_answers_equal_a_count_by_hand():
    collection = people(30)
    records = collection.records[::2]  # one image a person: a look each
    looks = find_looks(records, (*SCHEME.body, *SCHEME.outfit))
    assert len(looks.first) == 30
    groups = body_groups(looks, SCHEME)
    lexicon = make_lexicon(SCHEME, attribute_values(records))
    several = set()
    for reference in range(6):
        for target in range(30):
            for words in ("a red coat", "a blue shirt, no cap", "black shoes"):
                phrases = read(lexicon, words)
                told = {SCHEME.outfit[name] for phrase in phrases for name in phrase.attributes()}
                one = records[reference].attributes

                def true(look, phrases=phrases):
                    return all(holds(phrase, look.attributes, unknown=True) for phrase in phrases)

                def far(look, one=one, told=told):
                    return sum(
                        look.attributes[name] != one[name]
                        for name, part in SCHEME.outfit.items()
                        if part not in told
                    )

                same = [look for look in records if look.attributes["gender"] == one["gender"]]
                expected = Answers(
                    words=sum(map(true, records)),
                    reference=len(same) - 1,
                    both=sum(true(look) and far(look) <= far(records[target]) for look in same),
                )
                got = count_answers(
                    looks, SCHEME, groups == groups[reference], reference, target, phrases
                )
                assert got == expected
                several.add(got)
    assert len(several) >= 10


def test_a_look_is_a_person_in_an_outfit():
    red = {"gender": "man", "top_color": "red"}
    records = [record(1, **red), record(2, **red), record(1, **red), record(1, gender="man")]
    looks = find_looks(records, ("gender", "top_color"))
    assert looks.number.tolist() == [0, 1, 0, 2]
    assert looks.column("top_color").tolist() == [0, 0, -1]
    assert find_looks(records, ("gender",)).number.tolist() == [0, 1, 0, 0]


def test_unknown_attributes_exclude_no_answer():
    records = [
        record(1, gender="man", top="coat", top_color="red"),
        record(2, gender="man", top="coat"),
        record(3, gender="man", top="vest", top_color="blue"),
    ]
    scheme = make_scheme(records[0].attributes)
    looks = find_looks(records, (*scheme.body, *scheme.outfit))
    phrases = read(make_lexicon(scheme, attribute_values(records)), "a red coat")
    answers = count_answers(looks, scheme, np.ones(3, bool), 2, 0, phrases)
    assert answers == Answers(words=2, reference=2, both=2)
    # The hats differ only where both are known.
    records[0] = records[0]._replace(attributes=records[0].attributes | {"hat": "cap"})
    looks = find_looks(records, (*scheme.body, *scheme.outfit, "hat"))
    scheme = scheme._replace(outfit={**scheme.outfit, "hat": "hat"})
    answers = count_answers(looks, scheme, np.ones(3, bool), 2, 1, phrases)
    assert answers == Answers(words=2, reference=2, both=2)


@pytest.mark.parametrize(
    ("answers", "measure"),
    [
        (Answers(5, 5, 3), "both"),
        (Answers(5, 5, 0), "both"),
        (Answers(1, 5, 1), "words alone"),
        (Answers(5, 1, 1), "reference alone"),
    ],
)
def test_inferability_needs_both_and_more_than_either(answers, measure):
    limits = AnswerLimits(2, 2, 2)
    verdict = inferability(answers, limits)
    assert (verdict.keep, verdict.measure) == (False, measure)
    assert inferability(Answers(2, 2, 2), limits) == ("inferability", 0.5, True, "", "both")


# Proposals and the whole


def test_order_shows_every_person_before_any_twice():
    records = people(7, images=3).records
    orders = [visiting_order(records, np.random.default_rng(seed)) for seed in range(3)]
    for order in orders:
        assert sorted(order) == list(range(21))
        for turn in range(3):
            assert len({records[i].person_id for i in order[7 * turn : 7 * turn + 7]}) == 7
    assert orders[0] != orders[1]


def test_proposals_are_other_outfits_used_least_first():
    changed = np.array([0, 1, 2, 3, 1, 1])
    same = np.array([1, 1, 1, 1, 0, 1], bool)
    used = np.array([0, 2, 0, 0, 0, 1])
    rng = np.random.default_rng(0)
    assert propose(changed, same, used, (1, 2), 9, rng) == [2, 5, 1]
    assert propose(changed, same, used, (1, 2), 1, rng) == [2]
    with pytest.raises(ValueError, match="changes must be"):
        propose(changed, same, used, (0, 2), 9, rng)


def test_kept_triplets_show_one_body_in_two_outfits_and_the_counts_add_up():
    collection = people()
    found, counts = run(collection)
    kept = [judged for judged in found if judged.kept]
    assert len(kept) > 5
    assert (
        counts["proposed"] == len(found) == counts["kept"] + sum(counts["removed_first"].values())
    )
    assert counts["kept"] == len(kept)
    assert sum(counts["removed_first_by"].values()) == len(found) - len(kept)
    for name in FILTERS:
        assert counts["removed_first"][name] <= counts["removed_alone"][name] <= len(found)
    assert counts["reference_images"] == len(collection.records)
    for judged in kept:
        one, other = (collection.records[i].attributes for i in (judged.reference, judged.target))
        assert one["gender"] == other["gender"]
        assert judged.changed
        assert all(one[name] != other[name] for name in judged.changed)
    references = [judged.reference for judged in kept]
    assert len(set(references)) == len(references)  # per_image is 1


def test_equal_seeds_give_equal_triplets_and_others_do_not():
    found, counts = run()
    assert (found, counts) == run()
    assert found != run(seed=6)[0]


def test_a_limit_is_met_exactly_and_takes_another_person_each_time():
    collection = people()
    found, counts = run(collection, plan=PLAN._replace(limit=5, per_image=2))
    assert counts["kept"] == 5
    assert counts["reference_images"] < len(collection.records)
    visited = [collection.records[judged.reference].person_id for judged in found]
    assert len(dict.fromkeys(visited)) >= 3


@pytest.mark.parametrize(
    ("filter_name", "change"),
    [
        ("quality", {"image": IMAGE._replace(width=21)}),
        ("quality", {"text": TEXT._replace(most=3)}),
        ("inferability", {"answers": AnswerLimits(3, 2, 1)}),
        ("inferability", {"answers": AnswerLimits(2, 99, 1)}),
    ],
)
def test_a_stricter_threshold_removes_more_by_its_filter_alone(filter_name, change):
    base, strict = run()[1], run(limits=LIMITS._replace(**change))[1]
    share = [counts["removed_alone"][filter_name] / counts["proposed"] for counts in (base, strict)]
    assert share[0] < share[1]


def test_targets_are_chosen_in_turn():
    loose = LIMITS._replace(answers=AnswerLimits(0, 0, 99))
    found, _ = run(limits=loose, plan=PLAN._replace(changes=(1, 9)))
    times = np.bincount([judged.look for judged in found if judged.kept], minlength=24)
    assert times.sum() > 40
    assert times.max() - times.min() <= 1 + len(found) - times.sum()  # but for dropped ones


def test_words_about_what_the_target_does_not_show_are_dropped():
    records = tuple(
        one._replace(shown=frozenset(one.attributes) - {"hat"}) for one in people().records
    )
    collection = Collection(records, [sharp()] * len(records))
    hats = Plugs(write=lambda reference, target, different: "Wearing a cap")
    assert run(plugs=hats)[1]["removed_alone"]["alignment"] < len(run(plugs=hats)[0])
    found, counts = run(collection, plugs=hats)
    assert counts["removed_alone"]["alignment"] == len(found) > 0


def test_quality_is_that_of_the_worse_image():
    collection = people()
    images = [sharp(height=20 + i) for i in range(len(collection.records))]
    limits = LIMITS._replace(text=TEXT._replace(most=60))
    found, _ = run(collection._replace(images=images), limits)
    for judged in found:
        height = 20 + min(judged.reference, judged.target)
        assert judged.verdicts[0].score == min(height / 20, 2.0)  # 20 of 10 pixels wide


def test_people_pair_with_themselves_where_asked():
    records = people().records
    records = tuple(one._replace(person_id=(one.person_id + 2) // 3) for one in records)
    collection = Collection(records, [sharp()] * len(records))
    limits = LIMITS._replace(identity=0.0, answers=AnswerLimits(1, 1, 9))
    found, _ = run(collection, limits, PLAN._replace(pairs="person"))
    assert found
    assert all(records[j.reference].person_id == records[j.target].person_id for j in found)
    # Then the filter sees that the table gives one person two bodies.
    counts = run(collection, limits._replace(identity=1.0), PLAN._replace(pairs="person"))[1]
    assert counts["removed_alone"]["identity"] > 0


def test_plugs_write_generate_embed_and_score():
    seen = []

    def write_all(reference, target, different):
        seen.append((reference.file, target.file, different))
        return "Wearing a\n green hat" if len(seen) % 2 else "Wearing a red coat"

    def generate(captions):
        assert all(caption.startswith("Caption of") for caption in captions)
        return sharp(), sharp(height=44)

    embed = lambda image: np.array([1.0, len(image)])  # noqa: E731
    score = lambda image, words: float(len(image) == 44)  # noqa: E731
    found, counts = run(plugs=Plugs(write_all, generate, embed, score))
    assert {judged.words for judged in found} == {"Wearing a green hat", "Wearing a red coat"}
    assert all(judged.images[1].shape == (44, 20, 3) for judged in found)
    assert counts["removed_alone"]["alignment"] > 0  # not all targets have a red coat
    assert all(difference.before != difference.after for _, _, d in seen for difference in d)
    strict = LIMITS._replace(embedding=0.9999999, score=2.0)
    _, counts = run(limits=strict, plugs=Plugs(embed=embed))  # images of the set are all equal
    assert counts["removed_alone"]["identity"] == 0
    plugs = Plugs(None, generate, embed, score)
    _, counts = run(limits=LIMITS._replace(score=0.5), plugs=plugs)
    # The target is scored, not the reference; a vague word may tell no change.
    assert counts["removed_alone"]["alignment"] < counts["proposed"] / 2
    _, counts = run(limits=strict, plugs=plugs)
    assert counts["removed_alone"]["identity"] == counts["proposed"]
    assert counts["removed_alone"]["alignment"] == counts["proposed"]


@pytest.mark.parametrize(
    ("plugs", "words"),
    [
        (Plugs(write=lambda *a: None), "write must return text, got NoneType"),
        (Plugs(generate=lambda c: [sharp()]), "generate must return two images"),
        (Plugs(generate=lambda c: [sharp(), sharp() / 255]), "float64"),
        (Plugs(embed=lambda i: np.zeros(3)), "embedding of identity is zero"),
    ],
)
def test_what_a_plug_may_not_return_is_refused(plugs, words):
    with pytest.raises(ValueError, match=words):
        run(plugs=plugs)


def test_plugs_are_found_by_name():
    assert load("os.path:join", "--write") is os.path.join
    for name in ("os.path", "os.path:nothing", "no_such_module:f", ":f"):
        with pytest.raises(ValueError, match="--write"):
            load(name, "--write")


# The tool


@pytest.fixture(scope="module")
def tool():
    path = Path(__file__).parents[1] / "tools/make_triplets.py"
    spec = importlib.util.spec_from_file_location("make_triplets", path)
    module = importlib.util.module_from_spec(spec)
    kept = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = kept
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A published folder with images of `people` in two splits, and their attributes."""
    root = tmp_path_factory.mktemp("set") / "CUHK-PEDES"
    (root / "imgs").mkdir(parents=True)
    records, rows = people(40).records, {}
    content = []
    for one in records:
        Image.fromarray(sharp(96, 40)).save(root / "imgs" / one.file)
        content.append(
            {"id": one.person_id, "file_path": one.file, "captions": list(one.captions)}
            | {"split": "train" if one.person_id <= 24 else "test"}
        )
        rows[one.person_id] = {"id": one.person_id, **one.attributes}
    (root / "reid_raw.json").write_text(json.dumps(content))
    (root / "attributes.json").write_text(json.dumps(list(rows.values())))
    return root


def options(folder, out, *more):
    """The command line of a making."""
    table = str(folder / "attributes.json")
    return ["cuhk_pedes", "--root", str(folder), "--attributes", table, "--out", str(out), *more]


def test_tool_writes_the_same_triplets_in_both_forms(tool, folder, tmp_path, capsys):
    ids, syncpr = tmp_path / "ids.json", tmp_path / "syncpr.json"
    report, sheet = tmp_path / "report.json", tmp_path / "sheet.png"
    extra = ("--report", str(report), "--sheet", str(sheet))
    assert tool.main(options(folder, ids, *extra)) == 0
    assert tool.main(options(folder, syncpr, "--format", "syncpr")) == 0
    assert "removed by inferability" in capsys.readouterr().out
    one, other = json.loads(ids.read_text()), json.loads(syncpr.read_text())
    splits = json.loads(report.read_text())["splits"]
    assert {row["split"] for row in one} == {"train", "test"}
    for split, counts in splits.items():
        assert counts["kept"] == sum(row["split"] == split for row in one)
    assert list(one[0]) == [
        "split", "reference", "target", "reference_id", "target_id", "relative_caption", "changed",
    ]  # fmt: skip
    assert list(other[0]) == [
        "reference_caption", "target_caption", "reference_image_path", "target_image_path",
        "edit_caption", "cpr_id",
    ]  # fmt: skip
    for a, b in zip(one, other, strict=True):
        assert (a["reference"], a["target"]) == (b["reference_image_path"], b["target_image_path"])
        assert a["relative_caption"] == b["edit_caption"]
        assert b["target_caption"] == f"Caption of {b['target_image_path']}."
        assert a["target"].startswith(f"{a['target_id'] - 1}_")
    targets = {(a["target_id"], b["cpr_id"]) for a, b in zip(one, other, strict=True)}
    assert len(targets) == len({cpr for _, cpr in targets}) == len({t for t, _ in targets})
    with Image.open(sheet) as image:
        assert image.format == "PNG"


def test_tool_writes_generated_images_beside_their_triplets(tool, folder, tmp_path, monkeypatch):
    module = types.ModuleType("drawn")
    module.generate = lambda captions: (sharp(96, 40), sharp(100, 40))
    monkeypatch.setitem(sys.modules, "drawn", module)
    monkeypatch.setattr(sys, "path", list(sys.path))
    out, images = tmp_path / "t.json", tmp_path / "drawn"
    more = ("--generate", "drawn:generate", "--images-out", str(images), "--limit", "3")
    more += ("--split", "train")
    more += ("--sheet", str(tmp_path / "s.png"), "--format", "syncpr")
    assert tool.main(options(folder, out, *more)) == 0
    rows = json.loads(out.read_text())
    assert [row["cpr_id"] for row in rows] == [0, 1, 2]
    for row in rows:
        with Image.open(images / row["target_image_path"]) as image:
            assert image.size == (40, 100)
    assert len(list(images.iterdir())) == 6


def test_tool_exits_1_without_triplets(tool, folder, tmp_path):
    assert tool.main(options(folder, tmp_path / "t.json", "--least-width", "99")) == 1
    assert json.loads((tmp_path / "t.json").read_text()) == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--root", "nowhere"), "nowhere is not a folder"),
        (("--attributes", "nothing.json"), "nothing.json: cannot be read"),
        (("--split", "val"), "no images of --split val"),
        (("--write", "nothing"), "--write must be module:function"),
        (("--generate", "os.path:join"), "--images-out"),
        (("--body", "tail"), "body names 'tail'"),
        (("--ignore", "gender"), "an attribute of the body"),
        (("--least-identity", "2"), "--least-identity must be in [0, 1]"),
        (("--limit", "0"), "limit must be at least 1"),
        (("--fewest-changes", "0"), "changes must be 1 <="),
        (("--seed", "-1"), "--seed must be >= 0"),
        (("--mapping", "nothing.json"), "nothing.json: cannot be read"),
    ],
)
def test_tool_says_in_one_sentence_what_is_wrong(
    tool, folder, tmp_path, capsys, monkeypatch, more, words
):
    monkeypatch.setattr(sys, "path", list(sys.path))
    out = tmp_path / "t.json"
    assert tool.main(options(folder, out, *more)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert not out.exists()


def test_images_without_attributes_are_refused_or_left_out(tool, folder, tmp_path, capsys):
    rows = json.loads((folder / "attributes.json").read_text())
    short = tmp_path / "short.json"
    short.write_text(json.dumps(rows[1:]))
    out = tmp_path / "t.json"
    assert tool.main(options(folder, out, "--attributes", str(short))) == 2
    assert "has no row of person 1 (record 0" in capsys.readouterr().err
    assert tool.main(options(folder, out, "--attributes", str(short), "--allow-missing")) == 0
    assert all(row["target_id"] > 1 < row["reference_id"] for row in json.loads(out.read_text()))


def test_tool_makes_triplets_of_rendered_people(tool, tmp_path):
    out = tmp_path / "t.json"
    more = ("--split", "test", "--out", str(out), "--most-changes", "9", "--pairs", "person")
    more += ("--fewest-by-words", "1", "--fewest-by-reference", "1", "--least-sharpness", "0")
    assert tool.main(["synthpedes:tiny", "--data-dir", str(tmp_path / "data"), *more]) == 0
    rows = json.loads(out.read_text())
    assert {row["reference"].split("/")[0] for row in rows} == {"test", "test_changed"}
    assert all(row["reference_id"] == row["target_id"] for row in rows)


@pytest.mark.external
def test_triplets_of_drawn_people_are_of_one_body_and_tell_what_changed(tool, tmp_path):
    folder = Path(os.environ["JAXREID_DATA"]) / "lpc_persons"
    out = tmp_path / "t.json"
    assert tool.main(options(folder, out, "--split", "test")) == 0
    published = json.loads((folder / "triplets.json").read_text())
    table = {row["id"]: row for row in json.loads((folder / "attributes.json").read_text())}
    rows = json.loads(out.read_text())
    assert len(rows) > 30
    for row in rows:
        assert row.keys() == published[0].keys()
        one, other = table[row["reference_id"]], table[row["target_id"]]
        for name in ("gender", "skin", "hair_length", "hair_color", "hair_style"):
            assert one[name] == other[name]
        assert all(one[name] != other[name] for name in row["changed"])
    # Words of the published triplets are read as true of their targets.
    scheme = make_scheme([name for name in table[1] if name not in ("id", "split")])
    values = attribute_values(
        [
            record(1, **attributes)
            for attributes in read_table(folder / "attributes.json").rows.values()
        ]
    )
    lexicon = make_lexicon(scheme, values)
    attributes = read_table(folder / "attributes.json").rows
    for triplet in published[::20]:
        for phrase in read(lexicon, triplet["relative_caption"]):
            assert holds(phrase, attributes[str(triplet["target_id"])], unknown=False), triplet
