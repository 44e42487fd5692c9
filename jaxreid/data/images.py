"""Images on the host: resize and augment, in uint8; normalisation happens on the device."""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

RESAMPLERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}

# IRRA and CADA erase after normalising by CLIP's mean and standard deviation, with the mean as
# the value: the pixel is 255 * (mean + mean * std), not the mean colour (123, 117, 104).
RELEASE_ERASE_COLOUR = (156, 147, 133)

# Rectangles to try before an image stays whole, as in torchvision's RandomErasing: a tall or
# wide rectangle of large area may not fit.
_ERASE_ATTEMPTS = 10


class Augmentation(NamedTuple):
    """What `augment` does; each step is off at probability or width 0."""

    flip: float  # probability of a horizontal flip; it also swaps the caption's left and right
    pad: int  # pixels added on every side before a crop of the old size; 10 in IRRA and CADA
    pad_value: int  # grey level of those pixels, 0..255; 0 in IRRA and CADA
    erase_probability: float
    erase_area: tuple[float, float]  # limits of the erased share of the image; 0.02, 0.4
    erase_aspect: tuple[float, float]  # limits of its height / width; 0.3, 3.3
    # what the rectangle is filled with: "random" (uniform noise), or one RGB colour, 0..255
    erase_colour: str | tuple[int, int, int]


def read_augmentation(config) -> Augmentation:
    """Returns the checked settings of `config.image`.

    Args:
      config: the whole ConfigDict; the fields of `config.image` are those of Augmentation.

    Raises:
      ValueError: a field is out of range; names it.
    """
    image = config.image
    settings = Augmentation(
        flip=image.flip,
        pad=image.pad,
        pad_value=image.pad_value,
        erase_probability=image.erase_probability,
        erase_area=tuple(image.erase_area),
        erase_aspect=tuple(image.erase_aspect),
        erase_colour=(
            image.erase_colour if isinstance(image.erase_colour, str) else tuple(image.erase_colour)
        ),
    )
    for field in ("flip", "erase_probability"):
        value = getattr(settings, field)
        if not 0 <= value <= 1:
            raise ValueError(f"image.{field} must be a probability in [0, 1], got {value}")
    if settings.pad < 0:
        raise ValueError(f"image.pad must be >= 0 pixels, got {settings.pad}")
    if not 0 <= settings.pad_value <= 255:
        raise ValueError(f"image.pad_value must be in 0..255, got {settings.pad_value}")
    for field, top in (("erase_area", 1.0), ("erase_aspect", math.inf)):
        limits = getattr(settings, field)
        if len(limits) != 2 or not 0 < limits[0] <= limits[1] <= top:
            raise ValueError(f"image.{field} must be 0 < low <= high <= {top}, got {limits}")
    colour = settings.erase_colour
    if colour != "random" and (
        isinstance(colour, str) or len(colour) != 3 or not all(0 <= c <= 255 for c in colour)
    ):
        raise ValueError(
            f'image.erase_colour must be "random" or three values in 0..255, got {colour!r}'
        )
    return settings


def resize(image: np.ndarray, size: tuple[int, int], resample: str) -> np.ndarray:
    """Returns the image at a size, antialiased like torchvision's Resize of a PIL image.

    Args:
      image: u8[h, w, 3], RGB.
      size: (height, width) in pixels.
      resample: "bicubic" (ALBEF, RaSa) | "bilinear" (IRRA, CADA).

    Returns:
      u8[height, width, 3]; the aspect ratio is not kept.

    Raises:
      ValueError: the image is not u8[h, w, 3], or an unknown resample.
    """
    _check(image)
    if resample not in RESAMPLERS:
        raise ValueError(f"resample must be one of {sorted(RESAMPLERS)}, got {resample!r}")
    height, width = size
    return np.asarray(Image.fromarray(image).resize((width, height), RESAMPLERS[resample]))


def square(image: np.ndarray) -> np.ndarray:
    """Returns the image u8[h, w, 3] in the middle of a black square of its longer side."""
    _check(image)
    height, width, _ = image.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    canvas = np.zeros((side, side, 3), np.uint8)
    canvas[top : top + height, left : left + width] = image
    return canvas


def augment(image: np.ndarray, rng: np.random.Generator, settings: Augmentation) -> np.ndarray:
    """Flips, pads and crops, then erases: the order of the IRRA and CADA releases.

    Args:
      image: u8[h, w, 3], already at its final size; never changed.
      rng: source of every draw; equal generators give equal images.
      settings: see Augmentation.

    Returns:
      u8[h, w, 3], an array of its own.

    Raises:
      ValueError: the image is not u8[h, w, 3].
    """
    _check(image)
    flipped = image[:, ::-1] if rng.random() < settings.flip else image
    if settings.pad:
        out = _pad_crop(flipped, rng, settings.pad, settings.pad_value)
    else:
        out = flipped.copy()
    if rng.random() < settings.erase_probability:
        _erase(out, rng, settings)
    return out


def _pad_crop(image: np.ndarray, rng: np.random.Generator, pad: int, value: int) -> np.ndarray:
    """A crop of the old size, at a random place of the image with `pad` pixels around it."""
    height, width, _ = image.shape
    canvas = np.full((height + 2 * pad, width + 2 * pad, 3), value, np.uint8)
    canvas[pad : pad + height, pad : pad + width] = image
    top, left = rng.integers(0, 2 * pad, size=2, endpoint=True)
    return canvas[top : top + height, left : left + width].copy()


def _erase(image: np.ndarray, rng: np.random.Generator, settings: Augmentation) -> None:
    """Fills one random rectangle of the array in place."""
    height, width, _ = image.shape
    low_aspect, high_aspect = settings.erase_aspect
    for _ in range(_ERASE_ATTEMPTS):
        area = height * width * rng.uniform(*settings.erase_area)
        aspect = math.exp(rng.uniform(math.log(low_aspect), math.log(high_aspect)))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < height and w < width:
            top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
            if settings.erase_colour == "random":
                fill = rng.integers(0, 256, size=(h, w, 3), dtype=np.uint8)
            else:
                fill = np.array(settings.erase_colour, np.uint8)
            image[top : top + h, left : left + w] = fill
            return


def _check(image: np.ndarray) -> None:
    """Refuses what is not one RGB image."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image must be u8[h, w, 3], got {image.dtype}{list(image.shape)}")
