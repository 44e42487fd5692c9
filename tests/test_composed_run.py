"""A run that searches by a photo plus words, from rendering to its files."""

import json

import numpy as np
import pytest
from saved_model import check_saved_model

from configs import fafa, word4per
from jaxreid import run


def small(get_config, data_dir):
    """A few steps of a thousandth of the network."""
    config = get_config()
    config.start = config.text.tokenizer = ""
    config.data.update(variant="tiny", data_dir=data_dir)
    config.image.size = (64, 32)
    config.text.update(max_tokens=24, vocabulary=600)
    config.model.embedding = 16
    config.model.vit.update(width=32, depth=1, heads=2, mlp=32)
    config.model.bert.update(width=32, text_depth=2, cross_depth=1, heads=2, mlp=32)
    stages = len(config.train.epochs)
    config.train.update(batch_size=16, epochs=(0.5,) * stages, log_every=2, evaluate_every=0.5)
    config.optim.warmup_epochs = 0.1
    config.eval.update(batch_size=16, chunk=16, sheet_queries=2)
    return config


@pytest.mark.parametrize("recipe", [word4per, fafa], ids=["word4per", "fafa"])
def test_a_run_ranks_both_outfits_and_their_twins_for_photos_plus_words(recipe, data_dir, tmp_path):
    config = small(recipe.get_config, data_dir)
    results = run.train(config, str(tmp_path / "run"))
    with np.load(tmp_path / "run" / "rankings.npz") as found:
        reference, asked = found["query_file"], found["query_person_id"]
        gallery, files = found["gallery_person_id"], found["gallery_file"]
        first = found["final"][:, 0]
    assert results["queries"] == len(reference) == len(asked)
    assert results["gallery"] == len(gallery) == len(set(files.tolist()))
    own = {file: person for file, person in zip(files, gallery, strict=True)}
    # A photo of the person in the clothes that are asked for would be no question.
    assert all(own[file] != person for file, person in zip(reference, asked, strict=True))
    assert set(asked.tolist()) <= set(gallery.tolist())
    assert any("twins" in file for file in files)
    assert 100 * (gallery[first] == asked).mean() == pytest.approx(results["final"]["R1"])
    if recipe is fafa:
        check_saved_model(config, tmp_path / "run")
        return
    config.word4per.query = "image"
    image = run.evaluate(config, str(tmp_path / "run"))
    assert json.loads((tmp_path / "run" / "results-query-image.json").read_text()) == image
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    with np.load(tmp_path / "run" / "rankings-query-image.npz") as found:
        # By the photo alone the nearest image is the photo itself.
        assert (files[found["final"][:, 0]] == reference).mean() > 0.9
