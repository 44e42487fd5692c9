"""Saving and loading a model: what is in the folder, and what is refused."""

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from test_run import _recipe

import jaxreid
from jaxreid import export
from jaxreid.given import read_dialogue
from jaxreid.parts import assemble
from jaxreid.weights.safetensors_file import read_safetensors, write_safetensors


@pytest.fixture(scope="module")
def saved(data_dir, tmp_path_factory):
    """Folder of a model with random parameters, and these."""
    folder = tmp_path_factory.mktemp("saved")
    parts = assemble(_recipe(data_dir), str(folder / "tokenizer"), learn=True)
    params = parts.method.init(jax.random.key(3))
    export.write_model(str(folder / "model"), parts, params, 7, None)
    return folder / "model", params


@pytest.fixture(scope="module")
def model(saved):
    return jaxreid.load(saved[0])


def test_the_folder_holds_all_that_is_needed_and_says_what_it_is(saved):
    folder, params = saved
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "tokenizer", "README.md",
    }  # fmt: skip
    assert (folder / "tokenizer" / "vocab.txt").is_file()
    arrays = read_safetensors(folder / "model.safetensors")
    np.testing.assert_array_equal(arrays["vit/cls_token"], params["vit"]["cls_token"])
    assert sum(x.size for x in arrays.values()) == sum(x.size for x in jax.tree.leaves(params))
    card = (folder / "README.md").read_text()
    for words in ("albef on synthpedes tiny", "Apache-2.0", "Not evaluated", "step 7", "consent"):
        assert words in card


def test_features_do_not_depend_on_the_batch_or_on_how_an_image_is_given(model, tmp_path):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 255, (50, 30, 3), np.uint8) for _ in range(3)]
    Image.fromarray(arrays[0]).save(tmp_path / "a.png")
    given = [tmp_path / "a.png", Image.fromarray(arrays[1]), arrays[2]]
    together = model.encode_image(given)
    alone = model.encode_image(arrays[2:])
    assert together.embedding.shape == (3, 16)
    np.testing.assert_allclose(together.embedding[2:], alone.embedding, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together.embedding, axis=1), 1, atol=1e-5)
    assert model.encode_image(arrays, tokens=False).tokens is None
    scores = model.similarity(model.encode_text(["a man", "a red coat"]), together)
    assert scores.shape == (2, 3)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: m.encode_image(["nowhere.png"]), "image 0: there is no file nowhere.png"),
        (lambda m: m.encode_image([np.zeros((4, 4))]), r"image 0 must be a path.*float64\[4, 4\]"),
        (lambda m: m.encode_image([]), "nothing to encode"),
        (lambda m: m.encode_text("a man"), "give a list of texts, got one text"),
        (lambda m: m.encode_text([3]), "text 0 must be a str, got int"),
        (lambda m: m.encode_text(["..."]), "caption 0"),
        (lambda m: m.encode_dialogue([[("Hat?", "No.")]]), "albef searches by a sentence"),
        (lambda m: m.encode_composed(["a.png"], ["x"]), "albef searches by a sentence"),
        (lambda m: m.encode_composed([], ["x"]), "a text for each image, got 0 and 1"),
    ],
)
def test_what_cannot_be_encoded_is_told(model, ask, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        ask(model)


def test_what_cannot_be_matched_is_told(model):
    images = model.encode_image([np.zeros((64, 32, 3), np.uint8)] * 2, tokens=False)
    queries = model.encode_text(["a man"])
    with pytest.raises(ValueError, match="encode with tokens=True"):
        model.match(queries, images, [[0]])
    with pytest.raises(ValueError, match=r"candidates must be in 0\.\.0, got 0\.\.1"):
        model.match(queries, queries, [[0, 1]])
    with pytest.raises(ValueError, match=r"candidates must be \[1, K\]"):
        model.match(queries, queries, [0])


def test_dialogues_are_read_from_pairs():
    dialogue = read_dialogue(0, ["A man.", ("Hat?", "No.")])
    assert (dialogue.opening, [tuple(r) for r in dialogue.rounds]) == ("A man.", [("Hat?", "No.")])
    for given in (["A man.", "Hat?"], [("Hat?",)], [("Hat?", 3)]):
        with pytest.raises(ValueError, match=r"dialogue 4: round 1 must be \(question, answer\)"):
            read_dialogue(4, given)
    with pytest.raises(ValueError, match="dialogue 4 must be a list"):
        read_dialogue(4, "Hat? No.")


def _config(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def _weights(folder, change):
    arrays = dict(read_safetensors(folder / "model.safetensors"))
    arrays = {name: np.array(x) for name, x in arrays.items()}
    config = json.loads((folder / "config.json").read_text())
    change(arrays)
    hashed = jaxreid.model.config_hash(config)
    metadata = {"format": "jaxreid", "config": hashed}
    write_safetensors(folder / "model.safetensors", arrays, metadata)


SPOILED = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "no vocabulary": (lambda f: shutil.rmtree(f / "tokenizer"), "tokenizer"),
    "config is no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json is not JSON"),
    "a method of another kind": (
        lambda f: _config(f, lambda c: c.update(method="../x")), "names no method",
    ),
    "another config": (
        lambda f: _config(f, lambda c: c.update(seed=9)), "is not the config of model.safetensors",
    ),
    "half the weights": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:999]
        ),
        "model.safetensors is no whole safetensors file",
    ),
    "weights of somebody else": (
        lambda f: write_safetensors(f / "model.safetensors", {"a": np.zeros(2)}, {}),
        "was not written by jaxreid",
    ),
    "a parameter less": (
        lambda f: _weights(f, lambda a: a.pop("vit/cls_token")), "has no vit/cls_token",
    ),
    "a parameter more": (lambda f: _weights(f, lambda a: a.update(x=a["vit/norm/bias"])), "has x,"),
    "another shape": (
        lambda f: _weights(f, lambda a: a.update({"vit/norm/bias": np.zeros(3, np.float32)})),
        r"has vit/norm/bias as float32\[3\], config.json makes it float32\[32\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_folder_that_is_no_model_is_refused(spoil, saved, tmp_path):
    change, message = SPOILED[spoil]
    folder = shutil.copytree(saved[0], tmp_path / "model")
    change(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        jaxreid.load(folder)


def test_a_model_is_not_written_over_something_else(saved, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="is no folder of a model and not empty"):
        export.write_model(str(tmp_path), None, {}, 0, None)
    with pytest.raises(FileNotFoundError, match="no run in"):
        jaxreid.save(tmp_path, tmp_path / "model")
