"""Rules across the fields of a config, checked before anything is read or allocated."""

import difflib
import os
from typing import Any

from ml_collections import ConfigDict

DTYPES = ("float32", "bfloat16")
PERIODS = ("step", "epoch")
RESAMPLERS = ("bicubic", "bilinear")
CLEANERS = ("albef", "blip", "none")


def check(config: ConfigDict, devices: int) -> None:
    """Raises if two fields of a config cannot be used together, or one is out of range.

    What a method's own section allows, its `make` checks.

    Args:
      config: of the shape that configs/sections.py gives.
      devices: number of devices of all processes.

    Raises:
      ValueError: names the field, what was got and what is allowed.
      FileNotFoundError: a path that is not there.
    """
    image, model, train, evaluation = config.image, config.model, config.train, config.eval
    _one_of("model.dtype", model.dtype, DTYPES)
    _one_of("optim.period", config.optim.period, PERIODS)
    _one_of("image.resize", image.resize, RESAMPLERS)
    _one_of("text.clean", config.text.clean, CLEANERS)
    _is("image.size", tuple(image.size), len(image.size) == 2, "height and width")
    for side in image.size:
        patch = model.vit.patch
        _is("image.size", tuple(image.size), side > 0 and side % patch == 0,
            f"multiples of model.vit.patch {patch}")  # fmt: skip
    for name in ("vit", "bert"):
        part = model[name]
        _is(f"model.{name}.width", part.width, part.width % part.heads == 0,
            f"a multiple of model.{name}.heads {part.heads}")  # fmt: skip
    limit = model.bert.max_positions
    _is("text.max_tokens", config.text.max_tokens, 3 <= config.text.max_tokens <= limit,
        f"in 3..{limit} (model.bert.max_positions)")  # fmt: skip
    _is("text.max_phrase_tokens", config.text.max_phrase_tokens,
        3 <= config.text.max_phrase_tokens <= limit, f"in 3..{limit}")  # fmt: skip
    for name in ("batch_size",):
        size = train[name]
        _is(f"train.{name}", size, size > 0 and size % devices == 0,
            f"a positive multiple of the {devices} devices")  # fmt: skip
    for name in ("batch_size", "chunk", "pair_batch"):
        size = evaluation[name]
        _is(f"eval.{name}", size, size > 0 and size % devices == 0,
            f"a positive multiple of the {devices} devices")  # fmt: skip
    _is("train.epochs", tuple(train.epochs), len(train.epochs) > 0 and min(train.epochs) > 0,
        "one positive number a stage")  # fmt: skip
    _is("train.stop_after", train.stop_after, 0 <= train.stop_after <= len(train.epochs),
        f"in 0..{len(train.epochs)}, the stages of train.epochs")  # fmt: skip
    for name in ("log_every", "keep"):
        _is(f"train.{name}", train[name], train[name] >= 1, ">= 1")
    for name in ("evaluate_every", "save_every"):
        _is(f"train.{name}", train[name], train[name] > 0, "> 0 epochs")
    _is("optim.accumulate", config.optim.accumulate, config.optim.accumulate >= 1, ">= 1")
    _is("optim.learning_rate", config.optim.learning_rate, config.optim.learning_rate > 0, "> 0")
    if config.start and not os.path.exists(os.path.expanduser(config.start)):
        raise FileNotFoundError(f"config.start: no such file or folder: {config.start}")
    manual = config.data.manual_dir
    if manual and not os.path.isdir(os.path.expanduser(manual)):
        raise FileNotFoundError(f"config.data.manual_dir: no such folder: {manual}")


def nearest(name: str, allowed: list[str]) -> str:
    """Returns "; did you mean X?" for the nearest allowed name, or nothing if none is near."""
    found = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""


def field_names(config: ConfigDict, prefix: str = "config") -> list[str]:
    """Returns "config.a.b" of every field and section."""
    names = []
    for key, value in config.items():
        names.append(f"{prefix}.{key}")
        if isinstance(value, ConfigDict):
            names += field_names(value, f"{prefix}.{key}")
    return names


def _one_of(field: str, value: Any, allowed: tuple) -> None:
    """Refuses a value that is not in a list."""
    if value not in allowed:
        raise ValueError(f"config.{field} must be one of {', '.join(allowed)}, got {value!r}")


def _is(field: str, value: Any, holds: bool, allowed: str) -> None:
    """Refuses a value for which a rule does not hold."""
    if not holds:
        raise ValueError(f"config.{field} must be {allowed}, got {value!r}")
