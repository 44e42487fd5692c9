"""A run in a folder: its files, the same numbers again, and what keeps it from starting."""

import json
import shutil

import jax
import numpy as np
import pytest
from copies import records, write_annotations, write_copy
from reads import recorded_reads, unread
from saved_model import check_saved_model

from configs import albef
from jaxreid import parts, run
from jaxreid.data.records import AnnotationError
from jaxreid.mesh import make_mesh
from jaxreid.runlog import TIMING

BLOCKS = ("chance", "coarse", "final")


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """A mesh of two of the devices, and little optimised: most time here is compilation."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "make_mesh", lambda: make_mesh(jax.devices()[:2]))
        yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Folder of prepared data; the compiled programs in it spare the second run its compilation."""
    cache = jax.config.jax_compilation_cache_dir
    yield str(tmp_path_factory.mktemp("data"))
    jax.config.update("jax_compilation_cache_dir", cache)


def _recipe(data_dir, variant="tiny"):
    """ALBEF of a thousandth of its size: twelve steps of two stages on 192 pairs."""
    config = albef.get_config()
    config.start = config.text.tokenizer = ""
    config.start = ""
    config.data.variant = variant
    config.data.data_dir = data_dir
    config.image.size = (64, 32)
    config.text.update(tokenizer="", max_tokens=16, vocabulary=300)
    config.model.embedding = 16
    config.model.vit.update(width=32, depth=1, heads=2, mlp=32)
    config.model.bert.update(width=32, text_depth=1, cross_depth=1, heads=2, mlp=32)
    config.train.update(batch_size=16, epochs=(0.5, 0.5), log_every=3, evaluate_every=0.5)
    config.optim.warmup_epochs = 0.1
    config.eval.update(batch_size=16, top_k=4, sheet_queries=2)
    config.albef.queue_length = 32
    return config


def _published(data_dir, folder, data_set="cuhk_pedes"):
    """The recipe on a tiny copy of a published data set under a folder."""
    config = _recipe(data_dir, "")
    config.data.update(name=data_set, manual_dir=str(folder), allow_partial=True)
    config.train.batch_size = 8
    return config


@pytest.fixture(scope="module")
def recorded(data_dir, tmp_path_factory):
    """((config, folder, results), fields read) of a finished run."""
    config = _recipe(data_dir)
    folder = tmp_path_factory.mktemp("runs") / "run"
    with recorded_reads() as reads:
        return (config, folder, run.train(config, str(folder))), reads


@pytest.fixture(scope="module")
def finished(recorded):
    """(config, folder, results) of a finished run, which no test changes."""
    return recorded[0]


@pytest.fixture
def copied(finished, tmp_path):
    """(config, folder, results) of a copy of the finished run, which a test may spoil."""
    config, folder, results = finished
    shutil.copytree(folder, tmp_path / "run")
    return config.copy_and_resolve_references(), tmp_path / "run", results


def _scores(results):
    return {block: results[block] for block in BLOCKS}


def _metrics(folder):
    """Lines of metrics.jsonl without what depends on the clock."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key not in TIMING} for line in lines]


# A run and its files


def test_run_leaves_all_its_files(finished):
    _, folder, _ = finished
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "metrics.jsonl", "tensorboard", "tokenizer", "checkpoints",
        "results.json", "rankings.npz", "ranks.png", "model",
    }  # fmt: skip
    assert [path.name for path in (folder / "checkpoints").iterdir() if path.name.isdigit()]
    assert list((folder / "tensorboard").iterdir())


def test_the_saved_model_ranks_and_re_ranks_as_the_run(finished):
    config, folder, _ = finished
    check_saved_model(config, folder)


def test_saved_config_is_the_one_given(finished):
    config, folder, _ = finished
    saved = json.loads((folder / "config.json").read_text())
    assert saved == json.loads(config.to_json_best_effort())


def test_metrics_hold_the_steps_of_both_stages_and_val(finished):
    lines = _metrics(finished[1])
    assert [(line["step"], line["stage"]) for line in lines if "loss" in line] == [
        (3, 1), (6, 1), (9, 2), (12, 2),
    ]  # fmt: skip
    assert [line["step"] for line in lines if "val/R1" in line] == [6, 12]


def test_results_hold_all_blocks(finished):
    _, folder, results = finished
    assert json.loads((folder / "results.json").read_text()) == results
    assert (results["queries"], results["gallery"]) == (64, 32)
    for block in BLOCKS:
        assert set(results[block]) == {"R1", "R5", "R10", "mAP", "mINP"}
        assert all(0 <= score <= 100 for score in results[block].values())
    assert results["step"] in (6, 12)
    assert {"train", "encode_gallery", "encode_queries", "similarity", "rerank"} <= set(
        results["seconds"]
    )
    assert {"jaxreid", "jax", "flax", "optax", "python"} <= set(results["versions"])


def test_rankings_give_the_scores_again(finished):
    _, folder, results = finished
    with np.load(folder / "rankings.npz") as arrays:
        right = arrays["gallery_person_id"][arrays["final"]] == arrays["query_person_id"][:, None]
    assert 100 * right[:, 0].mean() == pytest.approx(results["final"]["R1"])
    assert 100 * right[:, :5].any(axis=1).mean() == pytest.approx(results["final"]["R5"])


def test_run_reads_every_field(recorded):
    (config, _, _), reads = recorded
    phrases = {"text.tagger", "text.min_words", "text.max_phrase_tokens"}  # of LAIP
    composed = {"data.triplets"}  # of methods that search by a photo plus words
    published = {"start_rules.kind", "start_rules.needs"}  # of runs from published files
    assert set(unread(config, reads)) == phrases | composed | published


# Again


def test_evaluating_a_run_gives_its_scores_whatever_training_the_config_says(copied):
    config, folder, results = copied
    shutil.rmtree(folder / "tensorboard")
    (folder / "results.json").unlink()
    config.optim.update(learning_rate=0.5, clip_norm=0.0)
    config.albef.queue_length = 64
    config.train.steps_per_epoch = 3
    again = run.evaluate(config, str(folder))
    assert _scores(again) == _scores(results)
    assert json.loads((folder / "results.json").read_text()) == again


def test_finished_run_is_not_trained_again(copied, monkeypatch):
    config, folder, results = copied
    before = (folder / "metrics.jsonl").read_bytes()
    monkeypatch.setattr(run, "jit_train_step", lambda *arguments: None)  # makes no step
    again = run.train(config, str(folder))
    assert _scores(again) == _scores(results)
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_two_runs_of_a_config_give_the_same_numbers(finished, tmp_path):
    config, folder, results = finished
    again = run.train(config, str(tmp_path / "again"))
    assert _metrics(tmp_path / "again") == _metrics(folder)
    assert _scores(again) == _scores(results)
    with (
        np.load(folder / "rankings.npz") as first,
        np.load(tmp_path / "again/rankings.npz") as second,
    ):
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])


def test_evaluating_on_another_data_set_leaves_the_results_alone(copied, data_dir, tmp_path):
    _, folder, _ = copied
    write_copy(tmp_path, "cuhk_pedes")
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    vocabulary = (folder / "tokenizer/vocab.txt").read_bytes()
    other = _published(data_dir, tmp_path)
    results = run.evaluate(other, str(folder))
    assert (results["queries"], results["gallery"]) == (8, 4)
    assert json.loads((folder / "results-cuhk_pedes.json").read_text()) == results
    assert (folder / "rankings-cuhk_pedes.npz").exists()
    assert (folder / "ranks-cuhk_pedes.png").exists()
    assert {path: path.read_bytes() for path in before} == before
    assert (folder / "tokenizer/vocab.txt").read_bytes() == vocabulary


# What keeps an evaluation from starting


def test_evaluation_without_a_run_is_refused(data_dir, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run in .*config\.json is missing"):
        run.evaluate(_recipe(data_dir), str(tmp_path / "none"))


def test_evaluation_without_a_checkpoint_is_refused(copied):
    config, folder, _ = copied
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint in .*: nothing was trained"):
        run.evaluate(config, str(folder))
    assert not (folder / "checkpoints").exists()


@pytest.mark.parametrize("data_set", ["synthpedes", "cuhk_pedes"])
def test_evaluation_without_the_vocabulary_of_the_run_is_refused(
    copied, data_dir, tmp_path, data_set
):
    config, folder, _ = copied
    shutil.rmtree(folder / "tokenizer")
    if data_set == "cuhk_pedes":
        write_copy(tmp_path, "cuhk_pedes")
        config = _published(data_dir, tmp_path)
    with pytest.raises(FileNotFoundError, match="tokenizer is missing, the vocabulary of the run"):
        run.evaluate(config, str(folder))
    assert not (folder / "tokenizer").exists()


def test_evaluation_of_another_network_is_refused(copied):
    config, folder, _ = copied
    config.image.size = (32, 32)
    config.model.vit.depth = 2
    with pytest.raises(ValueError) as caught:
        run.evaluate(config, str(folder))
    assert str(caught.value) == (
        f"the run in {folder} is of another config: image.size: [64, 32] -> [32, 32]; "
        "model.vit.depth: 1 -> 2"
    )


def test_evaluation_may_differ_in_what_only_training_uses(copied):
    config, folder, results = copied
    config.image.update(flip=0.25, pad=2, erase_probability=0.5)
    config.train.batch_size = 7  # does not divide over the two devices
    config.data.images_per_person = 3
    assert _scores(run.evaluate(config, str(folder))) == _scores(results)


def test_a_given_vocabulary_is_kept_with_the_run(copied, tmp_path):
    config, folder, _ = copied
    given = tmp_path / "given"
    shutil.copytree(folder / "tokenizer", given)
    (given / "notes.md").write_text("not of the vocabulary")
    config.text.tokenizer = str(given)
    first = parts.assemble(config, str(tmp_path / "kept"), learn=True)
    names = {path.name for path in (tmp_path / "kept").iterdir()}
    assert names == {"vocab.txt", "tokenizer_config.json"}
    shutil.rmtree(given)
    again = parts.assemble(config, str(tmp_path / "kept"), learn=False)
    assert again.config.text.tokenizer == first.config.text.tokenizer == str(tmp_path / "kept")
    for one, other in zip(*(x.queries("test").records for x in (again, first)), strict=True):
        np.testing.assert_array_equal(one["text"]["tokens"], other["text"]["tokens"])


def test_of_many_differences_a_few_are_told(copied):
    config, folder, _ = copied
    config.model.bert.update(width=16, text_depth=2, cross_depth=2, heads=4, mlp=16, dropout=0.5)
    with pytest.raises(ValueError, match=r"; and 1 more fields$"):
        run.evaluate(config, str(folder))


def test_run_of_another_config_is_not_gone_on_with(copied):
    config, folder, _ = copied
    config.seed = 1
    config.data.workers = 2  # free to differ
    with pytest.raises(ValueError) as caught:
        run.train(config, str(folder))
    assert str(caught.value) == (
        f"{folder} holds a run of another config: seed: 0 -> 1; give another --workdir"
    )


def test_broken_config_of_a_run_is_named(copied):
    config, folder, _ = copied
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        run.train(config, str(folder))


# Results that cannot be written


@pytest.mark.parametrize("broken", ["write_npz", "save_sheet", "write_json"])
def test_failed_write_leaves_no_results(copied, monkeypatch, broken):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    config, folder, _ = copied
    monkeypatch.setattr(run.results, broken, fail)
    with pytest.raises(OSError, match=r"results\.json could not be written.* No space left"):
        run.evaluate(config, str(folder))
    assert not (folder / "results.json").exists()


# What keeps a run from starting


def _no_folder(config, tmp_path):
    config.text.tokenizer = str(tmp_path / "none")


def _empty_folder(config, tmp_path):
    (tmp_path / "empty").mkdir()
    config.text.tokenizer = str(tmp_path / "empty")


def _file_as_workdir(config, tmp_path):
    (tmp_path / "run").write_text("")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"eval.top_k": 33, "eval.rerank_val": False},
            r"config\.eval\.top_k must be in 0\.\.32, the test gallery of synth",
        ),
        ({"eval.top_k": 33, "eval.rerank_val": True}, r"in 0\.\.32, the val gallery of synthpedes"),
        (
            {"train.batch_size": 200, "albef.queue_length": 200},
            r"at most the 192 captions of synthpedes train, got 200",
        ),
        (
            {"train.batch_size": 200, "train.steps_per_epoch": 4, "albef.queue_length": 200},
            r"train\.batch_size must be in 1\.\.192 \(the pairs of image and caption",
        ),
        (
            {"data.images_per_person": 2, "train.batch_size": 64, "albef.queue_length": 64},
            r"batch of 64 with data\.images_per_person=2 needs 32 people, the split has 24",
        ),
        ({"train.batch_size": 9}, r"train\.batch_size must be a positive multiple of the 8 devic"),
        ({"eval.pair_batch": 4}, r"eval\.pair_batch must be a positive multiple of the 8 devices"),
        ({"albef.queue_length": 8}, r"albef\.queue_length must be at least train\.batch_size 16"),
        ({"albef.queue_length": 2**40}, r"albef\.queue_length must be .* at most 16777216, got 10"),
        (
            {"data.variant": "tyni"},
            r"unknown variant of synthpedes 'tyni'; allowed are default, ",
        ),
        ({"text.vocabulary": 20}, r"vocabulary_size must be at least \d+ for these captions"),
        (_no_folder, r"config\.text\.tokenizer: no tokenizer folder '.*none'"),
        (_empty_folder, r"config\.text\.tokenizer: no vocab\.txt or tokenizer\.json in the folder"),
        (_file_as_workdir, r"--workdir must be a folder, got a file"),
        (
            {"optim.groups": ((r"vit/.*", 1.0, 0.0), (r"text/.*", 1.0, 0.0))},
            r"optim\.groups: no pattern covers parameter 'cross/",
        ),
        (
            {"optim.groups": ((r".*", 1.0, 0.0), (r"text/.*", 1.0, 0.0))},
            r"optim\.groups: pattern 'text/\.\*' covers no parameter",
        ),
    ],
)
def test_run_that_cannot_end_well_does_not_start(data_dir, tmp_path, change, message):
    config = _recipe(data_dir)
    if callable(change):
        change(config, tmp_path)
    else:
        config.update_from_flattened_dict(change)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run.train(config, str(tmp_path / "run"))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"albef.momentum": 1.5}, r"albef\.momentum must be in \[0, 1\), got 1\.5"),
        ({"albef.queue_length": 8}, r"albef\.queue_length must be at least train\.batch_size 16"),
        ({"image.flip": 2.0}, r"image\.flip must be a probability in \[0, 1\], got 2\.0"),
        (_no_folder, r"config\.text\.tokenizer: no tokenizer folder '.*none'"),
    ],
)
def test_what_needs_no_data_is_refused_before_any_is_prepared(tmp_path, change, message):
    config = _recipe(str(tmp_path / "data"))
    if callable(change):
        change(config, tmp_path)
    else:
        config.update_from_flattened_dict(change)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run.train(config, str(tmp_path / "run"))
    assert not (tmp_path / "data").exists()


def test_run_that_did_not_start_leaves_its_folder_to_another(data_dir, tmp_path):
    config = _recipe(data_dir)
    config.optim.groups = ((r"vit/.*", 1.0, 0.0),)
    with pytest.raises(ValueError, match="covers"):
        run.train(config, str(tmp_path / "run"))
    config.seed = 5
    with pytest.raises(ValueError, match="covers"):  # the same again, not another config
        run.train(config, str(tmp_path / "run"))
    assert json.loads((tmp_path / "run/config.json").read_text())["seed"] == 5


def _spoiled(change):
    """Annotations of a tiny copy of which the sixth record is changed."""
    content = records("cuhk_pedes")
    change(content[5])
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(captions=["A man.", " "]), "key 'captions': caption 1 is blank"),
        (lambda r: r.update(captions="A man."), "key 'captions': must be a list of sentences"),
        (lambda r: r.update(id="7"), "key 'id': must be an integer, got '7'"),
        (lambda r: r.update(split="trian"), "key 'split': must be one of train, val, test"),
        (lambda r: r.update(file_path="none.png"), "none.png is missing or unreadable"),
        (
            lambda r: r.update(file=r.pop("file_path")),
            "key 'file_path': is missing (is 'file' meant?); the keys are",
        ),
    ],
)
def test_bad_record_is_named(data_dir, tmp_path, change, message):
    folder = write_copy(tmp_path, "cuhk_pedes")
    write_annotations(folder, "cuhk_pedes", _spoiled(change))
    with pytest.raises(AnnotationError) as caught:
        run.train(_published(data_dir, tmp_path), str(tmp_path / "run"))
    assert str(caught.value).startswith(f"{folder / 'reid_raw.json'}, record 5, ")
    assert message in str(caught.value)


def test_caption_without_words_is_named(data_dir, tmp_path):
    folder = write_copy(tmp_path, "cuhk_pedes")
    content = _spoiled(lambda record: record.update(captions=["...", "A man."]))
    write_annotations(folder, "cuhk_pedes", content)
    with pytest.raises(AnnotationError) as caught:
        run.train(_published(data_dir, tmp_path), str(tmp_path / "run"))
    assert str(caught.value) == (
        f"cuhk_pedes train, record 5, key 'captions': {content[5]['file_path']}: "
        "caption 0 has no words: '...'"
    )


def test_damaged_pixels_are_named(tmp_path):
    folder = write_copy(tmp_path, "cuhk_pedes")
    path = folder / "imgs" / records("cuhk_pedes")[0]["file_path"]
    path.write_bytes(path.read_bytes()[:-40])
    config = _published(str(tmp_path / "data"), tmp_path)
    with pytest.raises(AnnotationError, match=r"cam_0/0001_0\.png cannot be decoded"):
        run.train(config, str(tmp_path / "run"))


def test_folder_without_the_data_set_says_what_is_looked_for(data_dir, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no annotation file of cuhk_pedes .*reid_raw"):
        run.train(_published(data_dir, tmp_path), str(tmp_path / "run"))


def test_training_without_val_says_how_to_get_one(tmp_path):
    write_copy(tmp_path, "icfg_pedes")
    config = _published(str(tmp_path / "data"), tmp_path, "icfg_pedes")
    with pytest.raises(ValueError, match=r"config\.data\.val_people must be > 0 to train on icfg"):
        run.train(config, str(tmp_path / "run"))
    assert not (tmp_path / "data").exists()  # nothing was prepared
    assert not (tmp_path / "run").exists()


def test_absent_val_split_is_named(data_dir, tmp_path):
    folder = write_copy(tmp_path, "cuhk_pedes")
    content = [record for record in records("cuhk_pedes") if record["split"] != "val"]
    write_annotations(folder, "cuhk_pedes", content)
    with pytest.raises(ValueError, match="has no split 'val', only test, train"):
        run.train(_published(data_dir, tmp_path), str(tmp_path / "run"))
