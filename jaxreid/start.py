"""Start weights: a folder with the parameters that a run begins from, and their vocabulary."""

import os
import zipfile
from typing import Any

import jax
import numpy as np
from absl import logging

from jaxreid.files import write_npz
from jaxreid.optim import parameter_name

FILE = "weights.npz"


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


def load_start(folder: str, params: Any) -> Any:
    """Returns params with every parameter that the folder holds put in, as float32.

    Args:
      folder: as `save_start` writes it.
      params: of the method, from random.

    Raises:
      FileNotFoundError: there are no weights in the folder.
      ValueError: a parameter of the folder is unknown to the method or has another shape.
    """
    file = os.path.join(os.path.expanduser(folder), FILE)
    if not os.path.exists(file):
        raise FileNotFoundError(f"config.start: no {FILE} in the folder {folder}")
    try:
        with np.load(file, allow_pickle=False) as archive:
            saved = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"config.start: {file} cannot be read: {error}") from error
    fresh = []

    def put(path, leaf):
        name = parameter_name(path)
        if name not in saved:
            fresh.append(name)
            return leaf
        value = saved.pop(name)
        if value.shape != leaf.shape:
            raise ValueError(
                f"config.start: {file} has {name} of shape {value.shape}, the config makes it "
                f"{leaf.shape}; the sections model, image and text must fit the start weights"
            )
        return jax.numpy.asarray(value, leaf.dtype)

    filled = jax.tree_util.tree_map_with_path(put, params)
    if saved:
        raise ValueError(f"config.start: {file} has {sorted(saved)[0]}, which the method lacks")
    logging.info("start weights: %s; %d parameters from random", folder, len(fresh))
    return filled
