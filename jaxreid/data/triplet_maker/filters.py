"""Filters identity and alignment: the same body, and words that tell what the target shows."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxreid.data.triplet_maker.reading import Phrase, holds
from jaxreid.data.triplet_maker.verdict import Verdict


def identity_consistency(
    reference: Mapping[str, str], target: Mapping[str, str], body: Sequence[str], least: float
) -> Verdict:
    """Returns the verdict on two bodies; the score is the share of attributes known to be equal.

    Args:
      reference: attribute -> value of the reference image.
      target: of the target image.
      body: attributes of the body, at least one.
      least: in [0, 1].

    Raises:
      ValueError: body is empty.
    """
    if not body:
        raise ValueError("body must name at least one attribute, got none")
    other = [n for n in body if n not in reference or reference[n] != target.get(n)]
    score = 1 - len(other) / len(body)
    if score >= least:
        return Verdict("identity", score, True, "", "attributes")
    name = other[0]
    pair = f"{reference.get(name, 'unknown')} and {target.get(name, 'unknown')}"
    return Verdict("identity", score, False, f"{name} is {pair}", "attributes")


def embedding_identity(reference: np.ndarray, target: np.ndarray, least: float) -> Verdict:
    """Returns the verdict on two bodies by the cosine of their embeddings.

    Args:
      reference: f32[E], of the reference image, not zero.
      target: f32[E].
      least: cosine in [-1, 1].

    Raises:
      ValueError: the embeddings are not two finite vectors of one length.
    """
    one, other = np.asarray(reference, np.float64), np.asarray(target, np.float64)
    if one.ndim != 1 or one.shape != other.shape or not np.isfinite([one, other]).all():
        raise ValueError(
            f"embeddings must be two finite vectors of one length, got shapes {one.shape} and "
            f"{other.shape}"
        )
    norms = np.linalg.norm(one) * np.linalg.norm(other)
    if norms == 0:
        raise ValueError("an embedding of identity is zero")
    score = float(one @ other / norms)
    reason = "" if score >= least else f"embeddings have cosine {score:.3f} < {least:.3f}"
    return Verdict("identity", score, not reason, reason, "embedding")


def text_alignment(
    phrases: Sequence[Phrase],
    reference: Mapping[str, str],
    target: Mapping[str, str],
    least: float,
) -> Verdict:
    """Returns the verdict on words; the score is the share of phrases that the target shows.

    At least one phrase must also be false of the reference: it tells a change.

    Args:
      phrases: from `reading.read`, of the words.
      reference: attribute -> value, all that is known.
      target: attribute -> value, what the target image shows.
      least: in [0, 1].
    """
    if not phrases:
        return Verdict("alignment", 0.0, False, "the words tell nothing of the outfit", "phrases")
    false = [phrase for phrase in phrases if not holds(phrase, target, unknown=False)]
    score = 1 - len(false) / len(phrases)
    if score < least:
        return Verdict(
            "alignment", score, False, f"the target does not show {false[0].text!r}", "phrases"
        )
    if all(holds(phrase, reference, unknown=True) for phrase in phrases):
        return Verdict("alignment", score, False, "the words tell no change", "phrases")
    return Verdict("alignment", score, True, "", "phrases")


def scored_alignment(score: float, least: float) -> Verdict:
    """Returns the verdict on words by the score of a model, larger where text and target agree.

    Raises:
      ValueError: the score is NaN or infinite.
    """
    if not np.isfinite(score):
        raise ValueError(f"a score of alignment must be finite, got {score}")
    reason = "" if score >= least else f"scorer says {score:.3f} < {least:.3f}"
    return Verdict("alignment", float(score), not reason, reason, "scorer")
