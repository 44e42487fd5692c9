"""What the names in a file of torch.save mean: tensors and containers, in numpy and Python."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from jaxreid.weights.pickle_machine import Machine, Name, as_dict, key_of, shown

_DTYPES = {
    "Float": np.dtype(np.float32), "Double": np.dtype(np.float64), "Half": np.dtype(np.float16),
    "BFloat16": np.dtype(ml_dtypes.bfloat16), "Long": np.dtype(np.int64),
    "Int": np.dtype(np.int32), "Short": np.dtype(np.int16), "Char": np.dtype(np.int8),
    "Byte": np.dtype(np.uint8), "Bool": np.dtype(np.bool_),
}  # fmt: skip
# A view that repeats the elements of a storage may be larger than it by this at most.
_MOST_REPEATED_BYTES = 2**26
_MOST_AXES = 32
_UNTYPED = "torch.storage.UntypedStorage"


@dataclass(frozen=True, eq=False)
class Storage:
    """The memory that tensors of a file share."""

    dtype: np.dtype | None  # None: of each tensor
    size: int  # bytes
    data: np.ndarray | None  # u8[size], mapped from the file; None while its place is not known


def storage_dtype(value: Any) -> np.dtype | None:
    """The dtype of a class of storages; None where its tensors say it. Or raises ValueError."""
    if type(value) is Name:
        if value.name == _UNTYPED:
            return None
        kind = value.name.removeprefix("torch.").removesuffix("Storage")
        if value.name == f"torch.{kind}Storage" and kind in _DTYPES:
            return _DTYPES[kind]
    what = value.name if type(value) is Name else f"a {type(value).__name__}"
    raise ValueError(f"has a storage of {what}, which is no class of storages: refused")


def find(name: str) -> Name:
    """Returns the meaning of a name of a pickle.

    Raises:
      ValueError: there is none here; the text says what the file asks for.
    """
    if name in _NAMES:
        return _NAMES[name]
    if name.startswith("__torch__."):
        return Name(shown(name))
    if name in _UNREADABLE:
        raise ValueError(f"holds {_UNREADABLE[name]} ({name}), which cannot be read here")
    raise ValueError(
        f"asks for {shown(name)}, which is no tensor or container: refused, nothing was run"
    )


def make_tensor(storage: Any, offset: Any, shape: Any, strides: Any, dtype: np.dtype) -> np.ndarray:
    """Returns a view of a storage, read-only, after checking that it stays inside.

    Args:
      storage: Storage.
      offset: in elements.
      shape: tuple of sizes.
      strides: tuple, in elements.
      dtype: of the elements.

    Raises:
      ValueError: an argument is of another kind, negative, or reaches out of the storage.
    """
    whole = (offset, *shape, *strides) if type(shape) is type(strides) is tuple else (None,)
    if type(storage) is not Storage or not all(type(n) is int and 0 <= n < 2**62 for n in whole):
        raise ValueError(
            "has a tensor whose storage, offset, shape or strides are no storage and numbers >= 0"
        )
    if len(shape) != len(strides) or len(shape) > _MOST_AXES:
        raise ValueError(f"has a tensor of {len(shape)} axes with {len(strides)} strides: refused")
    count, held = math.prod(shape), storage.size // dtype.itemsize
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if count and last >= held:
        raise ValueError(
            f"has a tensor that reaches element {last} of a storage of {held}: refused, it would "
            "read other memory"
        )
    if math.prod(max(n, 1) for n in shape) * dtype.itemsize > storage.size + _MOST_REPEATED_BYTES:
        raise ValueError(f"has a tensor of shape {shape} on a storage of {held}: refused")
    if not count or storage.data is None:
        empty = np.empty(shape if not count else 0, dtype)
        empty.flags.writeable = False
        return empty
    return np.ndarray(
        shape, dtype, storage.data, offset * dtype.itemsize,
        [stride * dtype.itemsize for stride in strides],
    )  # fmt: skip


def _need(good: bool, name: str) -> None:
    if not good:
        raise ValueError(f"calls {name} with arguments of another kind: refused")


def _tensor_v2(arguments: tuple, machine: Machine) -> np.ndarray:
    """_rebuild_tensor and _rebuild_tensor_v2: (storage, offset, shape, strides, ...)."""
    name = "torch._utils._rebuild_tensor_v2"
    _need(4 <= len(arguments) <= 7 and type(arguments[0]) is Storage, name)
    _need(arguments[0].dtype is not None, name)
    return make_tensor(*arguments[:4], arguments[0].dtype)


def _tensor_v3(arguments: tuple, machine: Machine) -> np.ndarray:
    """_rebuild_tensor_v3: (storage, offset, shape, strides, grad, hooks, dtype, ...)."""
    name = "torch._utils._rebuild_tensor_v3"
    _need(7 <= len(arguments) <= 8 and type(arguments[6]) is Name, name)
    kinds = {f"torch.{word}": _DTYPES[kind] for word, kind in _TORCH_DTYPES.items()}
    _need(arguments[6].name in kinds, name)
    return make_tensor(*arguments[:4], kinds[arguments[6].name])


def _parameter(arguments: tuple, machine: Machine) -> np.ndarray:
    """_rebuild_parameter: (tensor, requires_grad, hooks, state)."""
    good = 3 <= len(arguments) <= 4 and type(arguments[0]) is np.ndarray
    _need(good, "torch._utils._rebuild_parameter")
    return arguments[0]


def _typed_tensor(arguments: tuple, machine: Machine) -> np.ndarray:
    """_rebuild_from_type_v2: (function, class, arguments, attributes); attributes are not read."""
    good = len(arguments) == 4 and type(arguments[0]) is Name and type(arguments[2]) is tuple
    _need(good, "torch._tensor._rebuild_from_type_v2")
    _need(arguments[0].call in (_tensor_v2, _tensor_v3, _parameter), "_rebuild_from_type_v2")
    return arguments[0].call(arguments[2], machine)


def _ordered(arguments: tuple, machine: Machine) -> dict:
    _need(len(arguments) <= 1, "a dict")
    return as_dict(arguments[0], machine) if arguments else {}


def _defaults(arguments: tuple, machine: Machine) -> dict:
    _need(len(arguments) <= 1, "collections.defaultdict")
    return {}


def _sequence(make: Callable, name: str) -> Callable[[tuple, Machine], Any]:
    """What a class makes of one list, tuple or set."""

    def call(arguments: tuple, machine: Machine) -> Any:
        _need(len(arguments) <= 2 and (not arguments or type(arguments[0]) in _LISTS), name)
        items = arguments[0] if arguments else ()
        machine.spend(len(items))
        if make in (set, frozenset):
            items = [key_of(item) for item in items]
        return make(items)

    return call


_LISTS = (list, tuple, set, frozenset)


def _tagged(arguments: tuple, machine: Machine) -> Any:
    """restore_type_tag: (container, its type in TorchScript)."""
    _need(len(arguments) == 2, "torch.jit._pickle.restore_type_tag")
    return arguments[0]


def _encoded(arguments: tuple, machine: Machine) -> bytes:
    """_codecs.encode: how protocol 2 writes bytes."""
    good = len(arguments) == 2 and type(arguments[0]) is str and arguments[1] == "latin1"
    _need(good, "_codecs.encode")
    machine.spend(len(arguments[0]) // 64)
    try:
        return arguments[0].encode("latin1")
    except UnicodeEncodeError as error:
        raise ValueError("holds bytes beyond 255: refused") from error


def _no_bytes(arguments: tuple, machine: Machine) -> bytes:
    _need(not arguments, "bytes")
    return b""


def _complex(arguments: tuple, machine: Machine) -> complex:
    _need(len(arguments) == 2 and all(type(n) is float for n in arguments), "complex")
    return complex(*arguments)


def _path(arguments: tuple, machine: Machine) -> str:
    _need(all(type(part) is str for part in arguments), "a path")
    machine.spend(sum(map(len, arguments)) // 64)
    return "/".join(arguments)


def _device(arguments: tuple, machine: Machine) -> str:
    good = 1 <= len(arguments) <= 2 and type(arguments[0]) is str
    _need(good and all(type(n) is int for n in arguments[1:]), "torch.device")
    return ":".join(shown(str(part)) for part in arguments)


def _numpy_dtype(arguments: tuple, machine: Machine) -> np.dtype:
    good = 1 <= len(arguments) <= 3 and type(arguments[0]) is str
    _need(good and arguments[0] in _NUMPY_DTYPES, "numpy.dtype")
    return np.dtype(arguments[0])


_NUMPY_DTYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


def _numpy_scalar(arguments: tuple, machine: Machine) -> int | float | bool:
    good = len(arguments) == 2 and isinstance(arguments[0], np.dtype)
    good = good and type(arguments[1]) is bytes and len(arguments[1]) == arguments[0].itemsize
    _need(good, "numpy.core.multiarray.scalar")
    return np.frombuffer(arguments[1], arguments[0])[0].item()


def _empty_array(arguments: tuple, machine: Machine) -> np.ndarray:
    """An array that a state will fill; a tensor differs in being read-only."""
    good = len(arguments) == 3 and type(arguments[0]) is Name
    _need(good and arguments[0].name == "numpy.ndarray", "numpy.core.multiarray._reconstruct")
    return np.empty(0, np.uint8)


_TORCH_DTYPES = {
    "float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16",
    "int64": "Long", "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte",
    "bool": "Bool",
}  # fmt: skip


def _builtin(name: str, call: Callable) -> dict[str, Callable]:
    """A name of Python 3 and the one that protocol 2 writes."""
    return {f"builtins.{name}": call, f"__builtin__.{name}": call}


_CALLS: dict[str, Callable[[tuple, Machine], Any]] = {
    "torch._utils._rebuild_tensor": _tensor_v2,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _typed_tensor,
    "torch.Size": _sequence(tuple, "torch.Size"),
    "torch.device": _device,
    "torch.jit._pickle.build_intlist": _sequence(list, "build_intlist"),
    "torch.jit._pickle.build_doublelist": _sequence(list, "build_doublelist"),
    "torch.jit._pickle.build_boollist": _sequence(list, "build_boollist"),
    "torch.jit._pickle.build_tensorlist": _sequence(list, "build_tensorlist"),
    "torch.jit._pickle.restore_type_tag": _tagged,
    "collections.OrderedDict": _ordered,
    "collections.Counter": _ordered,
    "collections.defaultdict": _defaults,
    "collections.deque": _sequence(list, "collections.deque"),
    "_codecs.encode": _encoded,
    "pathlib.PosixPath": _path,
    "pathlib.PurePosixPath": _path,
    "numpy.dtype": _numpy_dtype,
    **_builtin("set", _sequence(set, "set")),
    **_builtin("frozenset", _sequence(frozenset, "frozenset")),
    **_builtin("list", _sequence(list, "list")),
    **_builtin("tuple", _sequence(tuple, "tuple")),
    **_builtin("dict", _ordered),
    **_builtin("bytes", _no_bytes),
    **_builtin("complex", _complex),
    **{f"numpy.{core}.multiarray.scalar": _numpy_scalar for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": _empty_array for core in ("core", "_core")},
}
# Objects that hold settings beside the weights.
_RECORDS = ("argparse.Namespace", "types.SimpleNamespace", "easydict.EasyDict")
_CLASSES = (
    "torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer", "numpy.ndarray",
    _UNTYPED, "builtins.int", "builtins.float", "__builtin__.long", "__builtin__.float",
    *(f"torch.{kind}Storage" for kind in _DTYPES), *(f"torch.{word}" for word in _TORCH_DTYPES),
)  # fmt: skip
_NAMES: dict[str, Name] = {
    **{name: Name(name, call) for name, call in _CALLS.items()},
    **{name: Name(name, record=True) for name in _RECORDS},
    **{name: Name(name) for name in _CLASSES},
}
_UNREADABLE = {
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_sparse_csr_tensor": "a sparse tensor",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "a meta tensor, which has no values",
    "torch._utils._rebuild_device_tensor_from_numpy": "a tensor of a special device",
    "torch._utils._rebuild_qtensor": "a quantised tensor",
    "torch.ComplexFloatStorage": "complex numbers",
    "torch.ComplexDoubleStorage": "complex numbers",
    **{f"torch.{kind}Storage": "a quantised tensor"
       for kind in ("QInt8", "QUInt8", "QInt32", "QUInt4x2", "QUInt2x4")},
}  # fmt: skip
