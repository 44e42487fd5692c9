"""People of synthpedes: consistent, as frequent as described, look-alikes in families."""

from collections import Counter

import numpy as np
import pytest

from jaxreid.data.synthpedes.attributes import VALUES, VIEWS, conflicts
from jaxreid.data.synthpedes.person import sample_person
from jaxreid.data.synthpedes.population import look, sample_population, split_population
from jaxreid.data.synthpedes.visibility import views_seen, visible


@pytest.fixture(scope="module")
def people():
    rng = np.random.default_rng(11)
    return [sample_person(rng) for _ in range(2000)]


@pytest.fixture(scope="module")
def population():
    return sample_population(np.random.default_rng(5), 600)


def test_every_person_has_an_allowed_value_for_every_attribute(people):
    for person in people:
        assert list(person) == list(VALUES)
        assert all(person[a] in VALUES[a] for a in VALUES)


def test_people_obey_the_rules_of_dress(people):
    for p in people:
        assert conflicts(p) == ()
        assert (p["hair_length"] == "bald") == (p["hair_color"] == "none")
        assert (p["hair_length"] == "bald") == (p["hair_style"] == "none")
        assert (p["top_type"] == "dress") == (p["bottom_type"] == "none")
        assert p["top_type"] != "tank top" or p["sleeves"] == "sleeveless"
        assert (p["outer_type"] == "none") == (p["outer_color"] == "none")
        assert (p["top_pattern"] == "plain") == (p["top_color2"] == "none")
        assert p["top_color"] != p["top_color2"]
        assert (p["bag_type"] == "backpack") == (p["bag_side"] == "back")
        assert (p["held"] == "none") == (p["held_side"] == "none")
        assert p["held"] == "none" or p["held_side"] != p["bag_side"]
        if p["gender"] == "man":
            assert p["top_type"] != "dress"
            assert p["bottom_type"] != "skirt"
            assert p["shoes_type"] != "heels"
        else:
            assert p["beard"] == "none"


def test_every_value_that_is_no_colour_occurs_and_every_colour_of_a_top(people):
    for attribute, allowed in VALUES.items():
        if attribute.endswith(("_color", "_color2")) and attribute != "top_color":
            continue
        assert {person[attribute] for person in people} == set(allowed), attribute


@pytest.mark.parametrize(
    ("attribute", "order"),
    [
        ("top_color", ("white", "blue", "purple")),
        ("bottom_type", ("pants", "shorts", "skirt")),
        ("bag_type", ("none", "backpack", "suitcase")),
        ("shoes_color", ("black", "white", "red")),
        ("hair_color", ("black", "brown", "red")),
    ],
)
def test_common_values_are_drawn_more_often_than_rare_ones(people, attribute, order):
    counts = Counter(person[attribute] for person in people)
    assert [counts[v] for v in order] == sorted((counts[v] for v in order), reverse=True)
    assert counts[order[0]] > 2 * counts[order[-1]]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"top_color": "tartan"}, "tartan"),
        ({"gender": "man", "shoes_type": "heels"}, "heels"),
        ({"hat_color": "red", "hat_type": "none"}, "hat_color"),
        ({"sleeves": "long", "top_type": "tank top"}, "sleeves"),
        ({"top_pattern": "striped", "top_color": "navy", "top_color2": "black"}, "navy"),
        ({"bag_type": "backpack", "bag_color": "red", "bag_side": "left"}, "backpack"),
    ],
)
def test_conflicts_names_what_is_wrong(people, change, named):
    assert any(named in sentence for sentence in conflicts(people[0] | change))


def test_conflicts_names_a_missing_attribute(people):
    assert "skin" in conflicts({a: v for a, v in people[0].items() if a != "skin"})[0]


def test_equal_seeds_give_equal_populations(population):
    again = sample_population(np.random.default_rng(5), 600)
    assert again.people == population.people
    np.testing.assert_array_equal(again.family, population.family)
    assert sample_population(np.random.default_rng(6), 600).people != population.people


def test_members_of_a_family_differ_in_one_to_three_attributes(population):
    sizes = np.bincount(population.family)
    assert set(sizes) == {1, 2, 3, 4, 5, 6}
    for family in np.flatnonzero(sizes > 1):
        members = [population.people[i] for i in np.flatnonzero(population.family == family)]
        differing = [a for a in VALUES if len({m[a] for m in members}) > 1]
        assert 1 <= len(differing) <= 3
        assert not {"skin", "height", "build", "gender"} & set(differing)
        for one in members:
            for other in members:
                assert one is other or any(
                    one[a] != other[a]
                    and max(map(len, (views_seen(one, a), views_seen(other, a)))) > 2
                    for a in differing
                )


@pytest.mark.parametrize("look_alikes", [0.0, 0.35, 1.0])
def test_the_stated_share_of_people_live_in_families(look_alikes):
    family = sample_population(np.random.default_rng(0), 100, look_alikes).family
    assert len(family) == 100
    in_families = (np.bincount(family)[family] > 1).sum()
    assert abs(in_families - 100 * look_alikes) <= 1


def test_no_two_people_look_the_same(population):
    assert len({look(person) for person in population.people}) == len(population.people)


def test_a_person_who_looks_like_an_earlier_one_is_drawn_again(people, monkeypatch):
    few = list({look(person): person for person in people[:30]}.values())
    monkeypatch.setattr(
        "jaxreid.data.synthpedes.population.sample_person",
        lambda rng: few[rng.integers(len(few))],
    )
    drawn = sample_population(np.random.default_rng(0), 20, look_alikes=0.0).people
    assert len({look(person) for person in drawn}) == 20


def test_splits_have_their_sizes_and_share_no_family(population):
    wanted = {"train": 420, "val": 60, "test": 120}
    splits = split_population(np.random.default_rng(1), population.family, wanted)
    assert {split: len(indices) for split, indices in splits.items()} == wanted
    assert sorted(np.concatenate(list(splits.values()))) == list(range(600))
    families = [set(population.family[indices]) for indices in splits.values()]
    assert sum(map(len, families)) == len(set.union(*families))


def test_impossible_requests_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="look_alikes"):
        sample_population(rng, 10, 1.5)
    with pytest.raises(ValueError, match="people"):
        sample_population(rng, 0)
    with pytest.raises(ValueError, match="add up to 4"):
        split_population(rng, np.zeros(4, np.int32), {"train": 3})
    with pytest.raises(ValueError, match="family of 4"):
        split_population(rng, np.zeros(4, np.int32), {"train": 3, "test": 1})


def test_what_a_view_shows(people):
    person = people[0] | {
        "gender": "man", "hair_length": "short", "hair_style": "straight", "hair_color": "brown",
        "glasses": "glasses", "beard": "beard", "hat_type": "none", "hat_color": "none",
        "top_type": "shirt", "top_color": "red", "top_pattern": "plain", "top_color2": "none",
        "sleeves": "long", "outer_type": "none", "outer_color": "none", "outer_open": "none",
        "bag_type": "handbag", "bag_color": "red", "bag_side": "left", "held": "phone",
        "held_side": "right",
    }  # fmt: skip
    front, left, back, right = (visible(person, view) for view in VIEWS)
    assert {"glasses", "beard", "held", "bag_type", "top_color"} <= front
    assert {"glasses", "beard", "held"}.isdisjoint(back)
    assert "bag_color" in left
    assert "held" not in left
    assert "bag_color" not in right
    assert "held" in right
    closed = person | {"outer_type": "coat", "outer_color": "navy", "outer_open": "closed"}
    assert {"top_type", "top_color", "sleeves"}.isdisjoint(visible(closed, "front"))
    opened = closed | {"outer_open": "open"}
    assert "top_color" in visible(opened, "front") - visible(opened, "back")
    pack = person | {"bag_type": "backpack", "bag_side": "back"}
    assert views_seen(pack, "bag_type") == ("left", "back", "right")
    capped = person | {"hat_type": "cap", "hat_color": "red"}
    assert {"hair_length", "hair_style"}.isdisjoint(visible(capped, "front"))
    with pytest.raises(ValueError, match="'top'"):
        visible(person, "top")
