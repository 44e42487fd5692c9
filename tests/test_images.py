import ml_collections
import numpy as np
import pytest
from PIL import Image

from jaxreid.data.images import (
    RELEASE_ERASE_COLOUR,
    Augmentation,
    augment,
    read_augmentation,
    resize,
    square,
)

OFF = Augmentation(
    flip=0.0,
    pad=0,
    pad_value=0,
    erase_probability=0.0,
    erase_area=(0.02, 0.4),
    erase_aspect=(0.3, 3.3),
    erase_colour=(1, 2, 3),
)
RELEASE = OFF._replace(flip=0.5, pad=10, erase_probability=0.5)
HEIGHT, WIDTH = 48, 20


@pytest.fixture
def image():
    """Every pixel differs and none has the erase colour or is black."""
    values = np.random.default_rng(0).integers(10, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    values[..., 0] = np.arange(HEIGHT)[:, None] + 100
    return values


def erased_box(image, settings, seed):
    """(rows, columns) of the erased rectangle, which must be one; None if there is none."""
    out = augment(image, np.random.default_rng(seed), settings)
    erased = (out == np.array(settings.erase_colour)).all(axis=2)
    if not erased.any():
        assert (out == image).all()
        return None
    rows, columns = np.flatnonzero(erased.any(1)), np.flatnonzero(erased.any(0))
    box = (len(rows), len(columns))
    assert erased.sum() == box[0] * box[1]
    assert rows[-1] - rows[0] + 1 == box[0]
    assert columns[-1] - columns[0] + 1 == box[1]
    assert (out[~erased] == image[~erased]).all()
    return box


@pytest.mark.parametrize("size", [(24, 8), (96, 50), (30, 30)])
@pytest.mark.parametrize(
    ("name", "filter_"),
    [("bicubic", Image.Resampling.BICUBIC), ("bilinear", Image.Resampling.BILINEAR)],
)
def test_resize_equals_pillow(image, size, name, filter_):
    expected = np.array(Image.fromarray(image).resize((size[1], size[0]), filter_))
    result = resize(image, size, name)
    assert result.shape == (*size, 3)
    np.testing.assert_array_equal(result, expected)


def test_resize_averages_when_it_shrinks():
    # Without antialiasing, every 4th column of stripes of 2 would be black or white.
    stripes = np.zeros((8, 64, 3), np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 255
    assert abs(resize(stripes, (2, 4), "bilinear").astype(int) - 127).max() < 20


def test_resize_names_the_resamplers(image):
    with pytest.raises(ValueError, match=r"\['bicubic', 'bilinear'\], got 'nearest'"):
        resize(image, (4, 4), "nearest")


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_only_rgb_bytes_are_images(wrong):
    for function in (
        lambda x: resize(x, (2, 2), "bilinear"),
        lambda x: augment(x, np.random.default_rng(0), OFF),
    ):
        with pytest.raises(ValueError, match=r"u8\[h, w, 3\], got"):
            function(wrong)


def test_all_off_is_a_copy(image):
    out = augment(image, np.random.default_rng(0), OFF)
    np.testing.assert_array_equal(out, image)
    assert not np.shares_memory(out, image)


def test_flip_mirrors_and_twice_is_identity(image):
    always = OFF._replace(flip=1.0)
    once = augment(image, np.random.default_rng(0), always)
    np.testing.assert_array_equal(once, image[:, ::-1])
    np.testing.assert_array_equal(augment(once, np.random.default_rng(1), always), image)


def test_flip_happens_with_its_probability(image):
    settings = OFF._replace(flip=0.3)
    rng = np.random.default_rng(0)
    flipped = sum((augment(image, rng, settings) != image).any() for _ in range(2000))
    assert abs(flipped / 2000 - 0.3) < 0.04  # 4 standard deviations


def test_pad_crop_shifts_by_every_offset_up_to_the_pad(image):
    settings = OFF._replace(pad=2, pad_value=7)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), constant_values=7)
    crops = {
        padded[top : top + HEIGHT, left : left + WIDTH].tobytes(): (top, left)
        for top in range(5)
        for left in range(5)
    }
    rng = np.random.default_rng(0)
    seen = {crops[augment(image, rng, settings).tobytes()] for _ in range(300)}
    assert seen == set(crops.values())


def test_erased_rectangles_stay_in_their_limits(image):
    settings = OFF._replace(erase_probability=1.0)
    boxes = [box for seed in range(400) if (box := erased_box(image, settings, seed))]
    assert len(boxes) > 390  # ten attempts nearly always find one that fits
    height, width = np.array(boxes, float).T
    # Sides are rounded to whole pixels: by half a pixel each way.
    area = HEIGHT * WIDTH
    assert ((height + 0.5) * (width + 0.5) >= 0.02 * area).all()
    assert ((height - 0.5) * (width - 0.5) <= 0.4 * area).all()
    assert ((height + 0.5) / (width - 0.5) >= 0.3).all()
    assert ((height - 0.5) / (width + 0.5) <= 3.3).all()
    # ... and use the limits: not always the same size.
    assert (height * width / area).max() > 0.3
    assert (height * width / area).min() < 0.04


def test_erase_happens_with_its_probability(image):
    settings = OFF._replace(erase_probability=0.5)
    erased = sum(erased_box(image, settings, seed) is not None for seed in range(1000))
    assert abs(erased / 1000 - 0.5) < 0.065


def test_an_image_stays_whole_when_no_rectangle_fits(image):
    settings = OFF._replace(
        erase_probability=1.0, erase_area=(0.9, 0.95), erase_aspect=(0.01, 0.011)
    )
    assert erased_box(image, settings, 0) is None


def test_random_erasing_fills_with_noise(image):
    settings = OFF._replace(
        erase_probability=1.0, erase_area=(0.3, 0.4), erase_aspect=(1, 2), erase_colour="random"
    )
    changed = (augment(image, np.random.default_rng(0), settings) != image).any(axis=2)
    assert 0.28 < changed.mean() < 0.41
    filled = augment(image, np.random.default_rng(0), settings)[changed]
    assert len(np.unique(filled)) > 100


def test_erasing_comes_last(image):
    # Were the rectangle flipped or padded too, black could cut into it.
    settings = RELEASE._replace(flip=1.0, erase_probability=1.0, erase_area=(0.3, 0.4))
    for seed in range(50):
        erased = (augment(image, np.random.default_rng(seed), settings) == (1, 2, 3)).all(axis=2)
        assert erased.sum() in (
            0,
            erased.any(axis=1).sum() * erased.any(axis=0).sum(),
        )
        assert erased.sum() == 0 or erased.sum() > 0.27 * HEIGHT * WIDTH


def test_input_is_never_changed(image):
    before = image.copy()
    image.flags.writeable = False
    for seed in range(20):
        augment(image, np.random.default_rng(seed), RELEASE._replace(erase_probability=1.0))
        resize(image, (10, 10), "bicubic")
    np.testing.assert_array_equal(image, before)


def test_equal_generators_give_equal_images(image):
    once, again, other = (
        augment(image, np.random.default_rng(seed), RELEASE) for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()


def test_release_colour_is_clips_mean_after_normalising():
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    std = np.array([0.26862954, 0.26130258, 0.27577711])
    np.testing.assert_array_equal(np.round(255 * (mean + mean * std)), RELEASE_ERASE_COLOUR)


def config_with(**changes):
    return ml_collections.ConfigDict({"image": {**RELEASE._asdict(), **changes}})


def test_settings_are_read_from_the_config():
    assert read_augmentation(config_with()) == RELEASE
    assert read_augmentation(config_with(erase_colour="random")).erase_colour == "random"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("flip", 1.5),
        ("pad", -1),
        ("pad_value", 256),
        ("erase_probability", -0.1),
        ("erase_area", (0.4, 0.02)),
        ("erase_area", (0.1, 1.5)),
        ("erase_aspect", (0.0, 3.3)),
        ("erase_colour", "mean"),
        ("erase_colour", (1, 2)),
    ],
)
def test_a_wrong_setting_is_named(field, value):
    with pytest.raises(ValueError, match=rf"image\.{field} must be .*, got"):
        read_augmentation(config_with(**{field: value}))


@pytest.mark.parametrize("shape", [(6, 3), (3, 6), (5, 4), (4, 4)])
def test_a_square_holds_the_whole_image_in_its_middle(shape):
    image = np.random.default_rng(0).integers(1, 256, (*shape, 3), np.uint8)
    found = square(image)
    side = max(shape)
    assert found.shape == (side, side, 3)
    assert (found > 0).all(axis=2).sum() == shape[0] * shape[1]
    top, left = (side - shape[0]) // 2, (side - shape[1]) // 2
    np.testing.assert_array_equal(found[top : top + shape[0], left : left + shape[1]], image)
