"""The cameras of synthpedes: where each stands, and what its light, lens and file do."""

from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter


class Camera(NamedTuple):
    """One camera. Its people differ in place and light from those of the others."""

    place: str  # one of scene.PLACES
    gain: tuple[float, float, float]  # R, G, B: brightness and colour of the light
    gamma: float  # > 1 darkens the middle tones
    haze: float  # share of gray mixed in, [0, 1)
    blur: float  # standard deviation, shares of the picture's height
    noise: float  # standard deviation, of 255
    quality: int  # of the JPEG, 1 to 95
    stretch: float  # width over height of people: > 1 where the camera looks down on them
    margin: float  # of the detector's box around the person, shares of the height


CAMERAS = (
    Camera("street", (1.03, 1.01, 0.98), 1.00, 0.02, 0.0025, 2.0, 90, 1.00, 0.03),
    Camera("plaza", (1.10, 1.05, 0.95), 0.92, 0.05, 0.0030, 3.0, 84, 1.08, 0.05),
    Camera("park", (0.98, 1.03, 0.95), 1.06, 0.03, 0.0030, 3.0, 86, 0.97, 0.02),
    Camera("hall", (1.04, 0.98, 0.86), 1.04, 0.04, 0.0040, 4.0, 80, 1.12, 0.06),
    Camera("station", (0.90, 0.97, 1.06), 1.10, 0.03, 0.0045, 5.0, 76, 1.04, 0.04),
    Camera("shop", (1.06, 1.05, 1.06), 0.90, 0.08, 0.0035, 3.0, 82, 1.10, 0.05),
    Camera("night", (0.84, 0.80, 0.80), 1.14, 0.00, 0.0050, 7.0, 74, 1.02, 0.03),
)

_LIGHT = 0.07  # half range of an image's own brightness, relative
_TINT = 0.015  # of each channel
_HAZE = 150.0


def photograph(picture: Image.Image, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Returns u8[h, w, 3]: the picture as the camera stores it, JPEG losses included.

    Args:
      picture: mode RGB, evenly lit, h x w.
      camera: one of CAMERAS.
      rng: of brightness and sensor noise.
    """
    light = 1 + rng.uniform(-_LIGHT, _LIGHT) + rng.uniform(-_TINT, _TINT, 3)
    lit = picture.point(_response(camera, light))
    blurred = lit.filter(ImageFilter.GaussianBlur(camera.blur * picture.height))
    noise = rng.standard_normal((picture.height, picture.width, 3), np.float32)
    noise *= camera.noise
    noise += np.asarray(blurred)
    np.clip(noise, 0, 255, out=noise)
    file = BytesIO()
    Image.fromarray(noise.astype(np.uint8)).save(file, "JPEG", quality=camera.quality)
    return np.array(Image.open(file))


def _response(camera: Camera, light: np.ndarray) -> list[int]:
    """Table of 3 x 256 values, as Image.point takes it."""
    scene = (np.arange(256) / 255) ** camera.gamma * 255
    scene = scene * (1 - camera.haze) + _HAZE * camera.haze
    table = scene * (np.array(camera.gain) * light)[:, None]  # [3, 256]
    return np.clip(np.round(table), 0, 255).astype(int).ravel().tolist()
