import json
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from asking_run import make_run

from jaxreid.search import chat, policies
from jaxreid.search.attributes import read_scheme, value_counts, value_mask
from jaxreid.search.fit import can_train, fit, gallery_posteriors, read_rows
from jaxreid.search.gallery import index_split
from jaxreid.search.load import load_run

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import benchmark_asking

SCHEME = read_scheme()


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Little is optimised: most time here is compilation."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return make_run(root / "run", root / "data")


@pytest.fixture(scope="module")
def searcher(folder):
    return load_run(str(folder))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def test_rows_are_in_the_order_of_the_split(searcher):
    rows, split = read_rows(searcher, "test"), searcher.parts.split("test")
    assert len(rows.attributes) == len(split.files)
    for view, file in zip(rows.view, split.files, strict=True):
        assert view in file
    for i in range(1, len(split.files)):
        same = split.person_id[i] == split.person_id[i - 1]
        assert (rows.attributes[i] == rows.attributes[i - 1]) == same


@pytest.mark.parametrize("way", ["head", "prompts"])
def test_posteriors_are_fitted_once_and_read_again(way, searcher, cache):
    first = fit(searcher, SCHEME, way, cache)
    (file,) = cache.glob(f"fitted-{way}-*")
    stamp = file.stat().st_mtime_ns
    again = fit(searcher, SCHEME, way, cache)
    assert file.stat().st_mtime_ns == stamp
    gallery = index_split(searcher, "test", cache)
    shown = gallery_posteriors(searcher, SCHEME, first, gallery)
    np.testing.assert_array_equal(shown, gallery_posteriors(searcher, SCHEME, again, gallery))
    assert first.temperature == again.temperature > 0
    told_by_prompts = way == "prompts"  # which do not know how frequent a value is
    assert (first.value_bias != 0).any() == told_by_prompts == (first.head is None)
    assert shown.shape == (len(gallery.files), *value_mask(value_counts(SCHEME)).shape)
    np.testing.assert_allclose(shown.sum(axis=2), 1, atol=1e-5)
    assert (shown[:, ~value_mask(value_counts(SCHEME))] == 0).all()
    file.write_bytes(b"spoilt")
    made = fit(searcher, SCHEME, way, cache)
    np.testing.assert_allclose(made.value_temperature, first.value_temperature, rtol=1e-3)


def test_an_unknown_way_is_refused(searcher, cache):
    with pytest.raises(ValueError, match="must be told by one of head, prompts, got 'guess'"):
        fit(searcher, SCHEME, "guess", cache)


def test_a_scheme_of_ones_own_is_told_by_prompts(searcher, cache, tmp_path):
    content = json.loads(Path(sys.modules[read_scheme.__module__].EMBEDDED).read_text())
    content["attributes"] = content["attributes"][:2]
    content["attributes"][1]["name"] = "color_of_coat"
    (tmp_path / "mine.json").write_text(json.dumps(content))
    mine = read_scheme(tmp_path / "mine.json")
    assert can_train(searcher, SCHEME)
    assert not can_train(searcher, mine)
    with pytest.raises(ValueError, match="a head needs a table of the attributes of synthpedes"):
        fit(searcher, mine, "head", cache)
    found = fit(searcher, mine, "prompts", cache)
    np.testing.assert_allclose(found.value_temperature, found.temperature)
    assert (found.value_bias == 0).all()


def test_the_command_line_searches_a_split(folder, cache, tmp_path, monkeypatch, capsys):
    lines = iter(["a man in a red shirt", "I don't know", "undo"])

    def typed(prompt):
        for line in lines:
            return line
        raise EOFError

    monkeypatch.setattr("builtins.input", typed)
    kept = tmp_path / "kept.json"
    given = ["--gallery", "split:test", "--run", str(folder), "--cache", str(cache)]
    assert chat.main([*given, "--session", str(kept)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("32 images. Describe the person you look for")
    assert "Taken back. a man in a red shirt" in out
    shutil.copy(kept, tmp_path / "other.json")
    other = ["--gallery", "split:val", *given[2:], "--session", str(tmp_path / "other.json")]
    assert chat.main(other) == 2
    assert "the images or the run are others" in capsys.readouterr().err


def test_the_benchmark_compares_policies_on_a_run(folder, cache, capsys, monkeypatch):
    few = {name: policies.POLICIES[name] for name in ("random", "eig")}
    monkeypatch.setattr(policies, "POLICIES", few)
    monkeypatch.setattr(benchmark_asking, "TIMED", ("eig",))
    given = ["--run", str(folder), "--cache", str(cache), "--seeds", "1", "--rounds", "2"]
    assert benchmark_asking.main([*given, "--no-drawn", "--images", "50"]) == 0
    out = capsys.readouterr().out
    assert "8 people, 32 images, 28 attributes, captions; a head tells" in out
    for name in ("known", "0.1/0.1", "witness"):
        assert f"channel {name}" in out
    assert out.count("| random |") == 3
    assert "50 images x 30 attributes x 16 values, eig:" in out


def test_drawn_posteriors_are_calibrated_whatever_their_number_of_values():
    searches, channel = benchmark_asking.drawn_world(np.random.default_rng(0), unequal=True)
    shown, counts = np.asarray(searches.posteriors), np.asarray(searches.counts)
    np.testing.assert_allclose(shown.sum(axis=2), 1, atol=1e-5)
    target = np.asarray(searches.target).argmax(axis=1)
    right = shown[target].argmax(axis=2) == np.asarray(searches.truth)
    sure = shown.max(axis=2)[target]
    several = counts > 2  # of two values a posterior below one half would be told as the other
    np.testing.assert_allclose(right.mean(axis=0)[several], sure.mean(axis=0)[several], atol=0.09)
    assert np.ptp(np.asarray(channel.wrong)) > 0.2


def test_a_table_has_mean_spread_and_difference():
    found = [
        {"eig": {"BRI": 1.0, "R1": 50.0}, "random": {"BRI": 2.0, "R1": 20.0}},
        {"eig": {"BRI": 3.0, "R1": 70.0}, "random": {"BRI": 4.5, "R1": 20.0}},
    ]
    assert benchmark_asking.table(found)[2:] == [
        "| eig | 2.000 ± 1.000 | +0.000 ± 0.000 | 60.0 ± 10.0 |",
        "| random | 3.250 ± 1.250 | +1.250 ± 0.250 | 20.0 ± 0.0 |",
    ]
