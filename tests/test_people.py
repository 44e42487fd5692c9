"""How many people a run classifies: counted once, then read, whatever data is evaluated."""

from types import SimpleNamespace

import numpy as np
import pytest

from configs import irra
from jaxreid.config import check
from jaxreid.parts import _people


def splits(*ids):
    """split("train") of images of the published ids."""
    return lambda name: SimpleNamespace(person_id=np.array({"train": ids}[name], np.int32))


def no_split(name):
    raise AssertionError(f"split {name} is not needed")


@pytest.fixture
def config():
    return irra.get_config()


@pytest.fixture
def file(tmp_path):
    return str(tmp_path / "people.json")


def test_people_of_train_are_counted_not_their_ids(config, file):
    assert _people(config, splits(7, 3, 7, 11_003), file, learn=True) == 3


def test_a_run_keeps_its_number_on_other_data(config, file):
    _people(config, splits(1, 2, 4), file, learn=True)
    assert _people(config, no_split, file, learn=False) == 3


def test_more_people_than_train_shows_can_be_given_and_fewer_not(config, file):
    config.data.people = 5
    assert _people(config, splits(1, 2, 4), file, learn=True) == 5
    assert _people(config, no_split, file, learn=False) == 5
    config.data.people = 2
    with pytest.raises(ValueError, match=r"people must be 0 or at least the 3 people .* got 2"):
        _people(config, splits(1, 2, 4), file, learn=True)


def test_a_run_without_its_number_is_named(config, file):
    with pytest.raises(FileNotFoundError, match=r"people\.json"):
        _people(config, no_split, file, learn=False)
    with open(file, "w") as out:
        out.write("{}")
    with pytest.raises(ValueError, match="does not say how many people"):
        _people(config, no_split, file, learn=False)


def test_fields_that_cannot_be_are_named(config):
    config.data.people = -1
    with pytest.raises(ValueError, match=r"config\.data\.people must be >= 0, got -1"):
        check(config, 1)
    config.data.people = 0
    config.optim.groups = ((".*", 1.0, 0.0, "sgd"),)
    with pytest.raises(ValueError, match=r"optim\.groups: the kind .* adamw, adam, got 'sgd'"):
        check(config, 1)
