"""What a gallery is searched by, and what a method is trained on: sentences, or composed queries.

Imports no jax: worker processes that read training records start at once.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreid.data.records import AnnotationError, CaptionError, Split, caption_pairs
from jaxreid.data.sources import Captions, ComposedPairs, ComposedQueries, Pairs

# One sentence | a reference image and words for another.
KINDS = ("captions", "triplets")


class Queries(NamedTuple):
    """The Q queries of a split."""

    records: Sequence[dict[str, Any]]  # for `pipeline.eval_batches`
    person_id: np.ndarray  # i32[Q], of the images to be found
    words: tuple[str, ...]  # of each query
    reference: np.ndarray | None  # i32[Q], position in the split of the image shown with the words


def words_of(split: Split, kind: str) -> list[str]:
    """Returns the texts of a split that `Method.tokenize` gets, for queries or training alike.

    Args:
      split: one.
      kind: one of KINDS.
    """
    if kind == "triplets":
        return list(split.triplets.words)
    return [text for texts in split.captions for text in texts]


def count_training(split: Split, kind: str) -> int:
    """Returns how many records `training_records` has."""
    if kind == "triplets":
        return int((split.triplets.target >= 0).sum())
    return len(words_of(split, kind))


def tokenize_words(tokenize, split: Split, kind: str) -> dict[str, np.ndarray]:
    """Returns what `tokenize` makes of the texts of a split; a text at fault is named by its image.

    Raises:
      AnnotationError: a text that cannot be used.
      ValueError: what else `tokenize` refuses.
    """
    try:
        return tokenize(words_of(split, kind))
    except CaptionError as error:
        where = f"{split.data_set} {split.split}"
        if kind == "triplets":
            file = split.files[split.triplets.reference[error.number]]
            raise AnnotationError(
                where, error.number, "words", f"of the triplet with {file} {error.problem}"
            ) from error
        image, number = caption_pairs(split)[error.number]
        raise AnnotationError(
            where, image, "captions", f"{split.files[image]}: caption {number} {error.problem}"
        ) from error
    except ValueError as error:
        error.add_note(f"the {kind} of {split.data_set} {split.split} are counted in order")
        raise


def read_queries(split: Split, kind: str, texts: dict[str, np.ndarray]) -> Queries:
    """Returns the queries of a split.

    Args:
      split: one; with triplets for the kind "triplets".
      kind: one of KINDS.
      texts: arrays with a row for each of `words_of(split, kind)`.
    """
    if kind == "triplets":
        found = split.triplets
        records = ComposedQueries(split, texts)
        return Queries(records, found.instance_id, found.words, found.reference)
    records = Captions(split, texts)
    words = tuple(words_of(split, kind))
    return Queries(records, split.person_id[records.image_id], words, None)


def training_records(
    split: Split, kind: str, texts: dict[str, np.ndarray]
) -> Pairs | ComposedPairs:
    """Returns the training records of a split; the arguments are those of `read_queries`."""
    return (ComposedPairs if kind == "triplets" else Pairs)(split, texts)
