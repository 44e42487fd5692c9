"""Dialogues of synthpedes: what is asked, and answers as true and as false as is stated."""

import collections
import re

import numpy as np
import pytest

from jaxreid.data.synthpedes import dialogue, memory, synonyms, topics, vague
from jaxreid.data.synthpedes.attributes import ONLY_WOMEN, VALUES, VIEWS
from jaxreid.data.synthpedes.memory import RATES, Rates
from jaxreid.data.synthpedes.person import sample_person
from jaxreid.data.synthpedes.population import sample_population
from jaxreid.data.synthpedes.visibility import visible

_SINGLE = [name for name, topic in topics.TOPICS.items() if not topic.also]
# Word -> attributes that it may speak of, and the values of which it is true; by hand, so that no
# table of the package is held against itself.
_MEANS = (
    (r"\b(stripes|striped|stripy|striping)\b", {"top_pattern"}, {"striped"}),
    (r"\b(plaid|checks|checkered|checked)\b", {"top_pattern"}, {"plaid"}),
    (r"\b(polka|dots|dotted|spotted|spots)\b", {"top_pattern"}, {"dotted"}),
    (r"\b(floral|flowers|flowered|flower)\b", {"top_pattern"}, {"floral"}),
    (r"\b(a (?!floral|flower)\w+ print|logo|graphic)\b", {"top_pattern"}, {"graphic"}),
    (r"\b(it was plain|no pattern)\b", {"top_pattern"}, {"plain"}),
    (r"\b(?<!no )(backpack|rucksack|knapsack)\b", {"bag_type"}, {"backpack"}),
    (r"\bsuitcase\b", {"bag_type"}, {"suitcase"}),
    (r"\b(purse|handbag)\b", {"bag_type"}, {"handbag"}),
    (r"\b(shopping|grocery|carrier) bag\b", {"bag_type"}, {"shopping bag"}),
    (r"\b(no bag|no backpack)\b", {"bag_type"}, {"none"}),
    (r"\bumbrella\b", {"held"}, {"umbrella"}),
    (r"\b(phone|cellphone|smartphone)\b", {"held"}, {"phone"}),
    (r"\bskirt\b", {"bottom_type"}, {"skirt"}),
    (r"\b(jeans|denim|denims)\b", {"bottom_type"}, {"jeans"}),
    (r"\bshorts\b", {"bottom_type"}, {"shorts"}),
    (r"\b(leggings|tights)\b", {"bottom_type"}, {"leggings"}),
    (r"\b(hoodie|hooded|hoody)\b", {"top_type"}, {"hoodie"}),
    (r"\b(polo)\b", {"top_type"}, {"polo"}),
    (r"\b(dress|gown)\b(?! (shirt|shoes))", {"top_type"}, {"dress"}),
    (r"\b(blazer|suit jacket|sport coat)\b", {"outer_type"}, {"blazer"}),
    (r"\bcardigan\b", {"outer_type"}, {"cardigan"}),
    (r"\b(no jacket|nothing over|wear a jacket)\b", {"outer_type"}, {"none"}),
    (r"\bboots\b", {"shoes_type"}, {"boots"}),
    (r"\b(sneakers|tennis|running|athletic)\b", {"shoes_type"}, {"sneakers"}),
    (r"\bsandals\b", {"shoes_type"}, {"sandals"}),
    (r"\bbeanie\b", {"hat_type"}, {"beanie"}),
    (r"\bbaseball cap\b", {"hat_type"}, {"cap"}),
    (r"\b(no hat|have a hat|head was bare)\b", {"hat_type"}, {"none"}),
    (r"\bsunglasses\b", {"glasses"}, {"sunglasses"}),
    (r"\b(no glasses|wear glasses)\b", {"glasses"}, {"none"}),
    (r"\b(bald|shaved|no hair)\b", {"hair_length"}, {"bald"}),
    (r"\blong hair\b", {"hair_length"}, {"long"}),
    (r"\bponytail\b", {"hair_style"}, {"ponytail"}),
    (r"\bbun\b", {"hair_style"}, {"bun"}),
    (r"\bblonde?\b", {"hair_color"}, {"blonde"}),
    (r"\b(no beard)\b", {"beard"}, {"none"}),
    (r"(?<!no )\b(beard|facial hair)\b", {"beard"}, {"beard"}),
    (r"\b(no scarf|wear a scarf)\b", {"scarf_color"}, {"none"}),
    (r"\b(he|his|man|guy|gentleman|fellow)\b", {"gender"}, {"man"}),
    (r"\b(she|her|woman|lady)\b", {"gender"}, {"woman"}),
    (r"\b(slim|slender|thin|skinny)\b", {"build"}, {"slim"}),
    (r"\b(heavy|heavyset|stocky|overweight)\b", {"build"}, {"heavy"}),
    (r"\b(dark skin|dark complexion)\b", {"skin"}, {"dark"}),
    (r"\b(long sleeves|long sleeved)\b", {"sleeves"}, {"long"}),
    (r"\b(no sleeves|was sleeveless)\b", {"sleeves"}, {"sleeveless"}),
    (r"\b(it was open|it was unfastened|an open (?:jacket|coat))\b", {"outer_open"}, {"open"}),
    (r"\b(it was closed|it was done up)\b", {"outer_open"}, {"closed"}),
    (r"\b(left hand|left one)\b", {"held_side", "bag_side"}, {"left"}),
    (r"\b(right hand|right one)\b", {"held_side", "bag_side"}, {"right"}),
    (r"\bon (his|her|their) back\b", {"bag_side"}, {"back"}),
    *(
        (rf"\b{word}\b", {"top_color", "top_color2", "outer_color", "bottom_color", "shoes_color",
                          "bag_color", "hat_color", "scarf_color"}, values)
        for word, values in (
            ("(?<!dark )(?<!deep )(?<!wine )red(?! hair)", {"red"}), ("pink", {"pink"}),
            ("purple", {"purple"}), ("orange", {"orange"}), ("yellow", {"yellow"}),
            ("maroon", {"maroon"}), ("white", {"white"}), ("navy", {"navy"}),
            ("olive", {"olive"}), ("(beige|tan|khaki)(?! skin)", {"beige"}),
        )
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def people():
    return sample_population(np.random.default_rng(7), 280, look_alikes=0).people


@pytest.fixture(scope="module")
def conversations(people):
    """(person, view, rounds) of every person from every side, two witnesses each."""
    rng = np.random.default_rng(9)
    return [(p, v, dialogue.converse(p, v, rng)) for p in people for v in VIEWS for _ in range(2)]


@pytest.fixture(scope="module")
def answers(people):
    """(person, view, witness, round) for every attribute, asked out of the blue."""
    rng = np.random.default_rng(10)
    found = []
    for number, person in enumerate(people):
        for view in (VIEWS[number % 4], VIEWS[(number + 1) % 4]):
            witness = dialogue.witness(person, view, rng)
            found += [(person, view, witness, dialogue.ask(t, witness, view, rng)) for t in _SINGLE]
    return found


def _hidden_changed(person, view):
    """People who look the same from `view` and differ in what is not seen."""
    seen = visible(person, view)
    for seed in range(6):
        other = sample_person(np.random.default_rng(seed))
        changed = other | {attribute: person[attribute] for attribute in seen}
        if visible(changed, view) == seen and changed != person:
            yield changed


def _within(share, rate, count):
    """Four standard errors."""
    return abs(share - rate) <= 4 * np.sqrt(max(rate * (1 - rate), 0.25 / count) / count)


# The table


def test_every_attribute_has_rates_and_they_differ():
    assert list(RATES) == list(VALUES)
    for rates in RATES.values():
        assert min(rates) >= 0
        assert sum(rates) <= 1
    told = {name: 1 - sum(rates) for name, rates in RATES.items()}
    assert told["outer_color"] - told["shoes_color"] > 0.4  # a coat is remembered, shoes are not
    assert len({round(share, 2) for share in told.values()}) > 15


def test_every_attribute_has_a_topic_of_several_phrasings():
    assert set(_SINGLE) == set(VALUES)
    assert set(dialogue._URGENCY) == set(topics.TOPICS)
    for name, topic in topics.TOPICS.items():
        assert len(set(topic.questions)) >= 3, name
        assert topic.attribute in VALUES
        if not topic.also:
            assert topic.attribute == name
        assert set(topic.asides) | set(topic.also) <= set(VALUES)


def test_vague_words_are_there_for_every_value_that_can_be_vague():
    rng = np.random.default_rng(0)
    for attribute, rates in RATES.items():
        if not rates.vague:
            assert attribute not in vague.VAGUE
            continue
        said = [value for values in vague.VAGUE[attribute] for value in values]
        assert len(said) == len(set(said))
        head = memory.HEADS.get(attribute)
        known = set(VALUES[attribute]) - ({"none"} if head or "none" not in said else set())
        known -= {"none"} if attribute in ("bottom_type", "hair_color", "hair_style") else set()
        assert set(said) == known, attribute
        for value in known:
            assert vague.vaguely(attribute, value, rng)
    with pytest.raises(ValueError, match="no vague words for sleeves 'torn'"):
        vague.vaguely("sleeves", "torn", rng)


def test_a_vague_answer_never_names_a_value():
    values = {value for values in VALUES.values() for value in values if len(value) > 2}
    values -= {"none", "light", "dark", "heavy", "slim", "short", "long", "closed", "open", "back"}
    for attribute, groups in vague.VAGUE.items():
        for texts in groups.values():
            for text in texts:
                named = set(re.findall(r"[a-z-]+", text.lower())) & values
                assert not named - {"shirt", "glasses", "hat", "pants", "shoes"}, (attribute, text)


# Rates


@pytest.mark.parametrize("attribute", [a for a in VALUES if a != "height"])
def test_answers_are_forgotten_vague_and_wrong_as_often_as_stated(people, attribute):
    rng = np.random.default_rng(11)
    kinds = collections.Counter()
    for person in people:
        view = next((v for v in VIEWS if attribute in visible(person, v)), None)
        look = {a: person[a] for a in visible(person, view)} if view else {}
        head = memory.HEADS.get(attribute)
        gone = head in look and look[head] in ("none", "plain", "bald")
        if attribute not in look or gone or not memory.mistakable(attribute, look):
            continue
        for _ in range(6):
            witness = dialogue.witness(person, view, rng)
            recalled = dialogue.ask(attribute, witness, view, rng).recalled
            if attribute in recalled:  # else its part was taken to be missing
                kinds[recalled[attribute]] += 1
    count = sum(kinds.values())
    assert count > 100
    for kind, rate in RATES[attribute]._asdict().items():
        assert _within(kinds[kind] / count, rate, count), (kind, kinds[kind] / count, rate)


def test_what_is_asked_does_not_depend_on_what_is_remembered(conversations):
    """Else the answers of conversations would be forgotten more often than stated."""
    kinds = collections.defaultdict(collections.Counter)
    for _, _, rounds in conversations:
        for r in rounds:
            kind = r.recalled.get(r.topic)
            if kind and kind != memory.UNSEEN:
                kinds[r.topic][kind] += 1
    checked = 0
    for attribute, counts in kinds.items():
        count = sum(counts.values())
        if count > 200 and attribute not in ("gender", "beard"):  # a few are never mistaken
            for kind, rate in RATES[attribute]._asdict().items():
                assert _within(counts[kind] / count, rate, count), (attribute, kind, counts)
            checked += 1
    assert checked > 12


def test_a_witness_who_is_given_other_rates_follows_them(people, monkeypatch):
    monkeypatch.setitem(RATES, "bottom_color", Rates(0.0, 0.0, 1.0))
    rng = np.random.default_rng(0)
    for person in people[:40]:
        if person["bottom_type"] != "none":
            witness = dialogue.witness(person, "front", rng)
            r = dialogue.ask("bottom_color", witness, "front", rng)
            assert r.recalled == {"bottom_color": "wrong"}
            assert witness["bottom_color"].value != person["bottom_color"]


# Truth


def test_a_true_answer_is_true_and_a_wrong_one_is_false(answers, conversations):
    said = [(p, r) for p, _, _, r in answers] + [(p, r) for p, _, rounds in conversations
                                                 for r in rounds]  # fmt: skip
    checked = collections.Counter()
    for person, r in said:
        text = r.answer.lower()
        for pattern, attributes, values in _MEANS:
            told = attributes & r.mentions
            if not told or not re.search(pattern, text):
                continue
            kinds = {r.recalled[a] for a in told}
            true = any(person[a] in values for a in told)
            if kinds == {"true"}:
                assert true, (pattern, r, person)
            elif kinds == {"wrong"}:
                assert not true, (pattern, r, person)
            checked.update((a, kind) for a in told for kind in kinds)
    assert sum(checked[a, "wrong"] > 0 for a in VALUES) > 20
    assert sum(checked[a, "true"] > 0 for a in VALUES) > 24


def test_recollections_are_true_where_they_say_so(answers):
    for person, view, witness, _ in answers:
        seen = visible(person, view)
        assert set(witness) == set(seen)
        for attribute, told in witness.items():
            assert told.truth == person[attribute]
            assert told.value in VALUES[attribute]
            assert (told.value != told.truth) == (told.kind == "wrong")


def test_a_wrong_value_is_plausible(people):
    for person in people[:100]:
        for view in VIEWS:
            look = {a: person[a] for a in visible(person, view)}
            for attribute in look:
                for value in memory.mistakable(attribute, look):
                    assert value in VALUES[attribute]
                    assert value != look[attribute]
                    assert value != "dress"
                    if person["gender"] == "man":
                        assert value not in ONLY_WOMEN.get(attribute, ())
                    elif attribute == "beard":
                        raise AssertionError("a woman's beard")
                    assert not {value} & synonyms.words_for(attribute, look[attribute])


@pytest.mark.parametrize(
    ("attribute", "truth", "told", "only"),
    [
        ("top_type", "t-shirt", "polo", r"\b(polo|collared)\b"),  # both are a "shirt"
        ("hat_type", "cap", "beanie", r"\b(beanie|knit|knitted|winter)\b"),  # both are a "hat"
        ("bag_type", "backpack", "handbag", r"\b(handbag|hand bag|purse|tote|pocketbook)\b"),
        ("bottom_color", "navy", "black", r"\bblack\b"),  # both are "dark"
        ("shoes_color", "white", "beige", r"\b(beige|tan|khaki|sandy|cream|sand)\b"),  # "light"
    ],
)
def test_words_for_a_wrong_value_never_suit_the_true_one(people, attribute, truth, told, only):
    person = next(p for p in people if p[attribute] == truth and p["outer_type"] == "none")
    rng = np.random.default_rng(2)
    witness = dialogue.witness(person, "back", rng)
    witness = witness | {attribute: memory.Recollection("wrong", told, truth)}
    for head in {memory.HEADS.get(attribute)} - {None}:
        witness[head] = memory.Recollection("true", person[head], person[head])
    for _ in range(150):
        answer = dialogue.ask(attribute, witness, "back", rng).answer
        assert re.search(only, answer.lower()), answer


def test_near_values_are_taken_for_each_other_more_often():
    look = {"gender": "man", "bottom_color": "black", "outer_type": "jacket", "hat_type": "none"}
    weights = memory.mistakable("bottom_color", look)
    assert weights["navy"] > weights["yellow"]
    weights = memory.mistakable("outer_type", look)
    assert weights["blazer"] > weights["none"]
    assert "coat" not in weights  # "coat" is a word for a jacket too
    assert set(memory.mistakable("hat_type", look)) == {"cap", "hat", "beanie"}


def test_words_that_suit_both_values_tell_nothing_apart():
    assert synonyms.tells_apart("a navy coat", "outer_color", "navy", "blue")
    assert not synonyms.tells_apart("a blue coat", "outer_color", "navy", "blue")
    assert not synonyms.tells_apart("a dark coat", "outer_color", "black", "navy")
    assert not synonyms.tells_apart("a t-shirt", "top_type", "shirt", "polo")  # no whole word
    assert synonyms.tells_apart("anything", "sleeves", "long", "short")


# Conversations


def test_every_attribute_is_asked_about_somewhere(conversations):
    asked = collections.Counter(r.topic for _, _, rounds in conversations for r in rounds)
    assert set(asked) == set(topics.TOPICS)
    assert min(asked.values()) >= 5


def test_rounds_are_five_to_ten_of_different_topics_in_good_english(conversations):
    counts = collections.Counter(len(rounds) for _, _, rounds in conversations)
    assert set(counts) == {5, 6, 7, 8, 9, 10}
    for _, _, rounds in conversations:
        assert len({r.topic for r in rounds}) == len(rounds)
        for r in rounds:
            assert re.fullmatch(r"[A-Z][^{}]*[.?]", r.question), r
            assert re.fullmatch(r"[A-Z][^{}]*[.]", r.answer), r
            wrong = r"\ba [aeiou](?!ne-)|\ban [^aeiou]|\b(\w+) \1\b|  | ,|,,|\.\."
            assert not re.search(wrong, f"{r.question} {r.answer}"), r


def test_the_order_of_questions_differs_between_dialogues(conversations):
    orders = [tuple(r.topic for r in rounds) for _, _, rounds in conversations]
    assert len(set(orders)) > 0.99 * len(orders)


def test_likely_topics_come_no_earlier_than_others_that_are_asked():
    rng = np.random.default_rng(0)
    urgency = []
    for _ in range(1_500):
        order = dialogue._order(7, rng)
        assert sorted(order) == sorted(topics.TOPICS)
        first = [topic for topic in order[: 7 + dialogue._MORE] if topic != "looks"]
        urgency.append([dialogue._URGENCY[topic] for topic in (*first[:3], *first[-3:])])
    early, late = np.split(np.mean(urgency, axis=0), 2)
    assert abs(early.mean() - late.mean()) < 0.15
    rest = [dialogue._URGENCY[topic] for topic in order[7 + dialogue._MORE :]]
    assert np.mean(rest) < early.mean()


def test_two_witnesses_of_a_picture_say_different_things(people):
    rng = np.random.default_rng(0)
    for person in people[:40]:
        first, second = dialogue.dialogues(person, "left", rng)
        assert first.rounds != second.rounds
        assert first.opening == second.opening == ""


def test_most_dialogues_tell_at_least_three_things_and_only_what_is_seen(conversations):
    telling = []
    for person, view, rounds in conversations:
        told = frozenset().union(*(r.mentions for r in rounds))
        assert told < visible(person, view)
        telling.append(sum(bool(r.mentions) for r in rounds))
    assert np.mean(np.array(telling) >= 3) > 0.98


def test_what_is_not_seen_leaves_no_trace(people):
    tried = 0
    for number, person in enumerate(people[:20]):
        for view in VIEWS:
            for other in _hidden_changed(person, view):
                first, second = (
                    dialogue.dialogues(p, view, np.random.default_rng(number))
                    for p in (person, other)
                )
                assert first == second
                tried += 1
    assert tried > 100


def test_height_is_asked_for_and_never_told(answers):
    heights = [r for _, _, _, r in answers if r.topic == "height"]
    assert {r.recalled["height"] for r in heights} == {memory.UNSEEN}
    assert not [r for r in heights if re.search(r"\b(short|average)\b|was tall", r.answer)]


def test_the_questioner_does_not_know_the_gender_before_it_is_told(conversations):
    for _, _, rounds in conversations:
        told = None
        for r in rounds:
            assert told or not re.search(r"\b(he|she|his|her|him)\b", r.question.lower())
            words = {
                "man": r"\b(she|her|woman|lady|female)\b",
                "woman": r"\b(he|his|him|man|male|guy|gentleman|fellow)\b",
            }
            assert told is None or not re.search(words[told], r.question.lower() + r.answer.lower())
            for gender, of_the_other in words.items():
                if re.search(of_the_other, r.answer.lower()):
                    told = "woman" if gender == "man" else "man"


def test_a_follow_up_is_asked_only_of_a_part_that_was_told(conversations):
    followed = collections.Counter()
    for _, _, rounds in conversations:
        told = frozenset()
        for r in rounds:
            needs = topics.TOPICS[r.topic].needs
            assert not needs or needs in told, rounds
            followed[needs] += bool(needs)
            told |= r.mentions
    assert min(followed[a] for a in ("outer_type", "bag_type", "hat_type", "held")) > 5


def test_answers_of_a_conversation_agree(conversations):
    for _, _, rounds in conversations:
        kinds = {}
        for r in rounds:
            for attribute, kind in r.recalled.items():
                assert kinds.setdefault(attribute, kind) == kind, rounds


def test_yes_and_no_follow_the_witness(answers):
    seen = collections.Counter()
    for _, _, witness, r in answers:
        if r.topic in ("hat_type", "glasses", "bag_type", "beard", "scarf_color") and r.mentions:
            denied = r.answer.startswith("No")
            assert denied == (witness[r.topic].value == "none"), r
            seen[r.topic, denied] += 1
    assert len(seen) == 10
    assert min(seen.values()) > 5


def test_a_detail_of_a_missing_part_is_denied_with_the_part(answers):
    denied = 0
    for _, _, witness, r in answers:
        head = memory.HEADS.get(r.topic)
        if head and r.topic in witness and memory.is_absent(witness, head):
            assert r.recalled == {head: witness[head].kind}
            assert re.search(r"\bno\b|nothing", r.answer), r
            denied += 1
    assert denied > 200


def test_equal_generators_give_equal_dialogues_and_unknown_topics_are_named(people):
    for view in VIEWS:
        first, second = (
            dialogue.dialogues(people[0], view, np.random.default_rng(3)) for _ in range(2)
        )
        assert first == second
    with pytest.raises(ValueError, match=r"topic must be one of looks, .*, got 'shoe'"):
        dialogue.ask("shoe", {}, "front", np.random.default_rng(0))
