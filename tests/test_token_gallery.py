import numpy as np
import pytest

from jaxreid.search.token_gallery import first_images, token_gallery


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def features():
    """(queries, tokens) of 60 images of which three are copies, most of it in few coordinates."""
    rng = np.random.default_rng(0)
    scale = 1.0 / (1 + np.arange(12)) ** 2
    tokens = unit(rng.normal(size=(60, 7, 12)) * scale)
    tokens[[41, 17]] = tokens[5]
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]  # principal axes are no coordinates
    return unit((rng.normal(size=(4, 12)) * scale) @ turn), unit(tokens @ turn)


def naive(queries, tokens, top, count):
    """(index, score) by scoring all images in float64 and a stable sort."""
    cosines = np.einsum("qe,gne->qgn", queries.astype(np.float64), tokens)
    scores = np.sort(cosines, axis=2)[:, :, -top:].mean(axis=2)
    index = np.argsort(-scores.round(6), axis=1, kind="stable")[:, :count]
    return index, np.take_along_axis(scores, index, axis=1)


@pytest.mark.parametrize("lead", [1, 4, 12, 99])
def test_first_images_are_those_of_scoring_all(features, lead):
    queries, tokens = features
    first = first_images(queries, token_gallery(tokens, lead), 3, 5)
    index, score = naive(queries, tokens, 3, 5)
    np.testing.assert_array_equal(first.index, index)
    np.testing.assert_allclose(first.score, score, atol=1e-6)


def test_ties_go_to_the_first_image_of_the_gallery(features):
    _, tokens = features
    query = unit(tokens[5].mean(axis=0, keepdims=True))
    first = first_images(query, token_gallery(tokens), 7, 60)
    order = first.index[0].tolist()
    assert [i for i in order if i in (5, 17, 41)] == [5, 17, 41]
    assert order.index(41) == order.index(5) + 2
    assert sorted(order) == list(range(60))


def test_where_few_coordinates_tell_little_more_images_are_scored(features):
    queries, tokens = features
    well = first_images(queries, token_gallery(tokens, 6), 3, 1)
    badly = first_images(queries, token_gallery(tokens, 1), 3, 1)
    assert well.scored < badly.scored <= 60
    np.testing.assert_array_equal(well.index, badly.index)


def test_no_image_left_out_could_be_among_the_first():
    # An image whose bound is high and whose score is low pushes the first one out of those that
    # are scored at once: it must come in later.
    width, count = 6, 1
    loud = np.zeros((8, 2, width), np.float32)
    loud[:, 0, 0] = 1.0  # one token fits, the other is opposed
    loud[:, 1, 0] = -1.0
    good = np.zeros((1, 2, width), np.float32)
    good[:, :, 0], good[:, :, 1] = 0.8, 0.6
    tokens = np.concatenate([loud, good])
    query = np.eye(width, dtype=np.float32)[:1]
    first = first_images(query, token_gallery(tokens), 2, count)
    assert first.index.tolist() == [[8]]
    assert first.scored == len(tokens)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(tokens=np.zeros((3, 4))), r"tokens must be \[G, N, E\], got \(3, 4\)"),
        (dict(tokens=np.full((2, 3, 4), np.nan)), "tokens must be finite"),
        (dict(lead=0), "lead must be >= 1, got 0"),
        (dict(queries=np.zeros((2, 5))), r"queries must be \[Q, 12\], got \(2, 5\)"),
        (dict(queries=np.full((1, 12), np.inf)), "queries must be finite"),
        (dict(count=61), r"count must be in 1\.\.60, the images, got 61"),
        (dict(top=8), r"top must be in 1\.\.7"),
    ],
)
def test_what_cannot_be_searched_is_told(features, change, message):
    queries, tokens = features
    given = dict(queries=queries, tokens=tokens, lead=4, top=3, count=2) | change

    def search():
        gallery = token_gallery(given["tokens"], given["lead"])
        first_images(given["queries"], gallery, given["top"], given["count"])

    with pytest.raises(ValueError, match=message):
        search()
