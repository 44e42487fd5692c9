import importlib.util
import pathlib

import jax
import numpy as np
import pytest
import tiny
from PIL import Image

from jaxreid import parts as parts_module
from jaxreid import run, saved
from jaxreid.data.records import caption_pairs

PATH = pathlib.Path(__file__).parents[1] / "tools" / "pictures.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("pictures", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(parts, random parameters) of LAIP on the tiny data set."""
    folder = tmp_path_factory.mktemp("data")
    config = tiny.recipe()
    config.data.update(variant="tiny", data_dir=str(folder))
    config.train.update(batch_size=8, compilation_cache=False)
    config.laip.queue_length = 8
    parts = parts_module.assemble(config, str(folder / "tokenizer"), learn=True)
    shapes = jax.eval_shape(parts.method.init, jax.random.key(0))
    return parts, tiny.random_values(shapes, seed=0)


@pytest.fixture
def trained(made, monkeypatch, tmp_path):
    """A folder that passes for a run with these parameters."""
    monkeypatch.setattr(saved, "run_config", lambda folder: None)
    monkeypatch.setattr(run, "restore", lambda config, folder: (*made, 7))
    return tmp_path


def rank(folder, parts, right):
    """Writes rankings in which the captions told by `right`, bool[C], find their image first."""
    split = parts.split("test")
    people = split.person_id[caption_pairs(split)[:, 0]]
    other = np.array([np.flatnonzero(split.person_id != p)[0] for p in people])
    own = caption_pairs(split)[:, 0]
    np.savez(
        folder / "rankings.npz",
        final=np.where(right, own, other)[:, None],
        gallery_person_id=split.person_id,
        query_person_id=people,
    )


def test_each_kind_of_picture_is_written(tool, trained, capsys):
    out = trained / "pictures"
    assert tool.main([str(trained), "--out", str(out), "--captions", "2"]) == 0
    names = ["words", "phrases", "masked"]
    assert capsys.readouterr().out.split() == [str(out / f"{name}.png") for name in names]
    for name in names:
        with Image.open(out / f"{name}.png") as picture:
            assert min(picture.size) > 150
            assert np.ptp(np.asarray(picture.convert("L"))) > 200


def test_captions_are_of_different_people_and_ranked_as_asked(tool, made, tmp_path):
    parts, _ = made
    people = parts.split("test").person_id[caption_pairs(parts.split("test"))[:, 0]]
    right = np.arange(len(people)) % 3 == 0
    rank(tmp_path, parts, right)
    for pick, wanted in (("right", right), ("wrong", ~right)):
        rng = np.random.default_rng(1)
        rows = [one.row for one in tool.choose(parts, tmp_path, pick, 4, rng)]
        assert len(set(people[rows])) == len(rows) == 4
        assert wanted[rows].all()
    rank(tmp_path, parts, np.ones_like(right))
    with pytest.raises(ValueError, match="no caption of the test split is ranked wrong"):
        tool.choose(parts, tmp_path, "wrong", 4, np.random.default_rng(1))


def test_the_map_of_a_word_is_the_mean_of_its_tokens(tool, made, tmp_path):
    parts, _ = made
    shown = tool.choose(parts, tmp_path, "any", 3, np.random.default_rng(0))
    grid = tool.grid_of(parts.config)
    length, patches = parts.config.text.max_tokens, grid[0] * grid[1]
    maps = np.random.default_rng(2).random((3, length, patches))
    tokenizer = tool.tokenizer_of(parts)
    for one, panels, weights in zip(
        shown, tool.word_panels(parts, shown, maps, grid), maps, strict=True
    ):
        position = 1  # after [CLS]
        for word, panel in zip(one.caption.split(), panels[1:], strict=False):
            count = len(tokenizer.backend.encode(word, add_special_tokens=False).ids)
            own = weights[position : min(position + count, length - 1)].mean(axis=0)
            np.testing.assert_allclose(panel.weights.ravel(), own)
            assert panel.title.split("\n")[0] == word
            position += count


def test_every_word_of_every_phrase_is_hidden_once(tool, made, tmp_path):
    parts, _ = made
    shown = tool.choose(parts, tmp_path, "any", 2, np.random.default_rng(0))
    batch = tool.make_batch(parts, shown)
    for texts, phrases, words in zip(
        tool.hidden_in(parts, shown, batch),
        batch["phrase_tokens"],
        batch["phrase_words"],
        strict=True,
    ):
        hidden = np.zeros(words.shape, int)
        for tokens, place in texts:
            hidden[(phrases == tokens).all(axis=1)] += place
        np.testing.assert_array_equal(hidden, words >= 0)


def test_without_phrases_the_attributes_of_the_caption_are_hidden(tool, made, tmp_path):
    parts, _ = made
    shown = tool.choose(parts, tmp_path, "any", 3, np.random.default_rng(0))
    batch = {"tokens": tool.make_batch(parts, shown)["tokens"]}
    numbers = tool.attributes_of(parts, shown)
    assert (numbers.max(axis=1) >= 0).any()
    for texts, own in zip(tool.hidden_in(parts, shown, batch), numbers, strict=True):
        assert len(texts) == own.max() + 1
        np.testing.assert_array_equal(sum((h for _, h in texts), np.zeros(len(own))), own >= 0)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--captions", "0"], "--captions must be >= 1, got 0"),
        (["--seed", "-1"], "--seed must be >= 0, got -1"),
        (["--layer", "2"], "--layer must be in 0..1, got 2"),
    ],
)
def test_wrong_options_are_named(tool, trained, capsys, flags, message):
    assert tool.main([str(trained), "--out", str(trained / "out"), *flags]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_a_method_without_cross_attention_is_named(tool, made, monkeypatch, tmp_path, capsys):
    parts, params = made
    plain = parts._replace(method=parts.method._replace(explain=None))
    monkeypatch.setattr(saved, "run_config", lambda folder: None)
    monkeypatch.setattr(run, "restore", lambda config, folder: (plain, params, 7))
    assert tool.main([str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "is a run of laip, whose text reads no image" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_run_is_named(tool, tmp_path, capsys):
    assert tool.main([str(tmp_path / "no"), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(f"error: no run in {tmp_path / 'no'}")
