"""Filter quality: images that show a person well enough, words that are a sentence."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from jaxreid.data.triplet_maker.reading import vocabulary
from jaxreid.data.triplet_maker.verdict import Verdict

_FILTER = "quality"
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_CRUSHED, _BLOWN = 8, 247  # grey levels beyond which nothing is told apart


class ImageLimits(NamedTuple):
    """The least of each measure that an image must have."""

    width: int  # pixels
    height: int  # pixels
    sharpness: float  # variance of the Laplacian of the grey levels, which are 0..255
    contrast: float  # standard deviation of the grey levels
    exposure: float  # share of pixels that are neither crushed nor blown, in [0, 1]


class TextLimits(NamedTuple):
    """What the words must have."""

    fewest: int  # words
    most: int  # words
    known: float  # share of words that the set or the grammar has, in [0, 1]


def image_measures(image: np.ndarray) -> dict[str, float]:
    """Returns the measures of `ImageLimits` of an image.

    Args:
      image: u8[h, w, 3].

    Raises:
      ValueError: it is no such array.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"an image must be u8[h, w, 3], got {image.dtype}{list(image.shape)}")
    grey = image.astype(np.float32) @ _GREY  # [h, w]
    laplacian = np.zeros(1, np.float32)
    if min(grey.shape) > 2:
        around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
        laplacian = around - 4 * grey[1:-1, 1:-1]
    return {
        "width": float(image.shape[1]),
        "height": float(image.shape[0]),
        "sharpness": float(laplacian.var()),
        "contrast": float(grey.std()),
        "exposure": float(((grey >= _CRUSHED) & (grey <= _BLOWN)).mean()),
    }


def image_quality(measures: dict[str, float], limits: ImageLimits) -> Verdict:
    """Returns the verdict on an image; the score is the least ratio of a measure to its limit.

    Args:
      measures: from `image_measures`.
      limits: the least of each; 0 switches one off.
    """
    least, worst = min(
        (measures[name] / limit if limit else np.inf, name)
        for name, limit in limits._asdict().items()
    )
    if least >= 1:
        return Verdict(_FILTER, float(least), True, "", worst)
    limit = getattr(limits, worst)
    return Verdict(
        _FILTER, float(least), False, f"image {worst} {measures[worst]:.3g} < {limit:.3g}", worst
    )


def text_quality(words: str, known: Collection[str], limits: TextLimits) -> Verdict:
    """Returns the verdict on words; the score is the share of them that is known.

    Args:
      words: of a triplet.
      known: single words, lower case.
      limits: numbers of words, and the least share.
    """
    found = vocabulary(words)
    share = sum(word in known for word in found) / len(found) if found else 0.0
    if not found:
        reason = "no words"
    elif not limits.fewest <= len(found) <= limits.most:
        reason = f"{len(found)} words, not {limits.fewest} to {limits.most}"
    elif share < limits.known:
        strange = ", ".join(sorted({word for word in found if word not in known})[:5])
        reason = f"words that the set does not use: {strange}"
    else:
        return Verdict(_FILTER, share, True, "", "words")
    return Verdict(_FILTER, share, False, reason, "words")
