"""Words of synthpedes: true, only of what is seen, and like those of real people."""

import collections
import re

import numpy as np
import pytest

from jaxreid.data.synthpedes import captions, triplets
from jaxreid.data.synthpedes.attributes import COLORS, VIEWS, conflicts
from jaxreid.data.synthpedes.person import sample_person
from jaxreid.data.synthpedes.population import sample_population
from jaxreid.data.synthpedes.visibility import visible

_PEOPLE = 400
_WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*")


@pytest.fixture(scope="module")
def people():
    # No look-alikes: they would share rare words or the lack of them.
    return sample_population(np.random.default_rng(7), _PEOPLE, look_alikes=0).people


@pytest.fixture(scope="module")
def descriptions(people):
    """(person, view, Description) of every person from every side, and a few twice: 2,000."""
    rng = np.random.default_rng(8)
    sides = [(person, view) for person in people for view in VIEWS]
    sides += sides[:400]
    return [(person, view, captions.describe(person, view, rng)) for person, view in sides]


def _words(text):
    return _WORD.findall(text.lower())


def _hidden_changed(person, view):
    """People who look the same from `view` and differ in what is not seen."""
    seen = visible(person, view)
    for seed in range(6):
        other = sample_person(np.random.default_rng(seed))
        changed = other | {attribute: person[attribute] for attribute in seen}
        if visible(changed, view) == seen and changed != person:
            yield changed


# Captions


def test_lengths_are_those_of_real_captions(descriptions):
    lengths = [len(_words(d.text)) for _, _, d in descriptions]
    assert 22 <= np.mean(lengths) <= 26
    assert 14 <= np.percentile(lengths, 5) <= 18
    assert 20 <= np.percentile(lengths, 50) <= 24
    assert 34 <= np.percentile(lengths, 95) <= 42


def test_vocabulary_is_wide_and_captions_hardly_repeat(descriptions):
    types = collections.Counter(word for _, _, d in descriptions for word in _words(d.text))
    assert len(types) > 350
    distinct = {d.text for _, _, d in descriptions}
    assert len(distinct) > 0.99 * len(descriptions)


def test_one_to_three_sentences_mostly_ended_by_a_period(descriptions):
    counts = [d.text.rstrip(".").count(". ") + 1 for _, _, d in descriptions]
    assert set(counts) == {1, 2, 3}
    assert 1.5 < np.mean(counts) < 1.9
    assert 0.9 < np.mean([d.text.endswith(".") for _, _, d in descriptions]) < 1


def test_parts_are_told_about_as_often_as_by_people(descriptions):
    def share(told, there=None):
        found = [
            bool(set(told) & d.mentions)
            for person, view, d in descriptions
            if there is None or (person[there] != "none" and there in visible(person, view))
        ]
        return np.mean(found)

    assert share(["top_type", "outer_type"]) > 0.95
    assert share(["bottom_type"], there="bottom_type") > 0.93
    assert share(["bag_type"], there="bag_type") > 0.75
    assert 0.45 < share(["shoes_type"]) < 0.75
    assert 0.25 < share(["hair_color", "hair_length", "hair_style"]) < 0.6
    assert share(["skin"]) < 0.15


def test_some_but_never_all_of_what_is_seen_is_told(descriptions):
    for person, view, description in descriptions:
        assert description.mentions
        assert description.mentions < visible(person, view)


def test_what_is_not_seen_leaves_no_trace_in_captions(people):
    tried = 0
    for number, person in enumerate(people[:60]):
        for view in VIEWS:
            for other in _hidden_changed(person, view):
                texts = [
                    captions.caption(p, view, np.random.default_rng(number))
                    for p in (person, other)
                ]
                assert texts[0] == texts[1]
                tried += 1
    assert tried > 500


@pytest.mark.parametrize(
    ("pattern", "attribute", "values"),
    [
        (r"\bstrip", "top_pattern", {"striped"}),
        (r"\b(plaid|check)", "top_pattern", {"plaid"}),
        (r"\b(polka|dots)\b", "top_pattern", {"dotted"}),
        (r"\b(floral|flower)", "top_pattern", {"floral"}),
        (r"\b(backpack|rucksack|knapsack)\b", "bag_type", {"backpack"}),
        (r"\bsuitcase\b", "bag_type", {"suitcase"}),
        (r"\b(purse|handbag)\b", "bag_type", {"handbag"}),
        (r"\bumbrella\b", "held", {"umbrella"}),
        (r"\bphone\b", "held", {"phone"}),
        (r"\bskirt\b", "bottom_type", {"skirt"}),
        (r"\b(jeans|denim)", "bottom_type", {"jeans"}),
        (r"\bshorts\b", "bottom_type", {"shorts"}),
        (r"\b(hoodie|hooded)\b", "top_type", {"hoodie"}),
        (r"\b(dress|gown)\b(?! (shirt|shoes))", "top_type", {"dress"}),
        (r"\bboots\b", "shoes_type", {"boots"}),
        (r"\b(sneakers|tennis|running|athletic)\b", "shoes_type", {"sneakers"}),
        (r"\bbeanie\b", "hat_type", {"beanie"}),
        (r"\b(cap|hat)\b", "hat_type", {"cap", "hat", "beanie"}),
        (r"\bsunglasses\b", "glasses", {"sunglasses"}),
        (r"\bbald|shaved\b", "hair_length", {"bald"}),
        (r"\bponytail\b", "hair_style", {"ponytail"}),
        (r"\bblonde?\b", "hair_color", {"blonde"}),
        (r"\b(beard|facial)\b", "beard", {"beard"}),
        (r"\b(he|his|man|guy|gentleman)\b", "gender", {"man"}),
        (r"\b(she|her|woman|lady)\b", "gender", {"woman"}),
        (r"\b(open|unfastened) (jacket|coat|cardigan|vest|blazer)", "outer_open", {"open"}),
        (r"\b(slim|slender|thin)\b", "build", {"slim"}),
        (r"\bsleeveless\b(?! (jacket|vest))", "sleeves", {"sleeveless"}),
        (r"\blong[ -]sleeve", "sleeves", {"long"}),
    ],
)
def test_words_are_true_and_are_named_as_mentions(descriptions, pattern, attribute, values):
    said = [(p, d) for p, _, d in descriptions if re.search(pattern, d.text.lower())]
    assert said, "the word never comes up, so nothing was tested"
    for person, description in said:
        assert person[attribute] in values, description.text
        assert attribute in description.mentions, description.text


def test_every_mentioned_color_is_a_color_of_that_person(descriptions):
    keys = [a for a in ("top_color", "top_color2", "outer_color", "bottom_color", "shoes_color",
                        "bag_color", "hat_color", "scarf_color", "hair_color")]  # fmt: skip
    for color in ("red", "green", "pink", "purple", "orange", "maroon", "yellow"):
        assert color in COLORS
        near = {
            "red": {"red", "maroon"},
            "green": {"green", "olive"},
            "yellow": {"yellow", "blonde"},
        }
        for person, _, description in descriptions:
            if color in _words(description.text):
                colors = {person[key] for key in keys if key in description.mentions}
                assert colors & near.get(color, {color}), description.text


@pytest.mark.parametrize("side", ["left", "right"])
def test_left_and_right_hands_and_shoulders_are_the_wearers(descriptions, side):
    said = 0
    for person, _, d in descriptions:
        if re.search(rf"\b(his|her|their) {side} (hand|shoulder|side)\b", d.text):
            sides = {person[a] for a in ("bag_side", "held_side") if a in d.mentions}
            assert side in sides, d.text
            said += 1
    assert said > 10


def test_grammar_of_articles_blanks_and_pairs(descriptions):
    wrong = (
        r"\ba [aeiou](?!ne-)|\ban [^aeiou]"  # articles
        r"|\b(\w+) \1\b|  | ,|,,|\.\.|[{}]"  # doubled words, stray signs
        r"|\ba pair of (?:(?!and |with )[\w-]+ ){0,3}"
        r"(dress(?! shoes)|skirt|shirt|footwear|jacket)\b"
        r"|\ba (?:[\w-]+ )?(pants|shorts|jeans|shoes|boots|sandals|leggings)\b"
        r"|^[^A-Z]"
    )
    for _, _, description in descriptions:
        assert not re.search(wrong, description.text), description.text


def test_captions_of_an_image_differ_and_follow_from_the_generator(people):
    for number, person in enumerate(people[:50]):
        texts = captions.captions(person, "back", np.random.default_rng(number))
        assert len(texts) == len(set(texts)) == captions.CAPTIONS
        assert texts == captions.captions(person, "back", np.random.default_rng(number))


def test_a_caption_drawn_twice_is_drawn_again(people, monkeypatch):
    drawn = iter(["A man.", "A man.", "He."])
    monkeypatch.setattr(captions, "caption", lambda person, view, rng: next(drawn))
    texts = captions.captions(people[0], "front", np.random.default_rng(0))
    assert texts == ("A man.", "He.")


# Triplets


def test_other_clothes_on_an_equal_body(people):
    rng = np.random.default_rng(3)
    for person in people[:100]:
        changed = triplets.change_outfit(person, rng)
        assert not conflicts(changed)
        assert list(changed) == list(person)
        assert {a: changed[a] for a in triplets.BODY} == {a: person[a] for a in triplets.BODY}
        clothes = ("top_type", "top_color", "outer_type", "outer_color", "bottom_type",
                   "bottom_color")  # fmt: skip
        assert sum(changed[a] != person[a] for a in clothes) >= 3


def test_edit_captions_are_short_and_start_with_wearing(people):
    rng = np.random.default_rng(4)
    texts = [triplets.edit_caption(p, v, rng) for p in people for v in VIEWS]
    lengths = [len(_words(text)) for text in texts]
    assert 9 <= np.mean(lengths) <= 14
    assert np.percentile(lengths, 5) >= 4
    assert np.percentile(lengths, 95) <= 24
    assert all(text.startswith("Wearing ") for text in texts)
    assert not [t for t in texts if re.search(r"[{}]|  | ,|\ba [aeiou](?!ne-)", t)]
    assert 0.02 < np.mean([bool(re.search(r"\b(no|without)\b", t)) for t in texts]) < 0.15


def test_edit_captions_tell_only_what_is_seen(people):
    for number, person in enumerate(people[:40]):
        for view in VIEWS:
            for other in _hidden_changed(person, view):
                first, second = (
                    triplets.edit_caption(p, view, np.random.default_rng(number))
                    for p in (person, other)
                )
                assert first == second


def test_triplets_have_the_syncpr_format():
    made = triplets.triplet(5, ("a.jpg", "A man."), ("b.jpg", "He."), "Wearing a red coat")
    assert made == {
        "reference_caption": "A man.",
        "target_caption": "He.",
        "reference_image_path": "a.jpg",
        "target_image_path": "b.jpg",
        "edit_caption": "Wearing a red coat",
        "cpr_id": 5,
    }
