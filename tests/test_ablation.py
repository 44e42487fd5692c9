"""The ablation tool trains what its rows say, loses no finished run and reads results right."""

import importlib.util
import json
import re
import signal
import sys
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from configs import laip
from jaxreid import parts, run
from jaxreid.arguments import check_arguments
from jaxreid.mesh import make_mesh
from jaxreid.methods.laip import ATTENTIONS, RECONSTRUCTIONS
from jaxreid.runlog import TIMING
from tools.ablation_rows import LAIP_ROWS, Row


@pytest.fixture(scope="module")
def ablation():
    path = Path(__file__).parents[1] / "tools/ablation.py"
    spec = importlib.util.spec_from_file_location("ablation", path)
    module = importlib.util.module_from_spec(spec)
    kept = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = kept
    return module


@pytest.fixture
def calls(ablation, monkeypatch):
    """Runs are noted, and finish with the exit code that is set for them."""
    noted, codes = [], {}

    def run_one(job, out, later, clock, stop, lock):
        noted.append(job.name)
        (out / f"{job.name}.log").write_text("step 1\nerror: no such thing\n")
        folder = out / job.name
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text('{"train": {}, "laip": {}}')
        code = codes.get(job.name, 0)
        if code == 0 and job.done.name == "results.json":
            write_run(folder, 50.0)
        return code

    monkeypatch.setattr(ablation, "_run_one", run_one)
    return noted, codes


def write_run(folder, r1, seconds=(30, 60)):
    """The files of a finished run that the table reads."""
    folder.mkdir(parents=True, exist_ok=True)
    scores = {"R1": r1, "mAP": r1 / 2}
    coarse = {"R1": r1 - 10, "mAP": r1 / 2 - 10}
    (folder / "results.json").write_text(json.dumps({"final": scores, "coarse": coarse}))
    lines = [{"step": 10 * i + 10, "seconds": s} for i, s in enumerate(seconds)]
    lines.append({"step": 10 * len(seconds), "val/R1": 3.0})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def tiny(folder: Path, **fields):
    """Six steps of a network of 16 channels, three in each stage."""
    config = laip.get_config()
    config.start = config.text.tokenizer = ""
    config.data.update(variant="tiny", data_dir=str(folder / "data"))
    config.image.size = (32, 16)
    config.text.update(max_tokens=12, max_phrase_tokens=8, vocabulary=150, tagger="lexicon")
    config.model.embedding = 8
    config.model.vit.update(width=16, depth=1, heads=2, mlp=16)
    config.model.bert.update(
        width=16, text_depth=1, cross_depth=1, heads=2, mlp=16, max_positions=12
    )
    # The end of the first stage is neither saved nor evaluated but for the stop.
    config.train.update(
        batch_size=8, epochs=(1, 1), steps_per_epoch=3, log_every=1, save_every=2, evaluate_every=2
    )
    config.eval.update(batch_size=8, chunk=8, pair_batch=8, top_k=2)
    config.laip.update(queue_length=16, phrases=2, attention="none", triplet=False)
    for name, value in fields.items():
        config[name].update(value)
    return config


def test_a_row_through_the_shared_first_stage_equals_the_row_alone(ablation, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "make_mesh", lambda: make_mesh(jax.devices()[:1]))
    monkeypatch.setattr(run, "_validate", lambda parts, params: {"R1": 1.0})
    monkeypatch.setattr(run, "_finish", lambda parts, params, *rest: params)
    monkeypatch.setattr(run, "write_model", lambda *arguments: None)
    cache = jax.config.jax_compilation_cache_dir
    optimised = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)  # most time here is compilation
    first, shared, alone = tmp_path / "first", tmp_path / "shared", tmp_path / "alone"
    try:
        assert run.train(tiny(tmp_path, train={"stop_after": 1}), str(first)) == {}
        ablation.copy_first_stage(first, shared, Row("none", "mlm", False, 0.0))
        for folder in (shared, alone):
            run.train(tiny(tmp_path, laip={"reconstruction": "mlm"}), str(folder))
    finally:
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_disable_most_optimizations", optimised)
    assert metrics(shared) == metrics(alone)
    assert [line["step"] for line in metrics(shared) if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert ["mlm" in line for line in metrics(shared)[:6]] == [False] * 3 + [True] * 3
    equal = jax.tree.map(np.array_equal, *(last_state(folder) for folder in (shared, alone)))
    assert jax.tree.all(equal)


def metrics(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMING} for line in lines]


def last_state(folder):
    return ocp.StandardCheckpointer().restore(folder / "checkpoints" / "6" / "state")


def test_every_row_is_a_config(ablation, tmp_path):
    for row, part in LAIP_ROWS.items():
        assert part.attention in ATTENTIONS
        assert part.reconstruction in RECONSTRUCTIONS
        for job in ablation.make_jobs(
            tmp_path, [row], [0], ["--config=configs/laip.py"], (4, 2), share=True
        ):
            check_arguments(["main", *job.flags])
    assert len({part[:3] for part in LAIP_ROWS.values()}) == len(LAIP_ROWS)


def test_rows_of_a_seed_follow_its_first_stage(ablation, tmp_path):
    jobs = ablation.make_jobs(tmp_path, ["albef", "mpm"], [0, 3], [], (4, 1, 2), share=True)
    assert [job.name for job in jobs] == [
        "first-seed0", "albef-seed0", "mpm-seed0", "first-seed3", "albef-seed3", "mpm-seed3",
    ]  # fmt: skip
    assert "--config.train.stop_after=2" in jobs[3].flags
    assert all("--config.seed=3" in job.flags for job in jobs[3:])
    assert [job.epochs for job in jobs[:3]] == [5, 2, 2]
    assert jobs[4].source == tmp_path / "first-seed3"


def test_one_stage_cannot_be_shared(ablation, tmp_path):
    jobs = ablation.make_jobs(tmp_path, ["albef"], [0], [], (4,), share=True)
    assert [(job.name, job.source, job.epochs) for job in jobs] == [("albef-seed0", None, 4)]


def test_a_copied_first_stage_is_of_the_row_and_replaces_nothing(ablation, tmp_path):
    source, target = tmp_path / "first", tmp_path / "row"
    for name in ("finished", "metrics.jsonl", "checkpoints/4/state"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("new")
    config = {"seed": 3, "train": {"stop_after": 1}, "laip": {"attention": "none", "layer": 2}}
    (source / "config.json").write_text(json.dumps(config))
    row = Row("forward", "mlm", False, 0.0)
    ablation.copy_first_stage(source, target, row)
    names = sorted(path.name for path in target.iterdir())
    assert names == ["checkpoints", "config.json", "metrics.jsonl"]
    assert json.loads((target / "config.json").read_text()) == {
        "seed": 3,
        "train": {"stop_after": 0},
        "laip": {"attention": "forward", "reconstruction": "mlm", "triplet": False, "layer": 2},
    }
    (target / "metrics.jsonl").write_text("trained further")
    ablation.copy_first_stage(source, target, row)
    assert (target / "metrics.jsonl").read_text() == "trained further"


def test_a_failed_run_loses_no_other(ablation, calls, tmp_path, capsys):
    noted, codes = calls
    codes["albef-seed0"] = 1
    command = ["--rows", "albef,mpm", "--seeds", "0", "--out", str(tmp_path)]
    assert ablation.main(command) == 1
    printed = capsys.readouterr().out
    assert "albef-seed0: failed with exit code 1: error: no such thing" in printed
    assert noted == ["first-seed0", "albef-seed0", "mpm-seed0"]
    codes.clear()
    noted.clear()
    assert ablation.main(command) == 0
    assert noted == ["albef-seed0"]  # the others have finished
    assert [row["row"] for row in table(tmp_path)] == ["albef", "mpm"]


def test_rows_wait_for_their_first_stage(ablation, calls, tmp_path):
    noted, codes = calls
    codes["first-seed0"] = 2
    assert ablation.main(["--rows", "mpm", "--seeds", "0,1", "--out", str(tmp_path)]) == 1
    assert noted == ["first-seed0", "first-seed1", "mpm-seed1"]


def test_a_signal_ends_the_ablation_and_keeps_what_is_done(
    ablation, calls, tmp_path, monkeypatch, capsys
):
    noted, _ = calls
    finish = ablation._run_one

    def stopped(job, *rest):
        if job.name == "mpm-seed0":
            signal.raise_signal(signal.SIGINT)
            return 143
        return finish(job, *rest)

    monkeypatch.setattr(ablation, "_run_one", stopped)
    command = ["--rows", "albef,mpm,laip", "--seeds", "0", "--out", str(tmp_path)]
    assert ablation.main(command) == 128 + signal.SIGINT
    assert noted == ["first-seed0", "albef-seed0"]
    assert [row["row"] for row in table(tmp_path)] == ["albef"]
    assert "the same command goes on" in capsys.readouterr().out


def test_the_table_has_mean_spread_and_paired_gain(ablation, tmp_path):
    for seed, (albef, other) in enumerate([(40.0, 41.0), (44.0, 47.0)]):
        write_run(tmp_path / f"albef-seed{seed}", albef)
        write_run(tmp_path / f"mpm-seed{seed}", other)
    write_run(tmp_path / "mpm-seed2", 50.0)
    mpm, albef = ablation.collect(tmp_path, ["mpm", "laip", "albef"], [0, 1, 2])
    assert mpm["final_R1"]["values"] == [41.0, 47.0, 50.0]
    assert mpm["final_R1"]["mean"] == 46.0
    assert mpm["final_R1"]["deviation"] == pytest.approx(np.std([41, 47, 50], ddof=1))
    assert mpm["coarse_mAP"]["mean"] == 13.0
    assert mpm["gain"]["values"] == [1.0, 3.0]  # of seeds that both have
    assert albef["gain"]["mean"] == 0.0
    assert (mpm["steps"], mpm["minutes"]) == (20, 1.5)
    text = ablation.render([mpm, albef], "data")
    assert "| mpm | 75.45 | 46.00 ± 4.58 | 2.00 ± 1.41 | 23.00 ± 2.29 |" in text


def test_one_seed_has_no_spread(ablation, tmp_path):
    write_run(tmp_path / "mpm-seed0", 50.0)
    text = ablation.render(ablation.collect(tmp_path, ["mpm"], [0]), "data")
    assert "| mpm | 75.45 | 50.00 | - | 25.00 | 40.00 | 15.00 | 0 | 20 | 1.5 |" in text


def test_progress_counts_the_steps_of_this_process(ablation):
    assert ablation.progress("") == (0, 0, 0.0)
    assert ablation.progress("a step 10/40 b\nc step 30/40 d") == (30, 40, 0.75)
    resumed = "going on from step 20 of 40\nc step 30/40 d"
    assert ablation.progress(resumed) == (30, 40, 0.5)


def test_time_left_counts_all_jobs(ablation, tmp_path):
    first, *rows = ablation.make_jobs(tmp_path, ["albef", "mpm"], [0], [], (4, 2), share=True)
    clock = ablation.Clock()
    assert clock.left(first, 0.0, 10, rows) is None
    # 40 s an epoch so far: 2 epochs of the first stage and 2 of each row are left.
    assert clock.left(first, 0.5, 80, rows) == pytest.approx(6 * 40)
    clock.finished(first, 160)
    # Rows are slower: 100 s an epoch.
    assert clock.left(rows[0], 0.5, 100, rows[1:]) == pytest.approx(100 + 200)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rows", "albeff"], "--rows must be of albef, .* got 'albeff'"),
        (["--seeds", "0,x"], "--seeds must be whole numbers from 0, got 'x'"),
        (["--seeds", "-1"], "--seeds must be whole numbers from 0, got '-1'"),
        (["--config.laip.triplet=false"], "--config.laip.triplet cannot be given: --rows sets it"),
        (["--config.seed=3"], "--config.seed cannot be given: --seeds sets it"),
        (["--config.train.epoch=3"], "unknown field config.train.epoch"),
        (["--workdir=x"], "unknown argument '--workdir=x'"),
        (
            ["--config=configs/albef.py"],
            "--config must be a recipe of laip or cada, got one of albef",
        ),
        (["--config.train.batch_size=0"], "config.train.batch_size must be"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_sentence(
    ablation, calls, tmp_path, capsys, flags, message
):
    assert ablation.main(["--out", str(tmp_path), *flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert calls[0] == []


def test_a_folder_keeps_to_one_config(ablation, calls, tmp_path, capsys):
    command = ["--rows", "mpm", "--out", str(tmp_path)]
    assert ablation.main(command) == 0
    assert ablation.main([*command, "--config.train.batch_size=32"]) == 2
    assert "another config: train.batch_size: 64 -> 32" in capsys.readouterr().err


def test_two_ablations_do_not_share_a_folder(ablation, calls, tmp_path, capsys):
    with ablation._only_one(tmp_path):
        assert ablation.main(["--rows", "mpm", "--out", str(tmp_path)]) == 2
    assert "an ablation is running in" in capsys.readouterr().err


def table(folder):
    return json.loads((folder / "table.json").read_text())["rows"]
