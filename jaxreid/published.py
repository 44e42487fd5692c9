"""Start weights from published files, which `jaxreid.weights` reads; numpy until they are put in.

`config.start` names one file, or several with commas between them: a parameter comes from the first
that has it. LAIP takes its MLM head from ALBEF's pretrained file, all else from the fine-tuned one:
--config.start=mscoco.pth,ALBEF.pth
"""

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from jaxreid.config import RANDOM
from jaxreid.optim import parameter_name
from jaxreid.weights.convert import Target, to_ours
from jaxreid.weights.names import Kind, find
from jaxreid.weights.recognise import recognise
from jaxreid.weights.report import Report, listed
from jaxreid.weights.state_dict import read

MEMORY = "memory/"
# People of another training have other ids: whose the keys in a published queue are is not known.
_IDS = "memory/id_queue"


class Source(NamedTuple):
    """A published file."""

    path: str
    kind: Kind
    state: Mapping[str, np.ndarray]  # published keys; arrays are mapped, not read


class Filled(NamedTuple):
    """What published files give."""

    arrays: dict[str, np.ndarray]  # our names to values; of the memory as "memory/..."
    fresh: tuple[str, ...]  # parameters that no file has
    reports: tuple[Report, ...]


def is_published(start: str) -> bool:
    """Returns whether `config.start` names published files, and no folder of ours."""
    return start not in ("", RANDOM) and not os.path.isdir(os.path.expanduser(start))


def open_sources(config) -> tuple[Source, ...]:
    """Opens the files of `config.start` and tells what they are, without reading their arrays.

    Args:
      config: whole config; start_rules.kind names a kind for each file, "" recognises them.

    Raises:
      FileNotFoundError: a file is not there.
      ValueError: a file cannot be read, is of no known kind, of another than was asked for, or of
        one that the method cannot start from.
    """
    paths = config.start.split(",")
    kinds = config.start_rules.kind.split(",") if config.start_rules.kind else [""] * len(paths)
    if len(kinds) != len(paths):
        raise ValueError(
            f"config.start_rules.kind must be '' or a kind for each of the {len(paths)} files of "
            f"config.start, got {config.start_rules.kind!r}"
        )
    return tuple(
        _open(path.strip(), kind.strip(), config.method)
        for path, kind in zip(paths, kinds, strict=True)
    )


def fill(
    sources: tuple[Source, ...],
    shapes: Mapping[str, tuple[int, ...]],
    grid: tuple[int, int],
    fresh: tuple[str, ...] = (),
    unused: tuple[str, ...] = (),
) -> Filled:
    """Returns the parameters, and the memory where the first file has it, from published files.

    Args:
      sources: in the order of `config.start`.
      shapes: of our parameters by name, and of the memory as "memory/...".
      grid: image patches, height and width.
      fresh: patterns of parameters that stay random where no file has them.
      unused: patterns of published keys to leave out.

    Raises:
      ValueError: keys, parameters or shapes that do not fit, as `jaxreid.weights.convert` says; a
        pattern that matches nothing.
    """
    arrays, reports, wanted = {}, [], set(shapes)
    whole = False  # whether a file that fills more than a part said what may stay random
    for source in sources:
        here = tuple(p for p in unused if any(re.fullmatch(p, key) for key in source.state))
        found, report = to_ours(
            source.state, source.kind, Target(shapes, grid), source=f"config.start: {source.path}",
            wanted=wanted, fresh=fresh, unused=here,
        )  # fmt: skip
        arrays |= found
        reports.append(report)
        whole = whole or not source.kind.part
        # Momentum copies and queues are of the parameters they were saved with.
        wanted = {name for name in wanted - set(found) if not name.startswith(MEMORY)}
    for pattern in unused:
        if not any(re.fullmatch(pattern, key) for source in sources for key in source.state):
            raise ValueError(f"config.start_rules.unused: pattern {pattern!r} matches no key")
    for pattern in fresh:
        if not any(re.fullmatch(pattern, name) for name in shapes):
            raise ValueError(f"config.start_rules.fresh: pattern {pattern!r} matches no parameter")
    lacking = sorted(n for n in wanted if not any(re.fullmatch(p, n) for p in fresh))
    if lacking and not whole:
        files = " and ".join(source.path for source in sources)
        raise ValueError(
            f"config.start: {files} {'fill' if sources[1:] else 'fills'} a part of the network "
            "alone, and no pattern of "
            f"start_rules.fresh allows {listed(lacking)} to start from random"
        )
    arrays.pop(_IDS, None)
    fresh_names = {name for name in shapes if name not in arrays and not name.startswith(MEMORY)}
    return Filled(arrays, tuple(sorted(fresh_names)), tuple(reports))


def tell(filled: Filled) -> None:
    """Logs what became of every key and parameter."""
    for report in filled.reports:
        for line in report.lines():
            logging.info("%s", line)
    if filled.fresh:
        logging.info(
            "start weights: %d parameters from random: %s", len(filled.fresh), listed(filled.fresh)
        )


def named_shapes(params: Any, memory: Any = ()) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of parameters and memory by the names that `fill` knows."""
    return {
        prefix + _name(path): leaf.shape
        for prefix, tree in (("", params), (MEMORY, memory))
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }


def put(tree: Any, arrays: Mapping[str, np.ndarray], prefix: str = "") -> Any:
    """Returns a tree with the arrays that are there; the last rows of a longer leaf stay."""

    def leaf_of(path, leaf):
        value = arrays.get(prefix + _name(path))
        if value is None:
            return leaf
        value = value.astype(leaf.dtype, copy=False)
        if value.shape != leaf.shape:
            return leaf.at[: len(value)].set(value)
        return jax.device_put(value, leaf.sharding)

    return jax.tree_util.tree_map_with_path(leaf_of, tree)


def _name(path: tuple) -> str:
    """The name of a leaf; fields of a NamedTuple lose their dot."""
    return "/".join(part.lstrip(".") for part in parameter_name(path).split("/"))


def _open(path: str, name: str, method: str) -> Source:
    """One file, of the kind that is asked for or that its keys tell."""
    expanded = os.path.expanduser(path)
    if os.path.isdir(expanded):
        raise ValueError(f"config.start: {path} is a folder, not a published file")
    if not os.path.isfile(expanded):
        raise FileNotFoundError(f"config.start: no such file: {path or repr(path)}")
    try:
        state = read(expanded)
    except ValueError as error:
        raise ValueError(f"config.start: {error}") from error
    try:
        kind = find(name) if name else recognise(state)
    except ValueError as error:
        raise ValueError(f"config.start_rules.kind: {error}") from error
    told = recognise(state)
    if kind is None:
        raise ValueError(
            f"config.start: {path} is no checkpoint of a known kind: its keys begin with "
            f"{listed(list(state)[:3])}"
        )
    if method not in kind.methods:
        raise ValueError(
            f"config.start: {path} is {kind.title}, from which {', '.join(kind.methods)} can "
            f"start, not {method}"
        )
    if told is not None and told.name != kind.name and method not in told.methods:
        raise ValueError(
            f"config.start: {path} looks like {told.title} (kind {told.name}), kind {kind.name} "
            "was asked for"
        )
    return Source(path, kind, state)
