"""The pictures of a synthpedes data set: who is seen where, and all that is said of them.

Everything follows from a seed and the picture's own numbers, so any picture can be made alone, in
any order and in any process. Imports neither TFDS nor JAX: worker processes start at once.
"""

from collections.abc import Collection, Mapping
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxreid.data.chats import to_json
from jaxreid.data.synthpedes.attributes import VIEWS
from jaxreid.data.synthpedes.camera import CAMERAS
from jaxreid.data.synthpedes.captions import captions
from jaxreid.data.synthpedes.dialogue import dialogues
from jaxreid.data.synthpedes.population import look, sample_population, split_population
from jaxreid.data.synthpedes.render import render
from jaxreid.data.synthpedes.triplets import change_outfit, edit_caption, triplet
from jaxreid.data.synthpedes.twins import twin
from jaxreid.data.synthpedes.visibility import visible

JPEG_QUALITY = 95  # the losses of the camera are in the pixels already
# What chance is needed for, so that each use has numbers of its own.
_POPULATION, _SPLITS, _CAMERAS, _OUTFIT, _PIXELS, _CAPTIONS, _DIALOGUES, _TRIPLETS, _TWIN = range(9)
_TWIN_OUTFITS = ("first", "second")  # those of "<split>" and of "<split>_changed", in file names


class Picture(NamedTuple):
    """One picture to be made."""

    seed: int  # of the data set
    image_id: int  # unique in the data set
    person_id: int  # from 0, without gaps from split to split
    family: int  # people of one family look alike; no family is in two splits
    person: dict[str, str]  # attribute -> value
    view: str
    camera: int
    file: str  # "train/00017_left.jpg"
    shades: int  # whose own shades of the named colours; a twin's are those of the person


def plan(
    seed: int, people: Mapping[str, int], changed: float, twins: Collection[str]
) -> dict[str, list[Picture]]:
    """Returns the pictures of each split, four a person, from all sides and by four cameras.

    Besides the splits of `people` there is "<split>_changed" for each: the same ids in another
    outfit, of a share of the people. Each of those has a twin in "<split>_twins" for some splits:
    somebody else with an id of its own, from the number of people on, in both outfits. Twins follow
    each other as those whose twins they are.

    Args:
      seed: >= 0, of everything.
      people: split -> number of people.
      changed: share of the people with a second outfit, in [0, 1].
      twins: splits with twins.

    Raises:
      ValueError: the families do not fit into the splits, or `changed` is outside [0, 1].
    """
    if not 0 <= changed <= 1:
        raise ValueError(f"changed must be in [0, 1], got {changed}")
    population = sample_population(_rng(seed, _POPULATION), sum(people.values()))
    members = split_population(_rng(seed, _SPLITS), population.family, dict(people))
    total = len(population.people)
    pictures: dict[str, list[Picture]] = {}
    person_id = 0
    for split, indices in members.items():
        wardrobes = [
            _outfits(seed, person_id + i, population.people[index], changed)
            for i, index in enumerate(indices)
        ]
        looks = {look(person) for outfits in wardrobes for person in outfits}
        parts = (split, f"{split}_changed")
        twins_part = f"{split}_twins"
        pictures |= {part: [] for part in (*parts, *[twins_part] * (split in twins))}
        for index, outfits in zip(indices, wardrobes, strict=True):
            wearer = _Wearer(seed, person_id, int(population.family[index]), shades=person_id)
            for i, person in enumerate(outfits):
                stem = f"{parts[i]}/{person_id:05d}"
                pictures[parts[i]] += _four_sides(wearer, person, i * total + person_id, stem)
            if twins_part in pictures and len(outfits) > 1:
                wearer = wearer._replace(person_id=total + person_id)
                for i, person in enumerate(twin(outfits, looks, _rng(seed, _TWIN, person_id)), 2):
                    stem = f"{twins_part}/{wearer.person_id:05d}_{_TWIN_OUTFITS[i - 2]}"
                    pictures[twins_part] += _four_sides(wearer, person, i * total + person_id, stem)
            person_id += 1
    return pictures


def make_record(picture: Picture, height: int, width: int) -> dict[str, Any]:
    """Returns the record of a picture, with the image as bytes of a JPEG of height x width."""
    person, view = picture.person, picture.view
    pixels = render(
        person,
        picture.seed * 1_000_003 + picture.shades,
        view,
        picture.camera,
        _rng(picture.seed, _PIXELS, picture.image_id),
        height,
        width,
    )
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY)
    return {
        "image": file.getvalue(),
        "file": picture.file,
        "image_id": picture.image_id,
        "person_id": picture.person_id,
        "family": picture.family,
        "camera": picture.camera,
        "view": view,
        "captions": make_captions(picture),
        "attributes": person,
        "visible": sorted(visible(person, view)),
        "dialogues": to_json(dialogues(person, view, dialogue_rng(picture))),
    }


def dialogue_rng(picture: Picture) -> np.random.Generator:
    """Returns what draws the dialogues of a picture."""
    return _rng(picture.seed, _DIALOGUES, picture.image_id)


def make_captions(picture: Picture) -> tuple[str, ...]:
    """Returns the captions of a picture, without making its image."""
    rng = _rng(picture.seed, _CAPTIONS, picture.image_id)
    return captions(picture.person, picture.view, rng)


def outfits_of(twins: list[Picture]) -> tuple[list[Picture], list[Picture]]:
    """Returns the pictures of twins in the first outfit, and in the second."""
    first, second = (f"_{name}_" for name in _TWIN_OUTFITS)
    return [x for x in twins if first in x.file], [x for x in twins if second in x.file]


def make_triplets(originals: list[Picture], changed: list[Picture]) -> list[dict[str, str | int]]:
    """Returns the triplets from each picture to one of the other outfit, and back.

    Args:
      originals: pictures of a split.
      changed: the pictures of its people in other clothes.
    """
    of_person: dict[int, list[Picture]] = {}
    for picture in originals:
        of_person.setdefault(picture.person_id, []).append(picture)
    changed_of: dict[int, list[Picture]] = {}
    for picture in changed:
        changed_of.setdefault(picture.person_id, []).append(picture)
    triplets = []
    for person_id, others in changed_of.items():
        ways = ((of_person[person_id], others), (others, of_person[person_id]))
        for direction, (references, targets) in enumerate(ways):
            rng = _rng(references[0].seed, _TRIPLETS, person_id, direction)
            for reference, number in zip(references, rng.permutation(len(targets)), strict=True):
                target = targets[number]
                triplets.append(
                    triplet(
                        2 * person_id + direction,
                        (reference.file, make_captions(reference)[0]),
                        (target.file, make_captions(target)[0]),
                        edit_caption(target.person, target.view, rng),
                    )
                )
    return triplets


class _Wearer(NamedTuple):
    """What the pictures of a person in any outfit have in common, as in Picture."""

    seed: int
    person_id: int
    family: int
    shades: int


def _outfits(
    seed: int, person_id: int, person: dict[str, str], changed: float
) -> tuple[dict[str, str], ...]:
    """A person as it is and, with probability `changed`, in a second outfit."""
    rng = _rng(seed, _OUTFIT, person_id)
    return (person, change_outfit(person, rng)) if rng.random() < changed else (person,)


def _four_sides(wearer: _Wearer, person: dict[str, str], outfit: int, stem: str) -> list[Picture]:
    """The pictures of a person in one outfit; `outfit` numbers people and outfits."""
    cameras = _rng(wearer.seed, _CAMERAS, outfit).permutation(len(CAMERAS))
    return [
        Picture(
            **wearer._asdict(),
            image_id=len(VIEWS) * outfit + i,
            person=person,
            view=view,
            camera=int(cameras[i]),
            file=f"{stem}_{view}.jpg",
        )
        for i, view in enumerate(VIEWS)
    ]


def _rng(seed: int, *numbers: int) -> np.random.Generator:
    """A generator of its own for each use and each picture or person."""
    return np.random.default_rng((seed, *numbers))
