"""Renders a synthpedes image: a person before one of the cameras."""

from collections.abc import Mapping

import numpy as np

from jaxreid.data.synthpedes.camera import CAMERAS, Camera, photograph
from jaxreid.data.synthpedes.draw import Frame, check_request, draw_figure, oversampling, place
from jaxreid.data.synthpedes.scene import background, drop_shadow, occlude


def render(
    person: Mapping[str, str],
    person_seed: int,
    view: str,
    camera: int,
    rng: np.random.Generator,
    height: int,
    width: int,
) -> np.ndarray:
    """Returns u8[height, width, 3]: the person as the camera's detector cuts it out.

    Equal arguments (with rng in equal state) give equal bytes. Background, pose, occlusion and
    noise come from rng alone, so nothing but the person's looks gives the person away.

    Args:
      person: attribute -> value, without `conflicts`.
      person_seed: >= 0; fixes the person's own shades of the named colours, the same in all images.
      view: one of VIEWS.
      camera: index into CAMERAS.
      rng: of the image.
      height, width: pixels, each >= 8.

    Raises:
      ValueError: a person with conflicts, an unknown view or camera, or too small a picture.
    """
    check_request(person, view, height, width)
    if not 0 <= camera < len(CAMERAS):
        raise ValueError(f"camera must be in 0..{len(CAMERAS) - 1}, got {camera}")
    seen_by = CAMERAS[camera]
    zoom = oversampling(height)
    canvas = background(seen_by.place, rng, (width * zoom, height * zoom))
    brush = place(canvas, view, _frame(seen_by, rng))
    drop_shadow(brush)
    draw_figure(brush, person, person_seed, view, rng)
    occlude(brush, rng)
    return photograph(canvas.reduce(zoom), seen_by, rng)


def _frame(camera: Camera, rng: np.random.Generator) -> Frame:
    """The detector's box: a margin of its own, and not quite in the middle."""
    above, below, aside, stretch = rng.random(4)
    return Frame(
        top=0.035 + camera.margin * above,
        bottom=0.99 - camera.margin * below,
        middle=0.46 + 0.08 * aside,
        stretch=camera.stretch * (0.96 + 0.08 * stretch),
    )
