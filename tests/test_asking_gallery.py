import json
import shutil

import jax
import numpy as np
import pytest
from asking_run import TEXTS, make_run
from PIL import Image

import jaxreid
from configs import diana
from jaxreid.data.dialogues import Dialogue, Round
from jaxreid.data.records import CaptionError
from jaxreid.methods import Features
from jaxreid.search import chat, load
from jaxreid.search.gallery import index_folder
from jaxreid.search.load import load_run, score


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Little is optimised: most time here is compilation."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def searcher(run):
    return load_run(str(run))


@pytest.fixture
def folder(tmp_path):
    """Nine images in two folders, and a file that is none."""
    rng = np.random.default_rng(0)
    for i in range(9):
        path = tmp_path / "photos" / ("a" if i % 2 else "b") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 20, 3), np.uint8)).save(path)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    return tmp_path / "photos"


def test_a_folder_is_indexed_in_the_order_of_its_paths(searcher, folder):
    gallery = index_folder(searcher, folder)
    assert gallery.files == (*(f"a/{i}.png" for i in (1, 3, 5, 7)),
                             *(f"b/{i}.png" for i in (0, 2, 4, 6, 8)))  # fmt: skip
    method = searcher.parts.method
    for i in (0, 8):
        example = method.transform({"image": gallery.images[i]}, None)
        alone = method.encode_image(searcher.params, example["image"][None]).embedding[0]
        np.testing.assert_allclose(gallery.embedding[i], alone, atol=1e-5)


def test_the_index_is_read_again_and_knows_what_changed(searcher, folder):
    first = index_folder(searcher, folder)
    cache = folder.with_name("photos.index")
    (file,) = cache.iterdir()
    stamp = file.stat().st_mtime_ns
    again = index_folder(searcher, folder)
    assert file.stat().st_mtime_ns == stamp
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(again.embedding, first.embedding)
    (folder / "a" / "1.png").write_bytes((folder / "a" / "3.png").read_bytes())
    other = index_folder(searcher, folder)
    assert other.fingerprint != first.fingerprint
    np.testing.assert_array_equal(other.embedding[0], other.embedding[1])
    other_run = searcher._replace(fingerprint="0")
    assert index_folder(other_run, folder).fingerprint != other.fingerprint


def test_a_damaged_index_is_made_again(searcher, folder, tmp_path):
    first = index_folder(searcher, folder, tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(b"spoilt")
    again = index_folder(searcher, folder, tmp_path / "cache")
    np.testing.assert_array_equal(again.embedding, first.embedding)


def test_one_description_scores_as_among_many(searcher, folder):
    images = Features(index_folder(searcher, folder).embedding)
    told = [Dialogue((), text) for text in (*TEXTS, "a red shirt")]
    together = score(searcher, told, images)
    assert together.shape == (3, 9)
    for q, one in enumerate(told):
        np.testing.assert_allclose(score(searcher, [one], images)[0], together[q], atol=1e-5)
    assert np.ptp(together) > 1e-3


def test_words_of_no_letters_are_refused(searcher, folder):
    images = Features(index_folder(searcher, folder).embedding)
    with pytest.raises(CaptionError, match="caption 0 has no words"):
        score(searcher, [Dialogue((), " . ")], images)


def test_an_image_that_cannot_be_read_is_named(searcher, folder):
    (folder / "b" / "bad.jpg").write_bytes(b"not a photo")
    with pytest.raises(ValueError, match=r"gallery image .*/b/bad.jpg: cannot be decoded"):
        index_folder(searcher, folder)


def test_a_folder_without_images_is_refused(searcher, tmp_path):
    with pytest.raises(FileNotFoundError, match="no image in"):
        index_folder(searcher, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"must be a folder of images, got .*/none"):
        index_folder(searcher, tmp_path / "none")


def test_equal_runs_have_equal_fingerprints(searcher, run):
    assert load_run(str(run)).fingerprint == searcher.fingerprint
    config = json.loads((run / "config.json").read_text())
    other = jax.tree.map(lambda x: x, searcher.params)
    other["logit_scale"] = other["logit_scale"] + 1
    for found, equal in ((searcher.params, True), (other, False)):
        assert (load._fingerprint(config, found) == searcher.fingerprint) is equal


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c.update(method="fafa"), "searches by captions or dialogues, fafa in"),
        (lambda c: c.update(method="clip", eval={**c["eval"], "select": "R5"}), None),
    ],
)
def test_runs_that_do_not_search_by_sentences_are_refused(run, tmp_path, spoil, message):
    shutil.copytree(run, tmp_path / "run")
    content = json.loads((run / "config.json").read_text())
    spoil(content)
    (tmp_path / "run" / "config.json").write_text(json.dumps(content))
    if message is None:
        load_run(str(tmp_path / "run"))
        return
    with pytest.raises(ValueError, match=message):
        load_run(str(tmp_path / "run"))


def test_a_saved_model_searches_as_its_run(searcher, run, folder, tmp_path):
    jaxreid.save(run, tmp_path / "model")
    model = load_run(str(tmp_path / "model"))
    told = [Dialogue((), text) for text in TEXTS]
    scores = [
        score(found, told, Features(index_folder(found, folder).embedding))
        for found in (searcher, model)
    ]
    np.testing.assert_array_equal(*scores)


def test_a_run_that_reads_dialogues_gets_all_that_was_said(tmp_path, folder):
    searcher = load_run(str(make_run(tmp_path / "run", get_config=diana.get_config)))
    assert searcher.reads_answers
    images = Features(index_folder(searcher, folder).embedding)
    asked = Round("Did they carry a bag?", "a black bag.")
    told = [Dialogue((), TEXTS[0]), Dialogue((asked,), TEXTS[0]), Dialogue((asked,), TEXTS[1])]
    together = score(searcher, told, images)
    for q, one in enumerate(told):
        np.testing.assert_allclose(score(searcher, [one], images)[0], together[q], atol=1e-5)
        assert all(np.abs(together[q] - together[(q + i) % 3]).max() > 1e-4 for i in (1, 2))
    # The description is the answer to the first question, as in the dialogues of its training.
    whole = Dialogue((Round("What did the person look like?", TEXTS[0]), asked))
    np.testing.assert_allclose(score(searcher, [whole], images)[0], together[1], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--run", "nowhere"], "error: no run in nowhere: nowhere/config.json is missing."),
        (["--scheme", "nowhere.json"], "error: no scheme of attributes at nowhere.json."),
    ],
)
def test_the_command_line_ends_in_one_sentence(options, message, run, folder, capsys):
    given = ["--gallery", str(folder), "--run", str(run), *options]
    assert chat.main(given) == 2
    assert capsys.readouterr().err.splitlines()[-1] == message
