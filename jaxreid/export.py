"""Saves what a run has learnt in a form that needs neither the run nor its data; see `model`."""

import json
import os
from pathlib import Path
from typing import Any

import jax
from absl import logging

import jaxreid
from jaxreid.best import best_params, check_trained
from jaxreid.card import model_card
from jaxreid.data.bpe import FILES as BPE_FILES
from jaxreid.data.text import download, read_json
from jaxreid.files import write_atomic, write_json
from jaxreid.mesh import fetch
from jaxreid.model import CARD, CONFIG, FORMAT, VOCABULARY, WEIGHTS, config_hash
from jaxreid.optim import parameter_name
from jaxreid.parts import PEOPLE, Parts, assemble, copy_vocabulary, method_module
from jaxreid.saved import run_config
from jaxreid.weights.safetensors_file import write_safetensors


def save(run: str | os.PathLike, folder: str | os.PathLike) -> None:
    """Writes the best checkpoint of a run as a model that `jaxreid.load` reads.

    Training does so at its end, into RUN/model.

    Args:
      run: folder of a run; its data need not be there.
      folder: gets config.json, model.safetensors, tokenizer/ and README.md, the model card; a model
        that is there is replaced.

    Raises:
      FileNotFoundError: there is no run, or nothing was trained.
      ValueError: its config cannot be read, or the folder holds something else.
    """
    run, folder = (os.path.expanduser(os.fspath(path)) for path in (run, folder))
    config = run_config(run)
    check_trained(run)
    # Nothing is trained: no train split to count.
    config.train.steps_per_epoch = config.train.steps_per_epoch or 1
    parts = assemble(config, os.path.join(run, VOCABULARY), learn=False)
    params, step = best_params(parts, run)
    results = os.path.join(run, "results.json")
    scores = read_json(Path(results)) if os.path.isfile(results) else None
    write_model(folder, parts, params, step, scores)


def write_model(
    folder: str, parts: Parts, params: Any, step: int, results: dict[str, Any] | None
) -> None:
    """Writes a model; the weights come last and are taken away first, so none is half there.

    Every process calls it, the first one writes.

    Args:
      folder: of the model.
      parts: of the run.
      params: on any device.
      step: that they are of.
      results: the contents of results.json, or None.

    Raises:
      ValueError: the folder holds something that is no model.
      OSError: a file cannot be written.
    """
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    arrays = {parameter_name(place): fetch(leaf) for place, leaf in leaves}
    if jax.process_index():
        return
    weights = os.path.join(folder, WEIGHTS)
    if os.path.exists(folder):
        there = os.listdir(folder) if os.path.isdir(folder) else None
        if there is None or (there and not {CONFIG, WEIGHTS} & set(there)):
            raise ValueError(f"{folder} is no folder of a model and not empty: give another")
        if os.path.isfile(weights):
            os.unlink(weights)
    os.makedirs(folder, exist_ok=True)
    config = json.loads(parts.config.to_json_best_effort())
    config["text"]["tokenizer"] = VOCABULARY
    # First what tells the folder of a model: one that was not finished is written again.
    write_json(os.path.join(folder, CONFIG), config)
    copy_vocabulary(_vocabulary(parts.config.text.tokenizer), os.path.join(folder, VOCABULARY))
    if "people" in config["data"]:  # as a run has it, for what opens both
        write_json(os.path.join(folder, PEOPLE), {"people": config["data"]["people"]})
    searches_by = getattr(method_module(config["method"]), "QUERIES", "captions")
    card = model_card(
        config, searches_by, results,
        version=jaxreid.__version__, step=step, parameters=sum(x.size for x in arrays.values()),
        config_hash=config_hash(config),
    )  # fmt: skip
    write_atomic(os.path.join(folder, CARD), card.encode())
    metadata = {
        "format": FORMAT,
        "version": jaxreid.__version__,
        "config": config_hash(config),
        "step": str(step),
    }
    write_safetensors(weights, arrays, metadata)
    logging.info("model saved: %s", folder)


def _vocabulary(source: str) -> str:
    """The local folder of a vocabulary that may be one of a hub model."""
    if os.path.isdir(source):
        return source
    for files in (("vocab.txt",), BPE_FILES):
        try:
            return str(download(source, files))
        except FileNotFoundError as error:
            missing = error
    raise missing
