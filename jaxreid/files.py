"""Writes result files so that a reader, or a killed writer, never leaves half a file."""

import contextlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np


def write_atomic(path: str | os.PathLike, data: bytes) -> None:
    """Writes `data` to `path` as a whole or not at all; makes missing folders.

    The bytes go to a temporary file beside `path`, are flushed to the disk and then take the
    name: a crash at any time leaves the previous file, or none.
    """
    path = os.path.abspath(os.fspath(path))
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files for the owner alone
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` as indented JSON; numpy scalars and arrays become numbers and lists.

    Raises:
      ValueError: a number is NaN or infinite, which JSON has no word for.
      TypeError: a value has no JSON form.
    """
    try:
        text = json.dumps(value, indent=2, allow_nan=False, default=_plain)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: cannot be written as JSON: {error}") from error
    write_atomic(path, (text + "\n").encode())


def write_npz(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes named arrays as a compressed .npz that loads without pickle.

    Equal arrays give equal bytes, at whatever time they are written.

    Raises:
      ValueError: an array holds Python objects.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            array = np.asarray(array)
            if array.dtype.hasobject:
                raise ValueError(f"{os.fspath(path)}: array {name!r} holds Python objects")
            # np.savez refuses the name "file" and stores the time of day.
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    write_atomic(path, buffer.getvalue())


def _plain(value: Any) -> Any:
    """The JSON form of a numpy value."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _umask() -> int:
    """The file mode mask of this process, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
