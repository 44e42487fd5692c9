"""A run that searches by dialogues, from rendering to its files."""

import json
import shutil

import numpy as np
import pytest
from copies import write_copy
from saved_model import check_saved_model

from configs import diana
from jaxreid import run
from jaxreid.parts import assemble


def small(data_dir):
    """A few steps of a thousandth of the network."""
    config = diana.get_config()
    config.start = config.text.tokenizer = ""
    config.data.update(variant="tiny", data_dir=data_dir)
    config.image.size = (64, 32)
    config.text.update(max_tokens=48, vocabulary=2000)
    config.model.embedding = 16
    config.model.vit.update(width=32, depth=1, heads=2, mlp=32)
    config.model.bert.update(width=32, text_depth=1, heads=2, mlp=32, max_positions=48)
    config.train.update(batch_size=16, epochs=(0.5,), log_every=2, evaluate_every=0.5)
    config.optim.warmup_epochs = 0.1
    config.eval.update(batch_size=16, chunk=16, sheet_queries=2)
    config.diana.update(attributes=3, refiner_depth=1, fewest_rounds=1)
    config.dialogue.update(source="dialogues", rounds=0)
    return config


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory):
    """(folder, results) of a run."""
    folder = tmp_path_factory.mktemp("run")
    return folder, run.train(small(data_dir), str(folder))


def test_a_gallery_is_scored_after_every_round(finished):
    folder, results = finished
    rounds = results["rounds"]
    with np.load(folder / "rankings.npz") as found:
        asked, gallery = found["query_person_id"], found["gallery_person_id"]
        said = found["query_caption"]
        first = found["final"][:, 0]
    assert results["queries"] == len(asked) == len(said)
    assert results["gallery"] == len(gallery)
    length = len(rounds["R1"])
    assert all(len(rounds[name]) == length for name in ("R5", "R10", "mAP", "Hits1", "mean_rank"))
    # The last round is the whole dialogue, which the run is scored by.
    for name in ("R1", "R5", "R10", "mAP"):
        assert rounds[name][-1] == pytest.approx(results["final"][name])
    assert 100 * (gallery[first] == asked).mean() == pytest.approx(results["final"]["R1"])
    # Before the first round nothing is said: all queries have one ranking.
    counts = np.bincount(gallery)
    same = [100 * np.isin(asked, person).mean() for person in np.flatnonzero(counts)]
    assert min(abs(rounds["R1"][0] - share) for share in same) < 1e-9
    assert np.all(np.diff(rounds["Hits5"]) >= 0)
    assert 0 < rounds["BRI"] < np.log(len(gallery))
    assert (folder / "rounds.png").stat().st_size > 5000
    assert all("?" in text for text in said)


def test_the_saved_model_ranks_as_the_run(finished, data_dir):
    check_saved_model(small(data_dir), finished[0])


def test_a_run_is_evaluated_by_its_parts_and_as_far_as_asked(finished, data_dir):
    folder, results = finished
    config = small(data_dir)
    config.diana.inference = "global"
    config.dialogue.curve = 2
    found = run.evaluate(config, str(folder))
    assert json.loads((folder / "results-inference-global.json").read_text()) == found
    assert (folder / "rounds-inference-global.png").is_file()
    assert len(found["rounds"]["R1"]) == 3
    assert len(results["rounds"]["R1"]) > 3


def test_captions_are_dialogues_of_no_round(finished, data_dir, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    config = small(data_dir)
    config.dialogue.source = "captions"
    results = run.evaluate(config, str(tmp_path / "run"))
    assert results["queries"] == 2 * results["gallery"]
    assert len(results["rounds"]["R1"]) == 1
    assert results["rounds"]["R1"][0] == pytest.approx(results["final"]["R1"])
    assert "BRI" not in results["rounds"]


def test_dialogues_that_open_with_a_caption_are_read_from_round_0(finished, data_dir, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    config = small(data_dir)
    config.dialogue.update(source="captions")
    described = run.evaluate(config, str(tmp_path / "run"))
    config.dialogue.update(source="both", rounds=2)
    results = run.evaluate(config, str(tmp_path / "run"))
    assert len(results["rounds"]["R1"]) == 3
    # Before the first round the caption is all that is said.
    assert results["rounds"]["R1"][0] == pytest.approx(described["final"]["R1"])
    assert results["rounds"]["mAP"][0] == pytest.approx(described["final"]["mAP"])
    assert results["rounds"]["mAP"][2] == pytest.approx(results["final"]["mAP"])
    with np.load(tmp_path / "run" / "rankings.npz") as found:
        assert max(text.count("?") for text in found["query_caption"]) == 2


def test_captions_may_be_asked_beside_dialogues(finished, data_dir, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    config = small(data_dir)

    def results(source):
        config.dialogue.source = source
        return run.evaluate(config, str(tmp_path / "run"))

    told, said, both = finished[1], results("captions"), results("mixed")
    assert both["queries"] == told["queries"] + said["queries"]
    for name in ("R1", "R10", "mAP"):
        hits = sum(found["queries"] * found["final"][name] for found in (told, said))
        assert both["final"][name] == pytest.approx(hits / both["queries"])


def test_training_alone_is_limited_to_the_first_dialogues_of_an_image(finished, data_dir):
    config = small(data_dir)

    def dialogues(name, per_image):
        config.dialogue.per_image = per_image
        parts = assemble(config, str(finished[0] / "tokenizer"), learn=False)
        return parts.split(name).dialogues

    told = dialogues("train", 0)
    assert all(len(one) == 2 for one in told)
    assert dialogues("train", 1) == tuple(one[:1] for one in told)
    assert dialogues("test", 1) == dialogues("test", 0)


def test_a_data_set_without_dialogues_is_refused(data_dir, tmp_path):
    write_copy(tmp_path, "cuhk_pedes")
    config = small(data_dir)
    config.data.update(name="cuhk_pedes", variant="", manual_dir=str(tmp_path), allow_partial=True)
    with pytest.raises(
        ValueError, match=r"cuhk_pedes has no dialogues; with config\.dialogue\.source"
    ):
        run.train(config, str(tmp_path / "run"))
