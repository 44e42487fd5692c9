"""Models that can take the place of our rules, each a callable named "module:function".

write(reference, target, differences) -> str
    a language model. Args: two `records.Record`, a tuple of `writing.Difference`.
generate((reference_caption, target_caption)) -> two images u8[h, w, 3]
    an image generator, which draws both captions as one person.
embed(image u8[h, w, 3]) -> f32[E]
    an embedding of identity, whatever is worn.
score(image u8[h, w, 3], words) -> float
    how well the target image shows what the words tell; larger is better.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreid.data.triplet_maker.records import Record
from jaxreid.data.triplet_maker.writing import Difference


class Plugs(NamedTuple):
    """The callables; None where our own rule is used."""

    write: Callable[[Record, Record, tuple[Difference, ...]], str] | None = None
    generate: Callable[[tuple[str, str]], Sequence[np.ndarray]] | None = None
    embed: Callable[[np.ndarray], np.ndarray] | None = None
    score: Callable[[np.ndarray, str], float] | None = None


def load(name: str, what: str) -> Callable[..., Any]:
    """Returns the callable of "module:function".

    Args:
      name: for example "my_models.qwen:write".
      what: what asks for it, for messages.

    Raises:
      ValueError: there is no such callable.
    """
    module, _, function = name.partition(":")
    if not module or not function:
        raise ValueError(f"{what} must be module:function, got {name!r}")
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ImportError as error:
        raise ValueError(f"{what} {name!r} cannot be imported: {error}") from error
    if not callable(found):
        raise ValueError(f"{what} {name!r}: module {module} has no function {function!r}")
    return found


def written(write: Callable[..., str], *arguments: Any) -> str:
    """Returns what `write` says, on one line.

    Raises:
      ValueError: it is no text.
    """
    words = write(*arguments)
    if not isinstance(words, str):
        raise ValueError(f"write must return text, got {type(words).__name__}")
    return " ".join(words.split())


def generated(
    generate: Callable[..., Sequence[np.ndarray]], captions: tuple[str, str]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the two images of `generate`.

    Raises:
      ValueError: these are not two images.
    """
    images = tuple(np.asarray(image) for image in generate(captions))
    if len(images) != 2 or any(
        image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 for image in images
    ):
        shapes = ", ".join(f"{image.dtype}{list(image.shape)}" for image in images)
        raise ValueError(f"generate must return two images u8[h, w, 3], got {shapes or 'none'}")
    return images
