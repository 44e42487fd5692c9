"""The forms in which triplets are written."""

from typing import Any, NamedTuple

from jaxreid.data.synthpedes.triplets import triplet
from jaxreid.data.triplet_maker.maker import Judged
from jaxreid.data.triplet_maker.records import Collection

FORMATS = ("ids", "syncpr")


class Files(NamedTuple):
    """Where the images of a triplet are, and who is on them."""

    reference: str  # relative to the image folder
    target: str
    reference_id: int
    target_id: int
    cpr_id: int  # equal for triplets whose targets show one person in one outfit


def files_of_set(judged: Judged, collection: Collection, first_id: int) -> Files:
    """Returns the files of a triplet of images of the set.

    Args:
      judged: a candidate.
      collection: what it was made of.
      first_id: cpr_id of the first look of the collection.
    """
    reference = collection.records[judged.reference]
    target = collection.records[judged.target]
    return Files(
        reference.file, target.file, reference.person_id, target.person_id, first_id + judged.look
    )


def files_generated(number: int) -> Files:
    """Returns the files of generated triplet `number`: its people are on no other image."""
    return Files(
        f"{number:07d}_left.png", f"{number:07d}_right.png", 2 * number, 2 * number + 1, number
    )


def row(form: str, judged: Judged, files: Files, split: str) -> dict[str, Any]:
    """Returns a triplet as it is written.

    Args:
      form: "ids" names people and what changed; "syncpr" is the schema of SynCPR.
      judged: a candidate.
      files: of its images.
      split: of its images.

    Raises:
      ValueError: form is not one of FORMATS.
    """
    if form == "ids":
        return {
            "split": split,
            "reference": files.reference,
            "target": files.target,
            "reference_id": files.reference_id,
            "target_id": files.target_id,
            "relative_caption": judged.words,
            "changed": list(judged.changed),
        }
    if form == "syncpr":
        captions = judged.captions
        return triplet(
            files.cpr_id, (files.reference, captions[0]), (files.target, captions[1]), judged.words
        )
    raise ValueError(f"form must be one of {', '.join(FORMATS)}, got {form!r}")
