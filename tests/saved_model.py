"""Holds the model that a run saved against the rankings of the run."""

from pathlib import Path

import numpy as np

import jaxreid
from jaxreid.data.sources import Images
from jaxreid.parts import assemble


def check_saved_model(config, folder: Path) -> None:
    """Fails unless RUN/model scores the test split as the run did."""
    parts = assemble(config, str(folder / "tokenizer"), learn=False)
    split, asked = parts.split("test"), parts.queries("test")
    model = jaxreid.load(folder / "model")
    images = model.encode_image([split.images[i] for i in Images(split).image_id])
    if model.searches_by == "triplets":
        photos = [split.images[i] for i in asked.reference]
        queries = model.encode_composed(photos, asked.words)
    elif model.searches_by == "dialogues":
        queries = model.encode_dialogue([d for told in split.dialogues for d in told])
    else:
        queries = model.encode_text(asked.words)
    with np.load(folder / "rankings.npz") as found:
        index, score = found["coarse"], found["coarse_score"]
        final, final_score = found["final"], found["final_score"]
    scores = np.take_along_axis(model.similarity(queries, images), index, axis=1)
    np.testing.assert_allclose(scores, score, rtol=0, atol=2e-6)
    if parts.method.match is None:
        return
    top_k = config.eval.top_k
    matched = model.match(queries, images, final[:, :top_k])
    np.testing.assert_allclose(matched, final_score[:, :top_k], rtol=0, atol=2e-5)
