"""A file of published weights as one flat dict: names as its project has them, and arrays."""

import os
from typing import Any

import numpy as np

from jaxreid.weights.pickle_machine import Script, shown
from jaxreid.weights.safetensors_file import is_safetensors, read_safetensors
from jaxreid.weights.torch_file import read_head, read_torch

# Under which name a checkpoint holds its state_dict.
WRAPPERS = ("model", "state_dict", "model_state_dict", "module")
# Networks that a checkpoint holds beside its "model"; their names begin with this and a dot.
PARTS = ("img2text",)  # Word4Per
# What is put before every name where a network was saved inside another.
PREFIXES = ("module.", "model.")
_DEEPEST, _MOST = 64, 100_000


def read(path: str | os.PathLike, wrappers: tuple[str, ...] = WRAPPERS) -> dict[str, np.ndarray]:
    """Returns the state_dict of a file by published names, arrays read-only.

    The content tells the format: safetensors, torch.save (new and old) or TorchScript. A
    state_dict inside a checkpoint is found, with networks that lie beside it (PARTS), and a prefix
    that all names have is taken off.

    Args:
      path: of the file.
      wrappers: names under which a checkpoint may hold it, the first that is there.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no whole file of weights, or holds no state_dict. One sentence that names
        the file.
    """
    path = os.fspath(path)
    if is_safetensors(read_head(path)):
        return strip_prefixes(read_safetensors(path))
    try:
        return _find(read_torch(path), wrappers)
    except _NoState as error:
        raise ValueError(f"{path} {error}") from error


def strip_prefixes(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Takes off the prefixes, one inside another, that all names have."""
    found = True
    while found:
        found = next((p for p in PREFIXES if state and all(k.startswith(p) for k in state)), None)
        state = {name[len(found or "") :]: array for name, array in state.items()}
    return state


class _NoState(Exception):
    """There is no state_dict in what a file holds."""


def _find(value: Any, wrappers: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The state_dict in what a file holds."""
    parts = {}
    for _ in range(4):
        if type(value) is Script:
            return strip_prefixes(_flat(value))
        if type(value) is not dict or not value:
            raise _NoState(f"holds {_described(value)}, not a state_dict")
        inner = next((name for name in wrappers if type(value.get(name)) in (dict, Script)), None)
        if inner is None:
            break
        for part in PARTS:
            if type(value.get(part)) is dict:
                state = strip_prefixes(_find(value[part], ()))
                parts |= {f"{part}.{name}": array for name, array in state.items()}
        value = value[inner]
    for name, array in value.items():
        if type(name) is not str:
            raise _NoState("holds a dict whose keys are no names, not a state_dict")
        if type(array) is not np.ndarray:
            raise _NoState(
                f"holds {_described(array)} under {shown(name)!r}: no state_dict, nor a checkpoint "
                f"that has one under {' or '.join(wrappers or ('a name',))}"
            )
    return strip_prefixes(value) | parts


def _flat(script: Script) -> dict[str, np.ndarray]:
    """The tensors of a module and of the modules in it, names joined by dots."""
    arrays, open_modules, seen = {}, [("", 0, script)], 0
    while open_modules:
        prefix, depth, module = open_modules.pop()
        seen += len(module.attributes) + 1
        if depth > _DEEPEST or seen > _MOST:
            raise _NoState("holds modules inside each other without an end")
        for name, value in module.attributes.items():
            if type(value) is np.ndarray:
                arrays[prefix + name] = value
            elif type(value) is Script:
                open_modules.append((f"{prefix}{name}.", depth + 1, value))
    if not arrays:
        raise _NoState("holds modules without tensors, not a state_dict")
    return arrays


def _described(value: Any) -> str:
    """What stands where a state_dict should."""
    if type(value) is np.ndarray:
        return "one tensor"
    name = type(value).__name__
    return "an empty dict" if value == {} else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
