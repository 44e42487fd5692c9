"""The ablation tool shares trainings of CADA between rows and reads each row's own score."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from configs import cada
from jaxreid.arguments import check_arguments
from jaxreid.methods.cada import check
from tools.ablation_rows import CADA_ROWS, CADA_TABLE, STUDIES


@pytest.fixture(scope="module")
def ablation():
    path = Path(__file__).parents[1] / "tools/ablation.py"
    spec = importlib.util.spec_from_file_location("ablation", path)
    module = importlib.util.module_from_spec(spec)
    kept = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = kept
    return module


def jobs_of(ablation, out, rows, seeds=(0,), config=None):
    config = cada.get_config() if config is None else config
    return ablation.make_cada_jobs(
        out, list(rows), list(seeds), ["--config=configs/cada.py"], config
    )


def values(job) -> dict[str, str]:
    """Config fields that a job sets."""
    pairs = (flag.removeprefix("--config.").split("=") for flag in job.flags if "config." in flag)
    return {name: value for name, value in pairs if not name.startswith("--")}


def test_rows_of_one_training_are_trained_once(ablation, tmp_path):
    jobs = jobs_of(ablation, tmp_path, CADA_TABLE, seeds=(0, 3))
    names = ["cmpm", "ndf", "ndf+ara", "ndf+atp", "cada"]
    assert [job.name for job in jobs] == [f"{n}-seed{s}" for s in (0, 3) for n in names]
    assert all(job.source is None for job in jobs)
    assert {job.epochs for job in jobs} == {sum(cada.get_config().train.epochs)}


def test_rows_of_another_k_rank_the_training_again(ablation, tmp_path):
    first, four, many = jobs_of(ablation, tmp_path, ["k-4", "k-64"])
    assert first.name == "cada-seed0"
    for job, k in ((four, "4"), (many, "64")):
        assert (job.source, job.needs) == (tmp_path / first.name, first.done)
        assert job.flags == [*first.flags, f"--config.eval.top_k={k}", "--mode=evaluate"]
        assert job.done.name == "ranked"


def test_every_row_is_a_config_and_no_two_trainings_are_equal(ablation, tmp_path):
    config = cada.get_config()
    config.model.bert.update(text_depth=4, cross_depth=4)  # of which a quarter is whole
    jobs = [j for j in jobs_of(ablation, tmp_path, CADA_ROWS, config=config) if not j.source]
    fields = cada.get_config().to_dict()
    for job in jobs:
        check_arguments(["main", *job.flags])
        built = config.copy_and_resolve_references()
        for name, value in values(job).items():
            section, field = name.rsplit(".", 1) if "." in name else ("", name)
            target = built
            for part in filter(None, section.split(".")):
                target = target[part]
            kind = type(target[field])
            target[field] = value == "True" if kind is bool else kind(value)
        check(built)
    assert fields == cada.get_config().to_dict()
    trained = {tuple(sorted(values(job).items())) for job in jobs}
    assert len(trained) == len(jobs) == len({CADA_ROWS[r].training for r in CADA_ROWS})


def test_groups_are_scaled_to_the_tokens_of_the_recipe(ablation, tmp_path):
    def groups(row, config):
        (job,) = jobs_of(ablation, tmp_path, [row], config=config)
        return tuple(values(job).get(f"cada.group_{name}") for name in ("size", "stride"))

    paper, small = cada.get_config("cuhk_pedes"), cada.get_config()
    assert groups("groups-48-24", paper) == ("48", "24")
    assert groups("groups-48-24", small) == ("27", "13")  # of 40 tokens
    assert groups("groups-72-72", small) == ("40", "40")
    assert groups("ndf+atp-l", small) == (None, None)


def test_a_share_of_layers_that_is_not_whole_is_refused(ablation, tmp_path, capsys):
    command = ["--config=configs/cada.py", "--rows=decoder-quarter", f"--out={tmp_path}"]
    command.append("--config.model.bert.text_depth=2")
    assert ablation.main(command) == 2
    error = capsys.readouterr().err
    assert "--rows: decoder-quarter needs a model.bert.text_depth of which 0.25 is whole" in error


def test_local_and_global_rows_read_their_own_score(ablation, tmp_path):
    for name, coarse, final in (("cmpm", 30.0, 30.0), ("cada", 50.0, 60.0), ("k-4", 50.0, 57.0)):
        folder = tmp_path / f"{name}-seed0"
        folder.mkdir()
        blocks = {
            block: {"R1": score, "mAP": score / 2}
            for block, score in (("coarse", coarse), ("final", final))
        }
        (folder / "results.json").write_text(json.dumps(blocks))
        (folder / "metrics.jsonl").write_text('{"step": 20, "seconds": 60}\n')
    rows = ["cmpm", "cada-g", "cada-l", "k-4", "ndf"]
    table = ablation.collect(tmp_path, rows, [0], STUDIES["cada"])
    assert [entry["row"] for entry in table] == rows[:4]
    assert [entry["final_R1"]["mean"] for entry in table] == [30.0, 50.0, 60.0, 57.0]
    assert [entry["gain"]["mean"] for entry in table] == [0.0, 20.0, 30.0, 27.0]
    text = ablation.render(table, "data", STUDIES["cada"])
    assert "| cada-l | 78.37 | 60.00 | 30.00 | 30.00 | 50.00 | 25.00 | 0 | 20 | 1.0 |" in text
    assert "| k-4 | - | 57.00 |" in text


def test_a_run_is_copied_without_its_results(ablation, tmp_path):
    source, target = tmp_path / "cada-seed0", tmp_path / "k-4-seed0"
    for name in ("config.json", "results.json", "rankings.npz", "ranks.png", "checkpoints/9/state"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("x")
    ablation.copy_training(source, target)
    assert sorted(p.name for p in target.iterdir()) == ["checkpoints", "config.json"]


def test_jobs_run_in_order_and_the_table_is_written(ablation, tmp_path, monkeypatch):
    noted = []

    def run_one(job, out, *rest):
        noted.append(job.name)
        folder = out / job.name
        folder.mkdir(exist_ok=True)
        blocks = {b: {"R1": 40.0 + len(noted), "mAP": 20.0} for b in ("coarse", "final")}
        (folder / "results.json").write_text(json.dumps(blocks))
        (folder / "metrics.jsonl").write_text('{"step": 20, "seconds": 60}\n')
        return 0

    monkeypatch.setattr(ablation, "_run_one", run_one)
    command = ["--config=configs/cada.py", "--rows=ndf,cada-l,k-4", f"--out={tmp_path}"]
    assert ablation.main(command) == 0
    assert noted == ["ndf-seed0", "cada-seed0", "k-4-seed0"]
    assert ablation.main(command) == 0
    assert len(noted) == 3  # all have finished
    table = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert [(e["row"], e["final_R1"]["mean"]) for e in table] == [
        ("ndf", 41.0), ("cada-l", 42.0), ("k-4", 43.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--rows=laip", "--rows must be of cmpm, "),
        ("--config.cada.atp=false", "--config.cada.atp cannot be given: --rows sets it"),
        ("--config.model.bert.cross_depth=1", "cross_depth cannot be given: --rows sets it"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_sentence(ablation, tmp_path, capsys, flag, message):
    assert ablation.main(["--config=configs/cada.py", f"--out={tmp_path}", flag]) == 2
    assert message in capsys.readouterr().err
