"""Reads .safetensors files: the library checks them, their arrays are views of the mapped file."""

import contextlib
import json
import os
from collections.abc import Mapping

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

_DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8,
    "BOOL": np.bool_,
}  # fmt: skip


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins so is one: the length of a header, which is JSON."""
    return len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32


def read_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns the arrays of a file by name, read-only (bfloat16 by ml_dtypes).

    Raises:
      ValueError: the library refuses the file, or an array has a type that is not read here. One
        sentence that names the file.
    """
    path = os.fspath(path)
    try:
        with safe_open(path, framework="np"):
            pass
    except (SafetensorError, OSError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is no whole safetensors file: {text}") from error
    memory = np.memmap(path, np.uint8, "r").view(np.ndarray)
    length = int.from_bytes(memory[:8].tobytes(), "little")
    header = json.loads(memory[8 : 8 + length].tobytes())
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in _DTYPES:
            raise ValueError(
                f"{path} has {name} of type {entry['dtype']}, allowed are {', '.join(_DTYPES)}"
            )
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        dtype = np.dtype(_DTYPES[entry["dtype"]])
        arrays[name] = np.ndarray(entry["shape"], dtype, memory[start:end])
    return arrays


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """Returns the texts that a file holds beside its arrays; {} for none.

    Raises:
      ValueError: the library refuses the file.
    """
    try:
        with safe_open(os.fspath(path), framework="np") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        raise ValueError(f"{os.fspath(path)} is no whole safetensors file: {text}") from error


def write_safetensors(
    path: str | os.PathLike, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Writes arrays by name, whole or not at all.

    Args:
      path: of the file; its folder is there.
      arrays: of a type that `read_safetensors` reads.
      metadata: texts.
    """
    part = f"{os.fspath(path)}.part"
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    try:
        save_file(whole, part, dict(metadata))
        os.replace(part, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
