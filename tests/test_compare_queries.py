"""The table of what a composed query is worth, from results that are there."""

import importlib.util
import json
import pathlib

import pytest

from configs import clip, word4per

TOOLS = pathlib.Path(__file__).parents[1] / "tools"


def load(name):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_run(folder, config, scores):
    """A run whose results are there: name of the file -> R1."""
    folder.mkdir()
    (folder / "config.json").write_text(config.to_json_best_effort())
    for name, score in scores.items():
        blocks = {"final": {"R1": score, "R5": score + 1, "R10": score + 2, "mAP": score + 3}}
        (folder / f"{name}.json").write_text(json.dumps(blocks))


def test_runs_of_other_seeds_are_a_row_each_form(tmp_path, capsys):
    for seed, shift in ((0, 0.0), (1, 4.0)):
        config = word4per.get_config()
        config.seed = seed
        names = {
            "results": 40.0, "results-query-image": 1.0, "results-query-text": 30.0,
            "results-query-mean": 20.0, "results-fused-text": 38.0, "results-fused-image": 36.0,
        }  # fmt: skip
        scores = {name: score + shift for name, score in names.items()}
        write_run(tmp_path / f"run{seed}", config, scores)
    runs = [str(tmp_path / f"run{seed}") for seed in (0, 1)]
    assert load("compare_queries").main(runs) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = {line.split("|")[2].strip(): line.split("|")[3].strip() for line in lines[2:]}
    assert cells == {
        "composed": "42.00 ± 2.00",
        "image": "3.00 ± 2.00",
        "text": "32.00 ± 2.00",
        "mean": "22.00 ± 2.00",
        "composed, word of text alone": "40.00 ± 2.00",
        "composed, word of image alone": "38.00 ± 2.00",
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (clip.get_config(), "clip does not search by a photo plus words"),
        (word4per.get_config(), "has no results.json: its run has not ended"),
        (None, "no run in"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_sentence(tmp_path, capsys, config, message):
    if config is not None:
        write_run(tmp_path / "run", config, {})
    assert load("compare_queries").main([str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err


def test_ranking_by_tokens_is_timed_and_compared(monkeypatch, capsys):
    given = "--queries 9 --images 21 --tokens 5 --embedding 8 --top 2 --image-chunk 8 --chunk 8"
    monkeypatch.setattr("sys.argv", ["benchmark_tokens.py", *given.split()])
    assert load("benchmark_tokens").main() == 0
    out = capsys.readouterr().out
    assert "9 queries, 21 images of 5 tokens" in out
    assert float(out.split()[-1]) < 1e-6
    monkeypatch.setattr("sys.argv", ["benchmark_tokens.py", "--top", "33"])
    assert load("benchmark_tokens").main() == 2
    assert "--top must be in 1..32, got 33" in capsys.readouterr().err
