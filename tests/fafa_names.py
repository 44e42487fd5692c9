"""Parameters of FAFA from a parity file with the names of its release, by the table of the kind."""

import re
from collections.abc import Mapping

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxreid.weights.convert import Target, to_ours, to_published
from jaxreid.weights.names import find

_GRID = (4, 4)  # patches of the images of the files


def fafa_tree(
    arrays: Mapping[str, np.ndarray],
    kind: str,
    shapes: dict,
    wanted: str = ".*",
    dtype: type = np.float32,
) -> dict:
    """Returns the parameters whose names a pattern matches.

    Args:
      arrays: of the file, named "<kind>/<name>".
      kind: "weight", or "gradient".
      shapes: tree of the network.
      wanted: pattern of whole names.
      dtype: of the parameters.
    """
    state = {k.removeprefix(f"{kind}/"): x for k, x in arrays.items() if k.startswith(f"{kind}/")}
    shapes = {name: leaf.shape for name, leaf in flatten_dict(shapes, sep="/").items()}
    names = {name for name in shapes if re.fullmatch(wanted, name)}
    ours, report = to_ours(
        state, find("fafa"), Target(shapes, _GRID), source="the file", wanted=names, dtype=dtype
    )
    assert not report.fresh
    back, _ = to_published(ours, find("fafa"))
    for name in report.used:
        np.testing.assert_array_equal(back[name], state[name].astype(dtype))
    return unflatten_dict(ours, sep="/")
