"""Published annotations and a rendered data set in CUHK-PEDES layout, where they are at hand."""

import os
from pathlib import Path

import numpy as np
import pytest

from jaxreid.data import cuhk_pedes, rstpreid
from jaxreid.data.annotations import check_identities, read_annotations
from jaxreid.data.dataset import open_split
from jaxreid.data.published import Counts, count

pytestmark = pytest.mark.external


@pytest.fixture(scope="module")
def data():
    return Path(os.environ["JAXREID_DATA"])


@pytest.mark.parametrize(
    ("layout", "file", "expected"),
    [
        (cuhk_pedes.LAYOUT, "cuhk_pedes/reid_raw_val.json", Counts(3_078, 1_000, 6_158)),
        (rstpreid.LAYOUT, "rstpreid/data_captions_val.json", Counts(1_000, 200, 2_000)),
    ],
)
def test_published_val_annotations_have_the_published_counts(data, layout, file, expected):
    images = read_annotations(data / "annotations" / file, splits=tuple(layout.counts))
    check_identities(images)
    assert {image.split for image in images} == {"val"}
    assert count(images) == expected == layout.counts["val"]


def test_first_two_captions_of_cuhk_pedes_val_are_6156(data):
    images = read_annotations(
        data / "annotations/cuhk_pedes/reid_raw_val.json", splits=("train", "val", "test")
    )
    assert sum(len(image.captions[:2]) for image in images) == 6_156


def test_rendered_people_open_as_partial_cuhk_pedes(data, tmp_path):
    options = {
        "data_dir": tmp_path,
        "manual_dir": data / "lpc_persons",
        "allow_partial": True,
    }
    people, files = set(), set()
    for split, number in (("train", 594), ("val", 153), ("test", 153)):
        opened = open_split("cuhk_pedes", split, **options)
        assert len(set(opened.person_id.tolist())) == number
        assert len(opened.files) == 4 * number
        assert sum(map(len, opened.captions)) == 8 * number
        assert opened.images[-1].shape == (128, 64, 3)
        assert opened.images[-1].dtype == np.uint8
        people |= set(opened.person_id.tolist())
        files |= set(opened.files)
    assert (len(people), len(files)) == (900, 3_600)
