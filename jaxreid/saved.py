"""What the folder of a run says of it: its config, and whether another config fits."""

import json
import os
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxreid.checkpoint import config_difference
from jaxreid.files import write_json

# Sections and fields in which a run and its continuation may differ: they change no number that
# training computes.
_FREE = (
    "data.data_dir",
    "data.manual_dir",
    "data.test_manual_dir",
    "data.workers",
    "train.compilation_cache",
    "train.stop_after",
    "eval.",
)
# What must be equal to evaluate the weights of a run: these make the network and its inputs.
_NETWORK = (
    "method", "image.size", "image.framed", "image.resize", "image.mean", "image.std", "text.",
    "model.",
)  # fmt: skip
_LISTED = 5  # differences that are told


def run_config(workdir: str) -> ConfigDict:
    """Returns the config of the run in a folder, but for its start weights.

    Raises:
      FileNotFoundError: there is no run.
      ValueError: its config cannot be read.
    """
    return as_config(read_saved(workdir))


def as_config(saved: dict[str, Any]) -> ConfigDict:
    """Returns a saved config as recipes have it, but for its start weights."""

    def tuples(value):
        """A field as recipes have it: JSON makes lists of tuples."""
        if isinstance(value, dict):
            return {key: tuples(inner) for key, inner in value.items()}
        return tuple(map(tuples, value)) if isinstance(value, list) else value

    config = ConfigDict(tuples(saved))
    config.start = ""  # the weights are the run's
    return config


def with_training_of(
    saved: dict[str, Any], config: ConfigDict, ranked_by: tuple[str, ...]
) -> ConfigDict:
    """Returns the config with the training of the run, which shapes its checkpoints.

    Args:
      saved: of the run.
      config: of an evaluation.
      ranked_by: fields of the method's section that the evaluation chooses.
    """
    config = config.copy_and_resolve_references().unlock()
    chosen = {name: config[config.method][name] for name in ranked_by}
    for section in ("train", "optim", config.method):
        config[section] = ConfigDict(saved[section])
    config[config.method].update(chosen)
    # The train split of this data set may not even exist; no schedule is used.
    config.train.steps_per_epoch = config.train.steps_per_epoch or 1
    return config


def enter(config: ConfigDict, workdir: str) -> bool:
    """Makes the folder of a run, or checks that what was trained there is this run.

    Returns whether something was.
    """
    if os.path.exists(workdir) and not os.path.isdir(workdir):
        raise ValueError(f"--workdir must be a folder, got a file: {workdir}")
    begun = has_checkpoint(workdir)
    if begun:
        different = _differences(read_saved(workdir), config, free=_FREE)
        if different:
            raise ValueError(
                f"{workdir} holds a run of another config: {_some(different)}; "
                "give another --workdir"
            )
    elif jax.process_index() == 0:
        write_json(_config_file(workdir), json.loads(config.to_json_best_effort()))
    return begun


def has_checkpoint(workdir: str) -> bool:
    """Returns whether a step was saved; orbax names a folder by its step once it is whole."""
    folder = os.path.join(workdir, "checkpoints")
    return os.path.isdir(folder) and any(name.isdigit() for name in os.listdir(folder))


def _config_file(workdir: str) -> str:
    """Where the config of a run is kept."""
    return os.path.join(workdir, "config.json")


def read_saved(workdir: str) -> dict[str, Any]:
    """Returns the config of the run in a folder, as JSON has it.

    Raises:
      FileNotFoundError: there is no run.
      ValueError: its config cannot be read.
    """
    path = _config_file(workdir)
    try:
        with open(path) as file:
            return json.load(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"no run in {workdir}: {path} is missing") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def check_network(saved: dict[str, Any], config: ConfigDict, workdir: str) -> None:
    """Raises ValueError where the network or its inputs are not those of the run in workdir."""
    different = _differences(saved, config, only=_NETWORK)
    if different:
        raise ValueError(f"the run in {workdir} is of another config: {_some(different)}")


def _differences(saved: dict, config: ConfigDict, *, only=("",), free=()) -> list[str]:
    """What differs between a saved config and one given, in some fields."""
    given = json.loads(config.to_json_best_effort())
    return [
        line
        for line in config_difference(saved, given)
        if line.startswith(only) and not line.startswith(free or "\0")
    ]


def _some(lines: list[str]) -> str:
    """The first few lines in a sentence."""
    more = len(lines) - _LISTED
    return "; ".join(lines[:_LISTED]) + (f"; and {more} more fields" if more > 0 else "")
