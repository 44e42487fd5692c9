"""Start weights of our own: a folder with parameters and their vocabulary; see also `published`."""

import os
import re
import zipfile
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from jaxreid.files import write_npz
from jaxreid.optim import parameter_name
from jaxreid.weights.safetensors_file import read_safetensors

FILE = "weights.npz"
MODEL_FILE = "model.safetensors"  # of a model that was saved, or converted


class Rules(NamedTuple):
    """In what a network may differ from its start weights: patterns of whole names."""

    fresh: tuple[str, ...] = ()  # parameters of the network that stay random
    unused: tuple[str, ...] = ()  # parameters of the folder that are left out
    # (pattern, name in the folder) of parameters of the network that have another name there
    renamed: tuple[tuple[str, str], ...] = ()
    # parameters of the network with more rows than in the folder; the last rows stay random
    longer: tuple[str, ...] = ()


def read_rules(config) -> Rules:
    """Returns the rules of the section `start_rules` of a config.

    Raises:
      ValueError: a pattern is no regular expression.
    """
    section = config.start_rules
    rules = Rules(
        tuple(section.fresh), tuple(section.unused), tuple(section.renamed), tuple(section.longer)
    )
    patterns = [(kind, p) for kind in ("fresh", "unused", "longer") for p in getattr(rules, kind)]
    for kind, pattern in [*patterns, *(("renamed", rule[0]) for rule in rules.renamed)]:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(
                f"config.start_rules.{kind}: pattern {pattern!r} is no regular expression: {error}"
            ) from error
    return rules


def save_start(folder: str, params: Any) -> None:
    """Writes parameters as float16 arrays, named by their path in the tree.

    Raises:
      ValueError: a value does not fit float16; names the parameter.
    """
    arrays = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        name, value = parameter_name(path), np.asarray(leaf)
        largest = np.abs(value).max()
        if not largest <= np.finfo(np.float16).max:
            raise ValueError(f"parameter {name} has values beyond float16, up to {largest}")
        arrays[name] = value.astype(np.float16)
    write_npz(os.path.join(folder, FILE), arrays)


def load_start(folder: str, params: Any, rules: Rules) -> Any:
    """Returns params with the parameters that the folder holds put in, as float32.

    Args:
      folder: as `save_start` writes it, or a saved model.
      params: of the method, from random.
      rules: what may differ; every pattern must match a parameter.

    Raises:
      FileNotFoundError: there are no weights in the folder.
      ValueError: a parameter of either side that the other lacks and no rule allows, another
        shape, or a pattern that matches nothing.
    """
    file, saved = _read(folder)
    matched = _Matched(rules)
    fresh, grown, used = [], [], set()

    def put(path, leaf):
        name = parameter_name(path)
        source = matched.source(name)
        if matched.any("fresh", name):
            fresh.append(name)
            return leaf
        if source not in saved:
            raise ValueError(
                f"config.start: {file} has no {source}, from which {name} of the method could "
                "start, and no pattern of start_rules.fresh allows it to start from random"
            )
        used.add(source)
        value = saved[source]
        longer = matched.any("longer", name)
        if longer and value.shape[1:] == leaf.shape[1:] and len(value) < len(leaf):
            grown.append(name)
            return leaf.at[: len(value)].set(value.astype(leaf.dtype))
        if value.shape != leaf.shape:
            raise ValueError(
                f"config.start: {file} has {source} of shape {value.shape}, the config makes it "
                f"{leaf.shape}; the sections model, image and text must fit the start weights"
            )
        return jax.numpy.asarray(value, leaf.dtype)

    filled = jax.tree_util.tree_map_with_path(put, params)
    unused = sorted(set(saved) - used)
    for name in unused:
        if not matched.any("unused", name):
            raise ValueError(f"config.start: {file} has {name}, which the method lacks")
    matched.check()
    logging.info("start weights: %s; %d parameters from random", folder, len(fresh))
    for names, what in ((fresh, "from random"), (unused, "not used"), (grown, "with new rows")):
        if names:
            logging.info("start weights: %d %s: %s", len(names), what, ", ".join(names))
    return filled


class _Matched:
    """Applies the patterns of rules and notes which of them matched."""

    def __init__(self, rules: Rules):
        self.rules = rules
        self.seen = set()

    def any(self, kind: str, name: str) -> bool:
        """Whether a pattern of a kind matches a name."""
        found = [p for p in getattr(self.rules, kind) if re.fullmatch(p, name)]
        self.seen.update((kind, p) for p in found)
        return bool(found)

    def source(self, name: str) -> str:
        """The name in the folder of a parameter of the network."""
        for pattern, replacement in self.rules.renamed:
            if match := re.fullmatch(pattern, name):
                self.seen.add(("renamed", pattern))
                return match.expand(replacement)
        return name

    def check(self) -> None:
        """Raises ValueError for a pattern that has matched nothing."""
        for kind in ("fresh", "unused", "longer", "renamed"):
            for rule in getattr(self.rules, kind):
                pattern = rule[0] if kind == "renamed" else rule
                if (kind, pattern) not in self.seen:
                    raise ValueError(
                        f"config.start_rules.{kind}: pattern {pattern!r} matches no parameter"
                    )


def _read(folder: str) -> tuple[str, dict[str, np.ndarray]]:
    """The file of a folder, and its arrays by name."""
    model = os.path.join(os.path.expanduser(folder), MODEL_FILE)
    if os.path.exists(model):
        try:
            return model, read_safetensors(model)
        except ValueError as error:
            raise ValueError(f"config.start: {error}") from error
    file = os.path.join(os.path.expanduser(folder), FILE)
    if not os.path.exists(file):
        raise FileNotFoundError(f"config.start: no {FILE} in the folder {folder}")
    try:
        with np.load(file, allow_pickle=False) as archive:
            return file, {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"config.start: {file} cannot be read: {error}") from error
