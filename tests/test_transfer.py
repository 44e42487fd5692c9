"""The transfer tool evaluates each run on each data set once, and says what has no scores."""

import importlib.util
import json
import os
import re
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
import tiny
from copies import records, write_annotations, write_copy

from configs import albef
from jaxreid import parts, run
from jaxreid.checkpoint import Checkpoints
from jaxreid.data.dataset import open_split
from jaxreid.mesh import make_mesh
from jaxreid.results import fingerprint, results_name
from jaxreid.train import init_state

KEY = jax.random.key(0)
SCORES = {"R1": 10.0, "R5": 20.0, "R10": 30.0, "mAP": 15.0, "mINP": 5.0}


@pytest.fixture(scope="module")
def tool():
    path = Path(__file__).parents[1] / "tools/transfer.py"
    spec = importlib.util.spec_from_file_location("transfer", path)
    module = importlib.util.module_from_spec(spec)
    kept = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = kept
    module._quiet_libraries = lambda: None  # would change the log of other tests
    return module


def open_copy(root, data_set):
    """The test split of the copy of a data set under a folder, prepared in its folder data."""
    return open_split(data_set, "test", data_dir=root / "data", manual_dir=root, allow_partial=True)


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """Folder with two published data sets, and what is prepared of them in its folder data."""
    root = tmp_path_factory.mktemp("copies")
    for data_set in ("cuhk_pedes", "icfg_pedes"):
        write_copy(root, data_set)
        open_copy(root, data_set)
    return root


def write_run(folder, config=None, data="cuhk_pedes", step=7):
    """A run with the checkpoint folder of a step, which holds no weights."""
    config = config or albef.get_config()
    config.data.update(name=data, variant="")
    (folder / "checkpoints" / str(step)).mkdir(parents=True)
    (folder / "config.json").write_text(config.to_json_best_effort())
    return folder


def write_results(tool, run, data, split, change=()):
    """Results of a run on a data set, as if evaluated now."""
    results = {
        "queries": 8, "gallery": 4, "chance": SCORES, "coarse": SCORES, "final": SCORES, "step": 7,
        "data": {"sha256": fingerprint(split)}, "eval": run.config["eval"],
    }  # fmt: skip
    tool.results_path(run, data).write_text(json.dumps(results | dict(change)))


@pytest.fixture
def pair(tool, copies, tmp_path, monkeypatch):
    """A run on cuhk_pedes, that data set and its test split."""
    monkeypatch.setattr(tool, "_best_of", lambda folder, metric: 7)
    data = tool.DataSet("cuhk_pedes", "", str(copies), True, 0)
    return tool.read_run(write_run(tmp_path / "a")), data, open_copy(copies, "cuhk_pedes")


# End to end


@pytest.fixture(scope="module")
def real_run(copies, tmp_path_factory):
    """Folder of a run with random weights and a vocabulary of its own.

    Its batches do not split over the devices here.
    """
    folder = tmp_path_factory.mktemp("runs") / "albef"
    config = tiny.recipe(albef.get_config)
    config.data.update(name="cuhk_pedes", variant="", data_dir=str(copies / "data"))
    config.data.update(manual_dir=str(copies), allow_partial=True)
    config.text.vocabulary = 120
    config.train.update(compilation_cache=False)
    config.eval.update(batch_size=8, chunk=8, pair_batch=8, top_k=2, sheet_queries=1)
    config.start = "/of/another/machine"
    folder.mkdir()
    (folder / "config.json").write_text(config.to_json_best_effort())
    whole = parts.assemble(config, f"{folder}/tokenizer", learn=True)
    shapes = jax.eval_shape(lambda key: init_state(whole.method, optax.sgd(0.1), key), KEY)
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    state = state.replace(params=tiny.random_values(shapes.params, 0))
    checkpoints = Checkpoints(f"{folder}/checkpoints", keep=1, best="R1")
    checkpoints.save(3, state, {}, {"R1": 1.0}, wait=True)
    checkpoints.close()
    return folder


def test_a_run_is_evaluated_once_on_each_data_set_with_its_own_network(
    tool, copies, real_run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(parts, "make_mesh", lambda: make_mesh(jax.devices()[:1]))
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    kept = {p: p.read_bytes() for p in real_run.rglob("*") if p.is_file()}
    command = [
        str(real_run), f"--manual-dir={copies}", "--allow-partial", f"--out={tmp_path / 'out'}"
    ]  # fmt: skip
    try:
        assert tool.main(command) == 0
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
    assert {path: path.read_bytes() for path in kept} == kept
    assert "pairs: 2, evaluated before: 0, to go: 2" in capsys.readouterr().out
    rows = json.loads((tmp_path / "out/table.json").read_text())["rows"]
    assert [(row["test_on"], row["own"], row["queries"]) for row in rows] == [
        ("cuhk_pedes", True, 8), ("icfg_pedes", False, 4),
    ]  # fmt: skip
    for row, name in zip(rows, ("results", "results-icfg_pedes"), strict=True):
        results = json.loads((real_run / f"{name}.json").read_text())
        assert {key: results[key] for key in ("coarse", "final", "step")} == {
            key: row[key] for key in ("coarse", "final", "step")
        }
        assert (results["data"]["name"], results["data"]["split"]) == (row["test_on"], "test")
        assert results["data"]["sha256"] == fingerprint(open_copy(copies, row["test_on"]))
        assert results["eval"]["top_k"] == 2
    monkeypatch.setattr(run, "evaluate", None)  # nothing is evaluated again
    assert tool.main(command) == 0
    assert "pairs: 2, evaluated before: 2, to go: 0" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/table.json").read_text())["rows"] == rows


# What is evaluated before


def test_results_of_the_best_checkpoint_and_this_split_are_not_made_again(tool, pair):
    run, data, split = pair
    assert tool.finished(*pair) is None
    write_results(tool, run, data, split)
    assert tool.finished(*pair)["final"] == SCORES


@pytest.mark.parametrize(
    "change",
    [{"step": 5}, {"eval": {**albef.get_config().eval.to_dict(), "top_k": 5}}, {"data": {}}],
)
def test_older_results_are_made_again(tool, pair, change):
    run, data, split = pair
    write_results(tool, run, data, split, change)
    assert tool.finished(*pair) is None


def test_results_older_than_the_checkpoint_are_made_again(tool, pair):
    run, data, split = pair
    write_results(tool, run, data, split)
    later = tool.results_path(run, data).stat().st_mtime + 10
    os.utime(run.folder / "checkpoints" / "7", (later, later))
    assert tool.finished(*pair) is None


def test_results_on_another_copy_are_not_replaced(tool, pair, copies, tmp_path):
    run, data, split = pair
    write_results(tool, run, data, split)
    folder = write_copy(tmp_path / "other", "cuhk_pedes")
    content = records("cuhk_pedes")
    content[-1]["captions"][0] += " And more."
    write_annotations(folder, "cuhk_pedes", content)
    other = open_copy(tmp_path / "other", "cuhk_pedes")
    (found,) = tool.find_pairs([run], [data], lambda data: other)
    assert found.results is None
    assert found.reason.endswith("of cuhk_pedes; move it to evaluate on these")
    assert tool.evaluate_all([found], tmp_path / "out", None, lambda data: other) == 1


def test_order_people_and_captions_make_the_fingerprint(copies):
    split = open_copy(copies, "cuhk_pedes")
    changed = [
        split._replace(files=split.files[::-1]),
        split._replace(person_id=split.person_id + 1),
        split._replace(captions=split.captions[::-1]),
    ]
    assert len({fingerprint(s) for s in [split, *changed]}) == 4
    assert fingerprint(split) == fingerprint(split._replace(images=()))


def test_results_are_named_by_what_the_run_was_not_trained_on():
    own = {"name": "synthpedes", "variant": "default"}
    assert results_name(own, own) == "results"
    assert results_name(own, {**own, "variant": "tiny"}) == "results-synthpedes-tiny"
    assert results_name(own, {"name": "rstpreid", "variant": ""}) == "results-rstpreid"


# The table


@pytest.fixture
def four(tool, copies, tmp_path, monkeypatch):
    """Pairs of two runs and two data sets of which nothing is evaluated; what opens the data."""
    monkeypatch.setattr(tool, "_best_of", lambda folder, metric: 7)
    runs = [
        tool.read_run(write_run(tmp_path / name, data=data))
        for name, data in (("a", "cuhk_pedes"), ("b", "icfg_pedes"))
    ]
    sets = [tool.DataSet(n, "", str(copies), True, 0) for n in ("cuhk_pedes", "icfg_pedes")]

    def split(data):
        return open_copy(copies, data.name)

    return tool.find_pairs(runs, sets, split), split


def score(run, data):
    """Results of an evaluation."""
    r1 = 50.0 + (run.folder.name == "b") + 10 * (data.name == "icfg_pedes")
    return {
        "step": 7, "queries": 8, "gallery": 4, "chance": SCORES, "coarse": SCORES,
        "final": {**SCORES, "R1": r1},
    }  # fmt: skip


def test_the_table_has_all_pairs_and_marks_the_diagonal(tool, four, tmp_path, capsys):
    pairs, split = four
    assert tool.evaluate_all(pairs, tmp_path / "out", score, split) == 0
    text = (tmp_path / "out/table.md").read_text()
    assert text in capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()[5:]]
    assert [(Path(row[1]).name, row[5], row[6]) for row in rows] == [
        ("a", "**cuhk_pedes**", "**50.00**"),
        ("a", "icfg_pedes", "60.00"),
        ("b", "cuhk_pedes", "51.00"),
        ("b", "**icfg_pedes**", "**61.00**"),
    ]
    assert rows[1][7:13] == ["20.00", "30.00", "15.00", "10.00", "8", "4"]


@pytest.mark.parametrize("error", [ValueError, FileNotFoundError, RuntimeError])
def test_a_pair_that_fails_loses_no_other(tool, four, tmp_path, capsys, error):
    def fail(run, data):
        if (run.folder.name, data.name) == ("a", "icfg_pedes"):
            raise error("too\n  large")
        return score(run, data)

    pairs, split = four
    assert tool.evaluate_all(pairs, tmp_path / "out", fail, split) == 1
    table = json.loads((tmp_path / "out/table.json").read_text())
    assert [row["final"]["R1"] for row in table["rows"]] == [50.0, 51.0, 61.0]
    assert [row["reason"] for row in table["skipped"]] == ["too large"]
    assert "a on icfg_pedes: too large" in (tmp_path / "out/table.md").read_text()
    assert "2/4 " in capsys.readouterr().out


def test_the_table_is_written_after_each_pair(tool, four, tmp_path):
    def stop_at_third(run, data):
        if run.folder.name == "b":
            raise KeyboardInterrupt
        return score(run, data)

    pairs, split = four
    with pytest.raises(KeyboardInterrupt):
        tool.evaluate_all(pairs, tmp_path / "out", stop_at_third, split)
    table = json.loads((tmp_path / "out/table.json").read_text())
    assert len(table["rows"]) == 2
    assert [row["reason"] for row in table["skipped"]] == ["not evaluated yet"] * 2


def test_a_run_without_a_checkpoint_is_left_out_with_its_reason(tool, four, tmp_path):
    pairs, split = four
    (tmp_path / "a/checkpoints/7").rmdir()
    found = tool.find_pairs([pairs[0].run, pairs[2].run], [pairs[0].data], split)
    assert [bool(pair.reason) for pair in found] == [True, False]
    assert re.search("no checkpoint in .*a/checkpoints", found[0].reason)


# Which data sets


def test_without_names_all_data_sets_that_are_there_are_found(tool, copies, tmp_path):
    for name in ("tiny/1.0.0", "large/1.0.0.incompleteA1B2", ".config/metadata.json"):
        (tmp_path / "synthpedes" / name).mkdir(parents=True)
    (tmp_path / "rstpreid/0123456789abcdef-partial-val3/1.0.0").mkdir(parents=True)
    (tmp_path / "rstpreid/0123456789abcdef-val5/1.0.0").mkdir(parents=True)
    assert tool.find_data(None, tmp_path, "", allow_partial=False) == [
        tool.DataSet("rstpreid", "", "", False, 5),  # a whole copy before a partial one
        tool.DataSet("synthpedes", "tiny", "", False, 0),
    ]
    published = tool.find_data(None, tmp_path, str(copies), allow_partial=True)
    assert published[:2] == [
        tool.DataSet(name, "", str(copies), True, 0) for name in ("cuhk_pedes", "icfg_pedes")
    ]
    assert len(published) == 4


def test_data_sets_are_given_by_name_with_folder_or_variant(tool, copies, tmp_path):
    named = [f"cuhk_pedes:{copies}", "synthpedes:large", "synthpedes", "synthpedes:default"]
    assert tool.find_data(named, tmp_path, "", allow_partial=False) == [
        tool.DataSet("cuhk_pedes", "", str(copies), False, 0),
        tool.DataSet("synthpedes", "large", "", False, 0),
        tool.DataSet("synthpedes", "default", "", False, 0),
    ]
    (prepared,) = tool.find_data(["icfg_pedes"], copies / "data", "", allow_partial=False)
    assert prepared == tool.DataSet("icfg_pedes", "", "", True, 0)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--data=cuhk"], "--data must be one of .*got 'cuhk'; did you mean cuhk_pedes?"),
        (["--data=cuhk_pedes:/none"], "no such folder: /none"),
        (["--manual-dir=/none"], "no such folder: /none"),
        (["--data=rstpreid"], "--data rstpreid: not prepared in /none; give its folder, --data"),
        ([], "no data set is prepared in /none; give --data-dir"),
        (["--caption-limit=-1"], "--caption-limit must be >= 0, got -1"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_a_sentence(tool, tmp_path, capsys, flags, sentence):
    folder = write_run(tmp_path / "a")
    command = [str(folder), "--data-dir=/none", f"--out={tmp_path / 'out'}", *flags]
    assert tool.main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert re.search(sentence, error)
    assert not (tmp_path / "out").exists()


def test_a_missing_run_is_named_with_the_nearest(tool, tmp_path, capsys):
    write_run(tmp_path / "albef")
    assert tool.main([str(tmp_path / "albeff")]) == 2
    error = capsys.readouterr().err
    assert re.search(r"no run in .*albeff: .*missing; did you mean .*/albef\?", error)
    (tmp_path / "albef/config.json").write_text("{")
    assert tool.main([str(tmp_path / "albef")]) == 2
    assert "config.json is not JSON" in capsys.readouterr().err
