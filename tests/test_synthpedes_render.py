"""Pictures of synthpedes: deterministic, of any size, and showing what `visible` says."""

import time

import numpy as np
import pytest
from PIL import Image

from jaxreid.data.synthpedes.attributes import VALUES, VIEWS, conflicts
from jaxreid.data.synthpedes.camera import CAMERAS, photograph
from jaxreid.data.synthpedes.draw import Frame, draw, draw_figure, place
from jaxreid.data.synthpedes.palette import palette
from jaxreid.data.synthpedes.person import sample_person
from jaxreid.data.synthpedes.population import sample_population
from jaxreid.data.synthpedes.render import render
from jaxreid.data.synthpedes.scene import PLACES, background, occlude
from jaxreid.data.synthpedes.visibility import visible


@pytest.fixture(scope="module")
def people():
    return sample_population(np.random.default_rng(3), 90).people


def _draw(person, seed, view, size=(96, 48)):
    return draw(person, seed, view, np.random.default_rng(seed), *size).astype(int)


def _render(person, seed, view, camera, size=(128, 64)):
    return render(person, seed, view, camera, np.random.default_rng(seed), *size)


def _changes(people, seed):
    """(person, changed person, attribute, number): one other value, no conflict, per attribute."""
    rng = np.random.default_rng(seed)
    for number, person in enumerate(people):
        for attribute, allowed in VALUES.items():
            others = [person | {attribute: v} for v in allowed if v != person[attribute]]
            others = [other for other in others if not conflicts(other)]
            if others:
                yield person, others[rng.integers(len(others))], attribute, number


def test_equal_arguments_give_equal_bytes_in_any_order(people):
    jobs = [(people[i], i, VIEWS[i % 4], i % len(CAMERAS)) for i in range(14)]
    forth = [_render(*job) for job in jobs]
    back = [_render(*job) for job in reversed(jobs)][::-1]
    for one, other in zip(forth, back, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({image.tobytes() for image in forth}) == len(jobs)


@pytest.mark.parametrize("size", [(8, 8), (97, 41), (128, 64), (384, 128), (50, 200)])
def test_pictures_have_the_size_asked_for(people, size):
    for view in VIEWS:
        for image in (_render(people[0], 1, view, 2, size), _draw(people[0], 1, view, size)):
            assert image.shape == (*size, 3)
    assert _render(people[0], 1, "front", 2, size).dtype == np.uint8


def test_what_is_visible_changes_the_picture_when_it_changes(people):
    checked = set()
    for person, other, attribute, number in _changes(people[:25], 0):
        for view in VIEWS:
            if attribute in visible(person, view) & visible(other, view):
                difference = np.abs(_draw(person, number, view) - _draw(other, number, view))
                assert (difference.max(-1) > 12).sum() >= 2, (attribute, view, person, other)
                checked.add(attribute)
    assert checked >= set(VALUES) - {"height", "bag_side", "held_side", "held"}


def test_what_is_hidden_does_not_change_the_picture(people):
    checked = set()
    for person, other, attribute, number in _changes(people, 1):
        if attribute == "height":  # sets the size of the head; never described
            continue
        for view in VIEWS:
            straps = attribute == "bag_color" and person["bag_type"] == "backpack"
            if straps and view == "front":  # in the bag's colour, but too little to describe
                continue
            if attribute not in visible(person, view) | visible(other, view):
                np.testing.assert_array_equal(
                    _draw(person, number, view), _draw(other, number, view), f"{attribute} {view}"
                )
                checked.add(attribute)
    assert checked >= {"glasses", "beard", "top_color", "top_type", "bag_color", "held"}


def test_clothes_fill_enough_of_a_small_picture_to_tell_their_colour():
    rng = np.random.default_rng(8)
    person = sample_person(rng)
    while person["outer_type"] != "none" or person["bottom_type"] != "pants":
        person = sample_person(rng)
    person |= {"bag_type": "none", "bag_color": "none", "bag_side": "none"}
    for part in ("top_color", "bottom_color"):
        one, other = (
            person | {part: color, "top_pattern": "plain", "top_color2": "none"}
            for color in ("yellow", "purple")
        )
        for view in VIEWS:
            changed = np.abs(_draw(one, 4, view) - _draw(other, 4, view)).max(-1) > 40
            assert changed.mean() > 0.06, (part, view)


def test_left_is_the_persons_left(people):
    person = next(p for p in people if p["bag_type"] == "handbag") | {"bag_color": "yellow"}
    for side, from_front in (("left", 1), ("right", -1)):
        held = {"held": "none", "held_side": "none", "bag_side": side}
        for view, sign in (("front", from_front), ("back", -from_front)):
            one = _draw(person | held, 3, view, (128, 64))
            other = _draw(person | held | {"bag_color": "purple"}, 3, view, (128, 64))
            columns = np.nonzero(np.abs(one - other).sum(-1))[1]
            assert sign * (columns.mean() - 31.5) > 3


def test_a_person_seen_from_the_left_looks_left(people):
    person = next(p for p in people if p["glasses"] == "none" and p["hat_type"] == "none")
    for view, sign in (("left", -1), ("right", 1)):
        bare, glasses = (
            _draw(person | {"glasses": g}, 3, view, (128, 64)) for g in ("none", "sunglasses")
        )
        columns = np.nonzero(np.abs(bare - glasses).sum(-1))[1]
        assert sign * (columns.mean() - 31.5) > 1


def test_a_person_keeps_the_own_shades_and_two_people_do_not_share_them(people):
    one, other = palette(people[0], 1), palette(people[0], 2)
    assert one == palette(people[0] | {"hat_type": "cap", "hat_color": "red"}, 1) | {
        "hat": one["hat"]
    }
    assert one["top"] != other["top"]
    assert np.abs(np.subtract(one["top"], other["top"])).max() < 60


def test_backgrounds_depend_on_the_camera_and_the_generator_alone():
    for name in PLACES:
        one, same, other = (
            np.asarray(background(name, np.random.default_rng(s), (96, 192))) for s in (1, 1, 2)
        )
        np.testing.assert_array_equal(one, same)
        assert (one != other).any()
    assert {camera.place for camera in CAMERAS} == set(PLACES)


def test_cameras_differ_in_light():
    gray = Image.new("RGB", (32, 64), (128, 128, 128))
    means = [photograph(gray, c, np.random.default_rng(0)).mean((0, 1)) for c in CAMERAS]
    for i, one in enumerate(means):
        for other in means[:i]:
            assert np.abs(one - other).max() > 2


def test_occluders_hide_less_than_a_third_of_the_person_and_come_in_one_of_ten(people):
    occluded = []
    for number in range(400):
        person, view = people[number % len(people)], VIEWS[number % 4]
        pictures = []
        for ground in ((0, 255, 0), (255, 0, 255)):
            canvas = Image.new("RGB", (96, 192), ground)
            brush = place(canvas, view, Frame(0.05, 0.97, 0.5))
            draw_figure(brush, person, number, view, np.random.default_rng(number))
            pictures.append(np.array(canvas))
        figure = (pictures[0] == pictures[1]).all(-1)
        occlude(brush, np.random.default_rng(number))
        hidden = (np.asarray(canvas) != pictures[1]).any(-1)
        occluded.append(hidden.any())
        assert (hidden & figure).sum() <= 0.3 * figure.sum(), (number, view)
    assert 0.06 < np.mean(occluded) < 0.15


def test_a_request_that_cannot_be_drawn_is_refused(people):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="tartan"):
        render(people[0] | {"top_color": "tartan"}, 0, "front", 0, rng, 64, 32)
    with pytest.raises(ValueError, match="'above'"):
        render(people[0], 0, "above", 0, rng, 64, 32)
    with pytest.raises(ValueError, match=r"0\.\.6, got 7"):
        render(people[0], 0, "front", 7, rng, 64, 32)
    with pytest.raises(ValueError, match="got 4 and 32"):
        render(people[0], 0, "front", 0, rng, 4, 32)
    with pytest.raises(ValueError, match="'moon'"):
        background("moon", rng, (8, 8))


def test_renders_more_than_forty_images_a_second(people):
    _render(people[0], 0, "front", 0)
    start = time.process_time()
    for i in range(40):
        _render(people[i], i, VIEWS[i % 4], i % len(CAMERAS))
    assert time.process_time() - start < 1.0
