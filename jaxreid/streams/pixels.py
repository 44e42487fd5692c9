"""Images as inputs of a network: resized, augmented, put into a square."""

from typing import NamedTuple

import numpy as np

from jaxreid.data.images import Augmentation, augment, read_augmentation, resize, square


class PixelSettings(NamedTuple):
    """How images are read; it is sent to worker processes."""

    size: tuple[int, int]  # height, width
    framed: tuple[int, int] | None  # size before the image is put into a square
    resample: str
    augmentation: Augmentation


def read_pixel_settings(config) -> PixelSettings:
    """Returns the settings of the section `image` of a config."""
    return PixelSettings(
        size=tuple(config.image.size),
        framed=tuple(config.image.framed) or None,
        resample=config.image.resize,
        augmentation=read_augmentation(config),
    )


def pixels(
    image: np.ndarray, rng: np.random.Generator | None, settings: PixelSettings
) -> np.ndarray:
    """Returns u8[h, w, 3] of the config's size, augmented where there is an rng."""
    image = resize(image, settings.framed or settings.size, settings.resample)
    if rng is not None:
        image = augment(image, rng, settings.augmentation)
    if settings.framed:
        image = resize(square(image), settings.size, settings.resample)
    return image
