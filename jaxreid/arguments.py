"""Checks the command line against the recipe it names, before anything heavy is imported."""

import importlib.util
import os
import re
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from jaxreid.config import field_names, nearest

# type of a field -> what reads its text, and the words for what may be given
_READERS = {
    bool: (flags.BooleanParser().parse, "true or false"),
    int: (flags.IntegerParser().parse, "a whole number"),
    float: (flags.FloatParser().parse, "a number"),
}


def check_arguments(argv: Sequence[str]) -> None:
    """Raises if --config names no recipe, or --config.FIELD=VALUE no field or a wrong type.

    Args:
      argv: the command line, the program first.

    Raises:
      ValueError: names the field, what was got and what is allowed, or the nearest field.
      FileNotFoundError: there is no such recipe.
    """
    recipe = _value_of("config", argv)
    if recipe is None:
        return
    config = load_recipe(recipe)
    known = field_names(config)
    for name, value in overrides(argv):
        if name not in known:
            raise ValueError(f"unknown field {name}{nearest(name, known)}")
        field = _leaf(config, name)
        if isinstance(field, ConfigDict):
            raise ValueError(
                f"{name} is a section, give one of its fields: "
                f"{', '.join(f'{name}.{key}' for key in sorted(field))}"
            )
        if type(field) in _READERS and value is not None:
            read, allowed = _READERS[type(field)]
            try:
                read(value)
            except (TypeError, ValueError):
                raise ValueError(f"{name} must be {allowed}, got {value!r}") from None


def load_recipe(recipe: str) -> ConfigDict:
    """Returns the config of "FILE[:VARIANT]".

    Raises:
      FileNotFoundError: there is no such file; names the nearest of its folder.
      ValueError: the file is no recipe, or it does not know the variant.
    """
    path, _, variant = recipe.partition(":")
    if not os.path.isfile(path):
        folder = os.path.dirname(path)
        found = sorted(os.listdir(folder or ".")) if os.path.isdir(folder or ".") else []
        files = [os.path.join(folder, file) for file in found if file.endswith(".py")]
        raise FileNotFoundError(f"--config: no such file: {path!r}{nearest(path, files)}")
    spec = importlib.util.spec_from_file_location("recipe", path)
    if spec is None:
        raise ValueError(f"--config must be a Python file with get_config, got {path!r}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--config {path}: no module {error.name!r}; run in the folder that holds configs/"
        ) from error
    if not hasattr(module, "get_config"):
        raise ValueError(f"--config {path} has no function get_config: it is no recipe")
    return module.get_config(variant)


def overrides(argv: Sequence[str]) -> list[tuple[str, str | None]]:
    """Returns (field, text of its value) of each --config.FIELD; None where none is given."""
    found = []
    for i, argument in enumerate(argv):
        match = re.fullmatch(r"--?(?:no)?(config\.[^=]*)(?:=(.*))?", argument, re.DOTALL)
        if match:
            name, value = match.groups()
            following = argv[i + 1] if i + 1 < len(argv) else "-"
            if value is None and not following.startswith("-"):
                value = following
            found.append((name, value))
    return found


def _value_of(flag: str, argv: Sequence[str]) -> str | None:
    """The text given for a flag, by "--flag=text" or "--flag text"; None if it is not there."""
    for i, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        if name in (f"--{flag}", f"-{flag}"):
            return value if equals else argv[i + 1] if i + 1 < len(argv) else None
    return None


def _leaf(config: ConfigDict, name: str) -> Any:
    """The field of a config by "config.a.b"."""
    for key in name.split(".")[1:]:
        config = config[key]
    return config
