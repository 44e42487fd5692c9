"""Reads the files of torch.save and of TorchScript without torch, running nothing from them.

Two layouts: a zip archive, since PyTorch 1.6 (`<name>/data.pkl` and the bytes of each storage in
`<name>/data/<key>`, stored as they are), and before that five pickles with the storages behind
them. Arrays are views of the mapped file: what is not used is not read, and tensors that share
memory share it here.
"""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxreid.weights.pickle_machine import MOST_BYTES, Name, run_pickle, shown
from jaxreid.weights.torch_names import Storage, find, storage_dtype

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, bytes of the name, bytes of the extra field
_ZIP_ERRORS = (
    zipfile.BadZipFile, NotImplementedError, EOFError, OSError, OverflowError, struct.error,
    IndexError, MemoryError,
)  # fmt: skip


def read_torch(path: str | os.PathLike) -> Any:
    """Returns what a file of torch.save or torch.jit.save holds.

    Tensors and parameters become read-only arrays (bfloat16 by ml_dtypes), modules of TorchScript
    become `Script`, Namespaces become dicts; containers, numbers and strings are themselves.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is none of the layouts, is truncated or broken, asks for anything but tensors
        and containers, or has tensors that reach out of its bytes. One sentence that names the
        file.
    """
    path = os.fspath(path)
    head = read_head(path)
    try:
        if head.startswith(_ZIP):
            return _read_zip(path)
        if head.startswith(_PICKLE):
            return _read_legacy(path)
        raise ValueError(f"{kind_of(head)}, not a file of torch.save")
    except (ValueError, *_ZIP_ERRORS) as error:
        raise ValueError(f"{path} {error}") from error


def read_head(path: str) -> bytes:
    """Returns the first 512 bytes of a file.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is a folder.
    """
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder, not a file of weights")
    try:
        with open(path, "rb") as file:
            return file.read(512)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no file {path}") from error


def kind_of(head: bytes) -> str:
    """What a file that is no checkpoint seems to be, of its first 512 bytes."""
    if not head:
        return "is empty"
    if head.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, whose file was not downloaded"
    if head[257:262] == b"ustar":
        return "is a tar archive, as of PyTorch before 0.1.11"
    for start, kind in ((b"\x1f\x8b", "a gzip file"), (b"\x89HDF", "an HDF5 file")):
        if head.startswith(start):
            return f"is {kind}"
    text = all(byte >= 32 or byte in b"\t\n\r\f" for byte in head)
    return "is a text" if text else f"begins with bytes {head[:8].hex()}"


def _read_zip(path: str) -> Any:
    """What `<name>/data.pkl` of a zip archive holds."""
    memory = np.memmap(path, np.uint8, "r").view(np.ndarray)
    try:
        with zipfile.ZipFile(path) as archive:
            found = archive.infolist()
    except (ValueError, *_ZIP_ERRORS) as error:
        raise ValueError(f"is no whole zip archive: {shown(str(error))}") from error
    entries = _entries(found)
    roots = [name[:-9] for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        npz = any(name.endswith(".npy") for name in entries)
        what = "arrays of numpy" if npz else f"{len(roots)} entries data.pkl"
        raise ValueError(f"is a zip archive of {what}, not one of torch.save")
    (root,) = roots

    def read(name: str) -> np.ndarray:
        if (entry := entries.get(f"{root}/{name}")) is None:
            raise ValueError(f"has no entry {shown(f'{root}/{name}')}, which its pickle asks for")
        return _stored(memory, entry)

    if f"{root}/byteorder" in entries and bytes(read("byteorder")[:8]) != b"little":
        raise ValueError("was not written on a little-endian machine: refused")
    pickled = read("data.pkl")
    if len(pickled) > MOST_BYTES:
        raise ValueError(f"has a pickle of {len(pickled)} bytes: refused")
    data = pickled.tobytes()
    # torch.serialization.set_crc32_options(False) leaves 0.
    if (check := entries[f"{root}/data.pkl"].CRC) and zlib.crc32(data) != check:
        raise ValueError(f"is damaged: the checksum of {shown(root)}/data.pkl is wrong")

    def storage(dtype: np.dtype | None, key: str, size: int) -> Storage:
        content = read(f"data/{key}")
        if len(content) < size:
            raise ValueError(f"has {len(content)} bytes of storage {shown(key)} of {size}: refused")
        return Storage(dtype, size, content[:size])

    return run_pickle(io.BytesIO(data), find, _persistent(storage))


def _entries(found: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Entries by name; a name stands once and leads nowhere."""
    entries = {}
    for entry in found:
        name = entry.filename
        if name in entries:
            raise ValueError(f"has two entries {shown(name)}: refused")
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise ValueError(f"has an entry {shown(name)}, a path that leads elsewhere: refused")
        entries[name] = entry
    return entries


def _stored(memory: np.ndarray, entry: zipfile.ZipInfo) -> np.ndarray:
    """u8[size], the bytes of an entry, without copying them."""
    name = shown(entry.filename)
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise ValueError(f"has {name} compressed, which torch.save never does: refused")
    if entry.flag_bits & 1:
        raise ValueError(f"has {name} encrypted: refused")
    start = entry.header_offset
    if not 0 <= start <= len(memory) - _LOCAL_HEADER.size:
        raise ValueError(f"is damaged: {name} begins outside of it")
    header = memory[start : start + _LOCAL_HEADER.size].tobytes()
    signature, *lengths = _LOCAL_HEADER.unpack(header)
    start += _LOCAL_HEADER.size + sum(lengths)
    if signature != _ZIP or start + entry.file_size > len(memory):
        raise ValueError(f"is damaged: {name} does not stand where the archive says")
    return memory[start : start + entry.file_size]


def _read_legacy(path: str) -> Any:
    """What the pickles of PyTorch before 1.6 hold; the storages stand behind the last."""
    memory = np.memmap(path, np.uint8, "r").view(np.ndarray)
    file = io.BytesIO(memory[:MOST_BYTES].tobytes())
    sizes: dict[str, tuple[int, int]] = {}  # of storages: elements, bytes of one

    def note(dtype: np.dtype | None, key: str, size: int) -> Storage:
        if dtype is None:
            raise ValueError(f"has storage {shown(key)} without a type: refused")
        if (
            sizes.setdefault(key, (size // dtype.itemsize, dtype.itemsize))[0] * sizes[key][1]
            < size
        ):
            raise ValueError(f"gives storage {shown(key)} two sizes: refused")
        return Storage(dtype, size, None)

    def plain() -> Any:
        return run_pickle(file, find, _no_storage)

    if plain() != _MAGIC:
        raise ValueError("is a pickle, but not one of torch.save")
    if (protocol := plain()) != _PROTOCOL:
        raise ValueError(f"is of another protocol of torch.save: {shown(str(protocol))}")
    system = plain()
    if type(system) is not dict or system.get("little_endian") is not True:
        raise ValueError("was not written on a little-endian machine: refused")
    start = file.tell()
    run_pickle(file, find, _persistent(note))
    places = _places(memory, plain(), file.tell(), sizes)

    def storage(dtype: np.dtype | None, key: str, size: int) -> Storage:
        return Storage(dtype, size, places[key][:size])

    # Once more, now that the place of every storage is known.
    file.seek(start)
    return run_pickle(file, find, _persistent(storage))


def _places(
    memory: np.ndarray, keys: Any, start: int, sizes: dict[str, tuple[int, int]]
) -> dict[str, np.ndarray]:
    """The bytes of storages by key: behind each other, each behind its number of elements."""
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise ValueError("has no list of its storages: refused")
    if set(keys) != set(sizes) or len(keys) != len(sizes):
        raise ValueError("lists other storages than its tensors use: refused")
    places = {}
    for key in keys:
        count, itemsize = sizes[key]
        written = int.from_bytes(memory[start : start + 8].tobytes(), "little")
        start += 8
        if start + count * itemsize > len(memory):
            raise ValueError(f"is truncated: storage {shown(key)} is not whole")
        if written != count:
            raise ValueError(f"has {written} elements in storage {shown(key)} of {count}: refused")
        places[key] = memory[start : start + count * itemsize]
        start += count * itemsize
    if start != len(memory):
        raise ValueError(f"has {len(memory) - start} bytes behind its last storage: refused")
    return places


def _persistent(
    storage: Callable[[np.dtype | None, str, int], Storage],
) -> Callable[[Any], Storage]:
    """The meaning of ('storage', class, key, device, elements) and, long ago, of a view of one."""

    def load(found: Any) -> Storage:
        parts = found if type(found) is tuple else ()
        good = 5 <= len(parts) <= 6 and parts[0] == "storage" and type(parts[1]) is Name
        good = good and type(parts[2]) is str and type(parts[4]) is int and 0 <= parts[4] < 2**48
        if not good:
            raise ValueError("has a persistent id that is no storage of tensors: refused")
        if parts[5:] not in ((), (None,)):
            raise ValueError("has a storage that is a view of another: refused")
        dtype = storage_dtype(parts[1])
        return storage(dtype, parts[2], parts[4] * (dtype.itemsize if dtype else 1))

    return load


def _no_storage(found: Any) -> Storage:
    raise ValueError("has a storage where none belongs: refused")
