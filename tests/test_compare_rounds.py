"""The table of scores over rounds, from results that are there."""

import importlib.util
import json
import pathlib

import pytest

from configs import clip, diana

TOOLS = pathlib.Path(__file__).parents[1] / "tools"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("compare_rounds", TOOLS / "compare_rounds.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_run(folder, config, rounds):
    """A run with these R1 over rounds."""
    folder.mkdir()
    (folder / "config.json").write_text(config.to_json_best_effort())
    final = {name: rounds[-1] for name in ("R1", "R10", "mAP")}
    scores = {name: rounds for name in ("R1", "R5", "R10", "mAP")}
    scores["mean_rank"] = [200 - value for value in rounds]
    if len(rounds) > 1:
        scores["BRI"] = 1.5
    scores["rounds_to_R1"] = 2.5
    (folder / "results.json").write_text(json.dumps({"final": final, "rounds": scores}))
    return str(folder)


def test_runs_of_other_seeds_are_a_row(tool, tmp_path, capsys):
    runs = []
    for seed, shift in ((0, 0.0), (1, 4.0)):
        config = diana.get_config()
        config.seed = seed
        runs.append(write_run(tmp_path / f"run{seed}", config, [1.0, 10.0 + shift, 30.0 + shift]))
    config = diana.get_config("captions")
    runs.append(write_run(tmp_path / "captions", config, [20.0]))
    config = diana.get_config()
    config.diana.retain = False
    runs.append(write_run(tmp_path / "whole", config, [1.0, 5.0, 31.0]))
    out = str(tmp_path / "curves.png")
    assert tool.main([*runs[:2], runs[3], "--rounds", "0,1,5", "--out", out]) == 0
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    rows = {line[0].removeprefix("| "): line[1:] for line in lines[2:4]}
    # Of a dialogue with two rounds the fifth is its last.
    assert rows["diana"][:4] == ["1.00 ± 0.00", "12.00 ± 2.83", "32.00 ± 2.83", "32.00 ± 2.83"]
    assert rows["diana"][-3:] == ["1.50 ± 0.00", "2.50 ± 0.00", "2 |"]
    assert rows["retain False"][:3] == ["1.00", "5.00", "31.00"]
    assert pathlib.Path(out).stat().st_size > 5000
    assert tool.main([runs[2], "--rounds", "0,1"]) == 0
    row = capsys.readouterr().out.splitlines()[-1].split(" | ")
    assert row[0] == (
        "| start synthpedes-dialogues-dual, source captions, refiner none, inference global"
    )
    assert row[1:4] == ["20.00", "-", "20.00"]


def test_differences_are_of_runs_of_equal_seeds(tool, tmp_path, capsys):
    runs = []
    for seed, retain, last in (
        (0, True, 30.0), (1, True, 50.0), (2, True, 90.0), (1, False, 45.0), (0, False, 27.0),
    ):  # fmt: skip
        config = diana.get_config()
        config.seed, config.diana.retain = seed, retain
        runs.append(write_run(tmp_path / f"{retain}{seed}", config, [1.0, last / 2, last]))
    assert tool.main([*runs, "--rounds", "1", "--score", "mAP", "--minus-first"]) == 0
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert lines[0][1] == lines[5][1] == "mAP after 1"
    assert lines[-1][0] == "| retain False, above diana"
    assert lines[-1][1:4] == ["-2.00 ± 0.71", "-4.00 ± 1.41", "-4.00 ± 1.41"]
    assert lines[-1][-1] == "2 |"
    assert tool.main([*runs, "--rounds", "1", "--score", "mean_rank", "--minus-first"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split(" | ")[1] == "2.00 ± 0.71"
    assert tool.main([runs[2], runs[3], "--minus-first"]) == 2
    assert "retain False have seeds [1], those of diana [2]: none" in capsys.readouterr().err
    assert tool.main([runs[0], runs[0], runs[4], "--minus-first"]) == 2
    assert "two runs of diana have the same seed: [0, 0]" in capsys.readouterr().err
    assert tool.main([runs[0], "--minus-first"]) == 2
    assert "needs a second row, got runs of diana alone" in capsys.readouterr().err


def test_runs_that_do_not_fit_are_refused(tool, tmp_path, capsys):
    run = write_run(tmp_path / "clip", clip.get_config(), [1.0, 2.0])
    assert tool.main([run]) == 2
    assert "clip does not search by dialogues" in capsys.readouterr().err
    unfinished = pathlib.Path(write_run(tmp_path / "a", diana.get_config(), [1.0]))
    (unfinished / "results.json").unlink()
    assert tool.main([str(unfinished)]) == 2
    assert "has no results.json" in capsys.readouterr().err
    short = write_run(tmp_path / "b", diana.get_config(), [1.0, 2.0])
    long = write_run(tmp_path / "c", diana.get_config(), [1.0, 2.0, 3.0])
    assert tool.main([short, long, "--out", str(tmp_path / "x.png")]) == 2
    assert "the runs of diana have unequal rounds: [2, 3]" in capsys.readouterr().err
    other = diana.get_config().unlock()
    del other.dialogue.per_image
    assert tool.main([write_run(tmp_path / "d", other, [1.0])]) == 2
    assert "config.dialogue.per_image is missing in a run" in capsys.readouterr().err
