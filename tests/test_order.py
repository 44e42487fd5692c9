import numpy as np
import pytest

from jaxreid.data.order import by_person, shuffled, steps_per_epoch

# Unequal on purpose: person 0 has 1 image with 1 caption, person 4 has 5 images with 2 or 3.
IMAGES = [(0, 1), (1, 2), (1, 1), (2, 3), (3, 2), (3, 2), (3, 1)] + [(4, 2), (4, 3)] * 2 + [(4, 2)]
PERSON_ID = np.array([person for person, captions in IMAGES for _ in range(captions)], np.int32)
IMAGE_ID = np.repeat(np.arange(len(IMAGES)), [captions for _, captions in IMAGES]).astype(np.int32)


def test_steps_drop_the_incomplete_batch():
    assert [steps_per_epoch(n, 4) for n in (4, 7, 8, 9)] == [1, 1, 2, 2]


@pytest.mark.parametrize("batch_size", [0, 11])
def test_a_batch_larger_than_the_records_is_refused(batch_size):
    with pytest.raises(ValueError, match=f"batch_size must be in 1..10 .*, got {batch_size}"):
        steps_per_epoch(10, batch_size)


def test_an_epoch_takes_each_record_at_most_once():
    order = shuffled(11, batch_size=4, seed=0)
    for epoch in range(5):
        rows = order(epoch)
        assert rows.shape == (2, 4)
        assert len(np.unique(rows)) == 8
        assert rows.min() >= 0
        assert rows.max() < 11


def test_every_record_is_dropped_equally_often():
    order = shuffled(5, batch_size=4, seed=0)
    taken = np.bincount(np.concatenate([order(epoch).ravel() for epoch in range(1000)]))
    assert abs(taken / 1000 - 0.8).max() < 0.05


@pytest.mark.parametrize("make", ["shuffled", "by_person"])
def test_order_depends_on_seed_and_epoch_alone(make):
    def order(seed):
        if make == "shuffled":
            return shuffled(len(PERSON_ID), batch_size=4, seed=seed)
        return by_person(PERSON_ID, IMAGE_ID, batch_size=4, images_per_person=2, seed=seed)

    used = order(0)
    used(0)
    np.testing.assert_array_equal(used(3), order(0)(3))
    assert (order(0)(0) != order(0)(1)).any()
    assert (order(0)(0) != order(1)(0)).any()
    assert (order(0)(1) != order(1)(0)).any()  # seeds are no epochs


@pytest.mark.parametrize("k", [2, 3])
def test_person_batches_hold_k_records_of_different_people(k):
    order = by_person(PERSON_ID, IMAGE_ID, batch_size=4 * k, images_per_person=k, seed=0)
    images_of = {p: len(set(IMAGE_ID[p == PERSON_ID])) for p in range(5)}
    for epoch in range(20):
        rows = order(epoch)
        assert rows.shape == (len(PERSON_ID) // (4 * k), 4 * k)
        for batch in rows:
            people = PERSON_ID[batch].reshape(4, k)
            assert (people == people[:, :1]).all()
            assert len(set(people[:, 0])) == 4
            for group in batch.reshape(4, k):
                person = PERSON_ID[group[0]]
                assert len(set(IMAGE_ID[group])) == min(k, images_of[person])


def test_people_are_drawn_equally_often():
    order = by_person(PERSON_ID, IMAGE_ID, batch_size=4, images_per_person=2, seed=0)
    for epoch in range(10):
        drawn = np.bincount(PERSON_ID[order(epoch).ravel()], minlength=5)
        assert drawn.max() - drawn.min() <= 2  # one round more for some


def test_person_batches_reach_every_record():
    order = by_person(PERSON_ID, IMAGE_ID, batch_size=4, images_per_person=2, seed=0)
    assert len(np.unique(np.concatenate([order(epoch).ravel() for epoch in range(50)]))) == len(
        PERSON_ID
    )


@pytest.mark.parametrize(("batch_size", "k"), [(4, 1), (4, 3)])
def test_k_must_divide_the_batch(batch_size, k):
    with pytest.raises(ValueError, match=rf"images_per_person must be .* {batch_size}, got {k}"):
        by_person(PERSON_ID, IMAGE_ID, batch_size=batch_size, images_per_person=k, seed=0)


def test_too_few_people_are_refused():
    with pytest.raises(ValueError, match="needs 6 people, the split has 5"):
        by_person(PERSON_ID, IMAGE_ID, batch_size=12, images_per_person=2, seed=0)
