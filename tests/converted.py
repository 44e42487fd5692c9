"""Parameters of a network from published names, by the tables of jaxreid.weights."""

from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxreid.weights.convert import Target, to_ours
from jaxreid.weights.names import find


def under(arrays: dict, prefix: str) -> dict[str, np.ndarray]:
    """The arrays of a parity file whose names begin with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def target(network: Any, grid: tuple[int, int] | None = None) -> Target:
    """What a tree of arrays or shapes is."""
    return Target({k: x.shape for k, x in flatten_dict(network, sep="/").items()}, grid)


def converted(
    state: dict[str, np.ndarray],
    kind: str,
    network: Any,
    grid: tuple[int, int] | None = None,
    dtype=np.float32,
) -> dict:
    """The parameters that a state_dict fills, in the tree of a network of arrays or shapes."""
    arrays, _ = to_ours(
        state, find(kind), target(network, grid), source="a parity file", dtype=dtype
    )
    return unflatten_dict(arrays, sep="/")


def shapes(module, *inputs, method=None) -> dict:
    """Shapes of the parameters of a module."""
    return jax.eval_shape(module.init, jax.random.key(0), *inputs, method=method)["params"]
