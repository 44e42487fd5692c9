"""Which records make up which training batch: a pure function of seed and step."""

import collections
import itertools
from collections.abc import Callable

import numpy as np

# order(epoch) -> i64[steps, batch]: the record indices of every batch of an epoch
EpochOrder = Callable[[int], np.ndarray]


def steps_per_epoch(records: int, batch_size: int) -> int:
    """Returns floor(records / batch_size); the incomplete last batch of an epoch is dropped.

    Raises:
      ValueError: not even one batch.
    """
    if batch_size < 1 or records < batch_size:
        raise ValueError(
            f"train.batch_size must be in 1..{records} (the pairs of image and caption of train), "
            f"got {batch_size}"
        )
    return records // batch_size


def shuffled(records: int, *, batch_size: int, seed: int) -> EpochOrder:
    """Returns the order that takes every record at most once an epoch, uniformly shuffled."""
    steps = steps_per_epoch(records, batch_size)

    def order(epoch: int) -> np.ndarray:
        permutation = _epoch_rng(seed, epoch).permutation(records)
        return permutation[: steps * batch_size].reshape(steps, batch_size)

    return order


def by_person(
    person_id: np.ndarray,
    image_id: np.ndarray,
    *,
    batch_size: int,
    images_per_person: int,
    seed: int,
) -> EpochOrder:
    """Returns the order whose batches hold k records of each of batch / k different people.

    The P x K batches of Hermans et al. (2017), arXiv:1703.07737, Sec. 2: people are drawn
    uniformly, here from one shuffled round of all people after the other, so a person with many
    images is seen as often as one with few. The k records of a person are consecutive rows, of k
    different images if it has k; its images, and the captions of each, are taken in turn. An epoch
    has as many steps as a shuffled one, but is no longer every record once.

    Args:
      person_id: i32[C], person of every record.
      image_id: i32[C], image of every record.
      batch_size: global; a multiple of images_per_person.
      images_per_person: k >= 2.
      seed: >= 0.

    Raises:
      ValueError: batch_size is not a multiple of k, or asks for more people than there are.
    """
    steps = steps_per_epoch(len(person_id), batch_size)
    people = np.unique(person_id)
    if images_per_person < 2 or batch_size % images_per_person:
        raise ValueError(
            "data.images_per_person must be >= 2 and divide the batch size "
            f"{batch_size}, got {images_per_person}"
        )
    people_per_batch = batch_size // images_per_person
    if people_per_batch > len(people):
        raise ValueError(
            f"a batch of {batch_size} with data.images_per_person={images_per_person} needs "
            f"{people_per_batch} people, the split has {len(people)}"
        )
    persons, images = person_id.tolist(), image_id.tolist()

    def order(epoch: int) -> np.ndarray:
        rng = _epoch_rng(seed, epoch)
        records_of = {}  # person -> image -> records, in random order at both levels
        for record in rng.permutation(len(persons)).tolist():
            by_image = records_of.setdefault(persons[record], {})
            by_image.setdefault(images[record], []).append(record)
        turns = {
            person: itertools.cycle([itertools.cycle(records) for records in by_image.values()])
            for person, by_image in records_of.items()
        }
        waiting = collections.deque()
        rows = []
        for _ in range(steps):
            if len(waiting) < people_per_batch:
                # Those still waiting go last in the new round: nobody is twice in a batch.
                fresh = rng.permutation(people).tolist()
                left = set(waiting)
                waiting.extend(person for person in fresh if person not in left)
                waiting.extend(person for person in fresh if person in left)
            chosen = [waiting.popleft() for _ in range(people_per_batch)]
            rows.append([next(next(turns[p])) for p in chosen for _ in range(images_per_person)])
        return np.array(rows, np.int64)

    return order


def _epoch_rng(seed: int, epoch: int) -> np.random.Generator:
    """The generator of an epoch's order; records use longer spawn keys of the same seed."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,)))
