"""What a caller gives to a model: images, texts and dialogues, checked."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxreid.data.dialogues import Dialogue, Round
from jaxreid.data.prepared import decode_image


def read_image(number: int, image: Any) -> np.ndarray:
    """Returns u8[h, w, 3], RGB.

    Args:
      number: of the image, for messages.
      image: a path, u8[h, w, 3] or a PIL image.

    Raises:
      FileNotFoundError, ValueError: it is not there, or no image; names it.
    """
    if isinstance(image, (str, os.PathLike)):
        path = os.path.expanduser(os.fspath(image))
        try:
            with open(path, "rb") as file:
                return decode_image(file.read())
        except FileNotFoundError:
            raise FileNotFoundError(f"image {number}: there is no file {path}") from None
        except (OSError, ValueError) as error:
            raise ValueError(f"image {number}, {path}: {error}") from error
    if hasattr(image, "convert"):
        image = image.convert("RGB")
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise ValueError(
            f"image {number} must be a path, a PIL image or u8[h, w, 3], got "
            f"{array.dtype}{list(array.shape)}"
        )
    return array


def read_texts(texts: Sequence[str]) -> list[str]:
    """Returns a list of texts; ValueError for one text alone, or what is no text."""
    if isinstance(texts, str):
        raise ValueError("give a list of texts, got one text")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"text {i} must be a str, got {type(text).__name__}")
    return list(texts)


def read_dialogue(number: int, given: Any) -> Dialogue:
    """Returns a dialogue.

    Args:
      number: of the dialogue, for messages.
      given: a Dialogue, or a list of (question, answer) that may begin with a description, a str.

    Raises:
      ValueError: a round is no pair of texts; names it.
    """
    if isinstance(given, Dialogue):
        return given
    if isinstance(given, str):
        raise ValueError(f"dialogue {number} must be a list of (question, answer), got a str")
    rounds = list(given)
    opening = rounds.pop(0) if rounds and isinstance(rounds[0], str) else ""
    for i, pair in enumerate(rounds, start=1):
        if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(x, str) for x in pair):
            raise ValueError(
                f"dialogue {number}: round {i} must be (question, answer), got {pair!r}"
            )
    return Dialogue(tuple(Round(*pair) for pair in rounds), opening)
