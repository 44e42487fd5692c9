import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxreid.data.images import Augmentation, augment, resize
from jaxreid.data.pipeline import (
    Captions,
    Images,
    Pairs,
    device_batches,
    eval_batches,
    steps_per_epoch,
    train_iterator,
)
from jaxreid.data.records import AnnotationError, Split

# 14 captions of 9 images of 4 people, published ids neither sorted nor contiguous.
CAPTIONS = (2, 1, 1, 2, 1, 2, 1, 3, 1)
PERSON_ID = np.array([70, 70, 3, 3, 90, 70, 11, 90, 3], np.int32)
BATCH = 4
STEPS = 3  # floor(14 / 4)
AUGMENTATION = Augmentation(0.5, 2, 0, 0.5, (0.02, 0.4), (0.3, 3.3), (1, 2, 3))
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def split():
    rng = np.random.default_rng(0)
    return Split(
        data_set="toy",
        split="train",
        images=[rng.integers(0, 256, (9 + i, 7, 3), dtype=np.uint8) for i in range(9)],
        files=tuple(f"cam/{i}.png" for i in range(9)),
        person_id=PERSON_ID,
        captions=tuple(tuple(f"{i}-{j}" for j in range(n)) for i, n in enumerate(CAPTIONS)),
    )


@pytest.fixture(scope="module")
def texts():
    return {"ids": np.arange(28).reshape(14, 2), "mask": np.eye(14, dtype=bool)}


@pytest.fixture(scope="module")
def pairs(split, texts):
    return Pairs(split, texts)


def transform(record, rng):
    example = {key: record[key] for key in ("index", "text") if key in record}
    if "person_id" in record:
        example["person_id"] = record["person_id"]
    if "image" in record:
        image = resize(record["image"], (12, 6), "bilinear")
        example["image"] = image if rng is None else augment(image, rng, AUGMENTATION)
    return example


def stream(source, how=transform, **changes):
    settings = {
        "batch_size": BATCH,
        "seed": 5,
        "epochs": 3,
        "workers": 0,
        "process_index": 0,
        "process_count": 1,
    }
    return train_iterator(source, how, **{**settings, **changes})


def same(left, right):
    """Whether two trees of dicts hold equal arrays of equal type."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    return left.dtype == right.dtype and np.array_equal(left, right)


def all_same(left, right):
    return len(left) == len(right) and all(map(same, left, right))


@pytest.fixture(scope="module")
def reference(pairs):
    """The stream of one process, without workers."""
    return list(stream(pairs))


def test_pairs_hold_one_record_for_each_caption(split, texts, pairs):
    assert len(pairs) == 14
    record = pairs[3]  # the images have 2, 1, 1 captions before
    assert record["image"] is split.images[2]
    assert (record["caption"], record["file"]) == ("2-0", "cam/2.png")
    assert (record["image_id"], record["index"]) == (2, 3)
    np.testing.assert_array_equal(record["text"]["ids"], [6, 7])
    np.testing.assert_array_equal(record["text"]["mask"], texts["mask"][3])


def test_person_ids_count_from_zero_by_first_appearance(pairs):
    of_images = [0, 0, 1, 1, 2, 0, 3, 2, 1]
    assert pairs.people == 4
    assert pairs.person_id.dtype == np.int32
    np.testing.assert_array_equal(pairs.person_id, np.repeat(of_images, CAPTIONS))
    assert [pairs[i]["person_id"] for i in range(14)] == pairs.person_id.tolist()


def test_images_and_captions_are_records_of_their_own(split, texts):
    images, captions = Images(split), Captions(split, texts)
    assert (len(images), len(captions)) == (9, 14)
    assert images[2]["image"] is split.images[2]
    assert "text" not in images[2]
    assert "image" not in captions[3]
    assert (captions[3]["caption"], captions[3]["image_id"]) == ("2-0", 2)


@pytest.mark.parametrize("source", [Pairs, Captions])
def test_texts_need_a_row_for_each_caption(split, texts, source):
    with pytest.raises(ValueError, match=r"texts\['mask'\] .* 14 captions of toy train, got 13"):
        source(split, {**texts, "mask": texts["mask"][:13]})


def test_batches_are_stacked_examples(reference):
    batch = reference[0]
    assert batch["image"].shape == (BATCH, 12, 6, 3)
    assert batch["image"].dtype == np.uint8
    assert batch["person_id"].dtype == np.int32
    np.testing.assert_array_equal(batch["text"]["ids"][:, 0], 2 * batch["index"])


def test_an_epoch_takes_each_pair_at_most_once(pairs, reference):
    assert steps_per_epoch(len(pairs), BATCH) == STEPS
    assert len(reference) == 3 * STEPS
    index = np.array([batch["index"] for batch in reference]).reshape(3, -1)
    for epoch in index:
        assert len(set(epoch)) == STEPS * BATCH
    assert (index[0] != index[1]).any()
    assert (index[1] != index[2]).any()


def test_epochs_augment_differently_and_records_too(reference):
    views = {}
    for batch in reference:
        for index, image in zip(batch["index"].tolist(), batch["image"], strict=True):
            views.setdefault(index, []).append(image.tobytes())
    seen = sum(len(v) for v in views.values())
    assert sum(len(set(v)) for v in views.values()) > 0.9 * seen


def test_equal_seeds_give_equal_streams(pairs, reference):
    assert all_same(list(stream(pairs)), reference)
    assert not all_same(list(stream(pairs, seed=6)), reference)


def test_the_generator_depends_on_seed_epoch_and_place(pairs):
    def draws(batch_size, seed=5):
        return np.concatenate(
            [
                b["draw"]
                for b in stream(
                    pairs,
                    lambda record, rng: {"draw": rng.integers(2**62)},
                    batch_size=batch_size,
                    seed=seed,
                    epochs=2,
                )
            ]
        )

    assert len(set(draws(7))) == 28
    np.testing.assert_array_equal(draws(7), draws(2))  # both use all 14 places
    assert not set(draws(7)) & set(draws(7, seed=6))


@pytest.mark.parametrize("images_per_person", [None, 2])
def test_two_processes_make_the_rows_of_one(pairs, images_per_person):
    whole, *parts = [
        list(stream(pairs, images_per_person=images_per_person, process_index=p, process_count=n))
        for n, p in ((1, 0), (2, 0), (2, 1))
    ]
    for batch, first, second in zip(whole, *parts, strict=True):
        for key in ("image", "index"):
            np.testing.assert_array_equal(np.concatenate([first[key], second[key]]), batch[key])


def test_workers_do_not_change_the_stream_nor_its_positions(pairs, reference):
    iterator = stream(pairs, workers=2)
    head = [next(iterator) for _ in range(2)]
    state = iterator.get_state()
    assert all_same(head + list(iterator), reference)
    iterator.set_state(state)  # the workers start again in the middle of an epoch
    assert same(next(iterator), reference[2])
    iterator.close()
    without = stream(pairs)
    without.set_state(state)
    assert all_same(list(without), reference[2:])


@pytest.mark.parametrize("prefetched", [False, True])
def test_a_saved_position_goes_on_exactly(pairs, reference, prefetched):
    first = stream(pairs)
    states = []
    batches = device_batches(first, lambda b: b) if prefetched else first
    for step in range(8):  # 3 steps an epoch: across two boundaries
        states.append(json.dumps(batches.get_state()))
        assert same(next(batches), reference[step])
    batches.close()
    for step, state in enumerate(states):
        assert len(state) < 200
        resumed = stream(pairs)
        resumed.set_state(json.loads(state))
        if prefetched:
            with device_batches(resumed, lambda b: b) as rest:
                assert all_same([next(rest), next(rest)], reference[step : step + 2])
        else:
            assert all_same(list(resumed), reference[step:])


def test_going_back_discards_what_was_prefetched(pairs, reference):
    iterator = stream(pairs)
    for _ in range(5):
        next(iterator)
    iterator.set_state({**iterator.get_state(), "step": 1})
    assert all_same(list(iterator), reference[1:])


def test_an_endless_stream_goes_on(pairs, reference):
    iterator = stream(pairs, epochs=None)
    assert all_same([next(iterator) for _ in range(9)], reference)
    iterator.set_state({**iterator.get_state(), "step": 10**12})
    assert next(iterator)["image"].shape == (BATCH, 12, 6, 3)
    iterator.close()


def test_the_end_is_a_position_too(pairs):
    iterator = stream(pairs)
    list(iterator)
    ended = stream(pairs)
    ended.set_state(iterator.get_state())
    assert list(ended) == []


@pytest.mark.parametrize(
    ("field", "value"), [("batch_size", 2), ("seed", 6), ("images_per_person", 2), ("records", 13)]
)
def test_a_position_of_another_stream_is_refused(pairs, field, value):
    state = {**stream(pairs).get_state(), field: value}
    with pytest.raises(ValueError, match=f"{field}={value}, this run has {field}="):
        stream(pairs).set_state(state)


@pytest.mark.parametrize("state", [{"step": 0}, {"next_index": 3}])
def test_a_state_of_other_fields_is_refused(pairs, state):
    with pytest.raises(ValueError, match="data state must have"):
        stream(pairs).set_state(state)


@pytest.mark.parametrize("step", [-1, 10])
def test_a_position_outside_the_stream_is_refused(pairs, step):
    state = {**stream(pairs).get_state(), "step": step}
    with pytest.raises(ValueError, match=rf"data step must be in 0\.\.9, got {step}"):
        stream(pairs).set_state(state)


def test_identity_batches_hold_k_images_of_each_person(pairs):
    for batch in stream(pairs, images_per_person=2, epochs=5):
        people = batch["person_id"].reshape(2, 2)
        assert (people[:, 0] == people[:, 1]).all()
        assert people[0, 0] != people[1, 0]
        for person, group in zip(people[:, 0], batch["index"].reshape(2, 2), strict=True):
            images = set(pairs.image_id[group])
            assert len(images) == min(2, len(set(pairs.image_id[pairs.person_id == person])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 15}, r"batch_size must be in 1\.\.14"),
        ({"batch_size": 5, "process_count": 2}, "multiple of the 2 processes, got 5"),
        ({"process_index": 1}, r"process_index must be in 0\.\.0, got 1"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
        ({"epochs": 0}, "epochs must be >= 1, got 0"),
        ({"workers": -1}, "workers must be >= 0, got -1"),
        ({"images_per_person": 3}, "data.images_per_person must be"),
    ],
)
def test_wrong_arguments_fail_at_the_call(pairs, change, message):
    with pytest.raises(ValueError, match=message):
        stream(pairs, **change)


class BrokenImages(list):
    """Images of which number 7 cannot be read."""

    def __getitem__(self, i):
        if i == 7:
            raise OSError("image file is truncated")
        return super().__getitem__(i)


class Unpicklable(Exception):
    """Like many errors, it does not survive pickling: its message is not its argument."""

    def __init__(self, number, unit):
        super().__init__(f"{number} {unit}")


def refuse(error):
    def how(record, rng):
        if record["index"] == 11:
            raise error()
        return transform(record, rng)

    return how


@pytest.mark.parametrize("workers", [0, 1])
def test_a_reading_error_keeps_its_type_and_names_the_file(split, texts, workers):
    broken = Pairs(split._replace(images=BrokenImages(split.images)), texts)
    iterator = stream(broken, workers=workers)
    with pytest.raises(OSError, match="image file is truncated") as caught:
        list(iterator)
    iterator.close()
    notes = "\n".join(caught.value.__notes__)
    assert "toy train, image 7: cam/7.png" in notes
    assert "while reading record 1" in notes


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (lambda: AnnotationError("a.json", 3, "id", "no person"), AnnotationError),
        (lambda: Unpicklable(3, "legs"), Unpicklable),
    ],
)
def test_a_transform_error_names_the_record_and_comes_again(pairs, error, kind):
    iterator = stream(pairs, refuse(error))
    positions = []
    for _ in range(2):
        with pytest.raises(kind) as caught:
            list(iterator)
        positions.append(iterator.get_state()["step"])
        assert "while transforming record 11 (cam/7.png)" in caught.value.__notes__
    assert positions[0] == positions[1]


def test_an_error_that_cannot_be_pickled_still_leaves_the_worker(pairs):
    iterator = stream(pairs, refuse(lambda: Unpicklable(3, "legs")), workers=1)
    with pytest.raises(RuntimeError, match="Unpicklable: 3 legs") as caught:
        list(iterator)
    iterator.close()
    assert "while transforming record 11 (cam/7.png)" in caught.value.__notes__


def test_a_worker_that_dies_is_an_error(pairs):
    iterator = stream(pairs, refuse(lambda: os._exit(3)), workers=1)
    with pytest.raises(RuntimeError, match="exit code 3"):
        list(iterator)
    iterator.close()


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (lambda i: {"a": np.zeros(1 + i % 2)}, r"example\['a'\] differs within a batch"),
        (lambda i: {"a": {"b": f"caption {i}"}}, r"example\['a'\]\['b'\] must be numbers, got <U"),
        (lambda i: {"a" if i % 2 else "b": 0}, r"example has keys \['[ab]'\] and \['[ab]'\]"),
    ],
)
def test_examples_that_do_not_stack_are_named(pairs, example, message):
    iterator = stream(pairs, lambda record, rng: example(int(record["index"])), batch_size=14)
    with pytest.raises(ValueError, match=message):
        next(iterator)


def test_workers_stay_off_accelerators(pairs):
    def where(record, rng):
        import jax

        return {
            "platform": np.array(jax.config.jax_platforms == "cpu"),
            "worker": np.array(multiprocessing.parent_process() is not None),
        }

    iterator = stream(pairs, where, workers=1)
    batch = next(iterator)
    iterator.close()
    assert batch["worker"].all()
    assert batch["platform"].all()


def test_importing_imports_neither_jax_nor_grain():
    code = (
        "import sys, jaxreid.data.pipeline, jaxreid.data.images;"
        "print([m for m in ('jax', 'grain', 'orbax', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("threads", [0, 2])
def test_evaluation_takes_all_records_in_order(split, texts, threads):
    captions = Captions(split, texts)
    batches = list(eval_batches(captions, transform, 6, 0, 1, threads))
    assert [valid for _, valid in batches] == [6, 6, 2]
    index = np.concatenate([batch["index"] for batch, _ in batches])
    np.testing.assert_array_equal(index, [*range(14), 12, 12, 12, 12])


def test_evaluation_processes_make_the_rows_of_one(split):
    whole, first, second = [
        list(eval_batches(Images(split), transform, 4, p, n, 1))
        for n, p in ((1, 0), (2, 0), (2, 1))
    ]
    # The last global batch has one record: the second process has padding only.
    assert [valid for _, valid in second] == [4, 4, 1]
    for (batch, _), (left, _), (right, _) in zip(whole, first, second, strict=True):
        joined = {key: np.concatenate([left[key], right[key]]) for key in batch}
        assert same(joined, batch)


def test_evaluation_does_not_augment(split):
    batch, _ = next(eval_batches(Images(split), transform, 4, 0, 1, 0))
    np.testing.assert_array_equal(batch["image"][1], resize(split.images[1], (12, 6), "bilinear"))


@pytest.mark.parametrize(
    ("records", "batch_size", "threads", "message"),
    [
        ([], 4, 0, "number of records must be >= 1"),
        ([{}], 3, 0, "multiple of the 2 processes, got 3"),
        ([{}], 4, -1, "threads must be >= 0"),
    ],
)
def test_wrong_evaluation_arguments_fail_at_the_call(records, batch_size, threads, message):
    with pytest.raises(ValueError, match=message):
        eval_batches(records, transform, batch_size, 0, 2, threads)


def test_an_evaluation_error_names_the_record(split):
    broken = Images(split._replace(images=BrokenImages(split.images)))
    with pytest.raises(OSError) as caught:
        list(eval_batches(broken, transform, 4, 0, 1, 2))
    assert "toy train, image 7: cam/7.png" in caught.value.__notes__
