"""What a gallery is searched by, and a method trained on: sentences, composed queries, dialogues.

Imports no jax: worker processes that read training records start at once.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreid.data.dialogues import Dialogue
from jaxreid.data.records import AnnotationError, CaptionError, Split, said, said_pairs
from jaxreid.data.sources import Captions, ComposedPairs, ComposedQueries, Dialogues, Pairs

# One sentence | a reference image and words for another | questions and answers.
KINDS = ("captions", "triplets", "dialogues")


class Queries(NamedTuple):
    """The Q queries of a split."""

    records: Sequence[dict[str, Any]]  # for `pipeline.eval_batches`
    person_id: np.ndarray  # i32[Q], of the images to be found
    words: tuple[str, ...]  # of each query
    reference: np.ndarray | None  # i32[Q], position in the split of the image shown with the words
    # Of dialogues: the same queries after 0, 1, .. rounds; the last are `records`.
    turns: tuple[Sequence[dict[str, Any]], ...] = ()


def words_of(split: Split, kind: str) -> list[str] | list[Dialogue]:
    """Returns the texts of a split that `Method.tokenize` gets, for queries or training alike.

    Args:
      split: one.
      kind: one of KINDS.
    """
    if kind == "triplets":
        return list(split.triplets.words)
    return [text for texts in said(split, kind) for text in texts]


def sentences_of(split: Split, kind: str) -> list[str]:
    """Returns the same as plain text, of which a vocabulary is learnt."""
    words = words_of(split, kind)
    return [text.plain() for text in words] if kind == "dialogues" else words


def count_training(split: Split, kind: str) -> int:
    """Returns how many records `training_records` has."""
    if kind == "triplets":
        return int((split.triplets.target >= 0).sum())
    return sum(map(len, said(split, kind)))


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
        image, number = said_pairs(split, kind)[error.number]
        raise AnnotationError(
            where, image, kind, f"{split.files[image]}: {kind[:-1]} {number} {error.problem}"
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
    words = tuple(sentences_of(split, kind))
    if kind == "dialogues":
        longest = int(texts["turns"].max(initial=0))
        turns = tuple(Dialogues(split, texts, turn) for turn in range(longest + 1))
        return Queries(turns[-1], split.person_id[turns[-1].image_id], words, None, turns)
    records = Captions(split, texts)
    return Queries(records, split.person_id[records.image_id], words, None)


def training_records(
    split: Split, kind: str, texts: dict[str, np.ndarray]
) -> Pairs | ComposedPairs:
    """Returns the training records of a split; the arguments are those of `read_queries`."""
    if kind == "triplets":
        return ComposedPairs(split, texts)
    return Pairs(split, texts, kind)
