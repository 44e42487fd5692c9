"""Reads a pickle of containers, numbers and strings on a machine of its own, running nothing.

`pickle.Unpickler` imports and calls what a file names. This machine looks every name up in a table
that its caller gives (`torch_names`), and calls what stands there and nothing else. `pickletools`
tells the operations apart; each is a few lines below. What a file costs is bounded: the bytes of
its pickle and the operations and copies that they ask for.
"""

import io
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# The pickle of a full-size checkpoint with its optimiser has 1 MB and 150,000 operations.
MOST_BYTES = 2**26
_MOST_STEPS = 2_000_000


@dataclass(frozen=True, eq=False)
class Name:
    """A name that a pickle may ask for."""

    name: str  # "module.name"
    call: Callable[[tuple, "Machine"], Any] | None = None  # what it makes of arguments
    record: bool = False  # a class whose objects are read as dicts of their attributes


@dataclass(eq=False)
class Script:
    """A module of a TorchScript archive: its attributes, among them tensors and more modules."""

    name: str
    attributes: dict[str, Any] = field(default_factory=dict)


def run_pickle(
    file: io.BytesIO, find: Callable[[str], Name], persistent: Callable[[Any], Any]
) -> Any:
    """Returns what the pickle at the position of a file holds, and leaves the file behind it.

    Args:
      file: at most MOST_BYTES, all in memory.
      find: gives the meaning of a "module.name" or raises ValueError.
      persistent: gives the meaning of a persistent id (of a storage) or raises ValueError.

    Raises:
      ValueError: the pickle is broken, asks for what `find` or `persistent` refuse, for an
        operation that no checkpoint needs, or for too many. The text lacks a subject: the file.
    """
    machine = Machine(find, persistent)
    for name, argument in _operations(file):
        machine.spend(1)
        if name in _VALUES:
            machine.stack.append(argument)
        elif name == "STOP":
            return machine.pop()
        elif name in _STEPS:
            _STEPS[name](machine, argument)
        else:
            raise ValueError(
                f"uses the pickle operation {name}, which no checkpoint needs: refused, "
                "nothing was run"
            )
    raise ValueError("holds a pickle without an end")


class Machine:
    """The stack, the memo and the costs of a pickle."""

    def __init__(self, find: Callable[[str], Name], persistent: Callable[[Any], Any]):
        self.find, self.persistent = find, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.records: dict[int, dict] = {}  # by id: dicts that stand for objects
        self.steps = 0

    def spend(self, steps: int) -> None:
        """Counts operations and copied items; raises ValueError beyond the most allowed."""
        self.steps += steps
        if self.steps > _MOST_STEPS:
            raise ValueError(f"asks for more than {_MOST_STEPS} operations to be read: refused")

    def top(self) -> Any:
        """The value on top of the stack."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise ValueError("holds a broken pickle: it takes a value where there is none")
        return self.stack[-1]

    def pop(self) -> Any:
        """Takes the value on top of the stack."""
        self.top()
        return self.stack.pop()

    def pop_items(self) -> list[Any]:
        """Takes the values above the last mark, and the mark."""
        if not self.marks:
            raise ValueError("holds a broken pickle: it takes a mark where there is none")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items


def shown(text: Any) -> str:
    """A text of a file, as far as a message should repeat it: on one line, and not too long."""
    return ascii(text)[1:-1][:80] if isinstance(text, str) else f"a {type(text).__name__}"


def key_of(value: Any) -> Any:
    """Returns a value that may be a key of a dict or a member of a set, else raises ValueError.

    A tuple of tuples of tuples has a hash that overflows the stack of the interpreter.
    """
    simple = (str, int, float, bool, bytes, type(None))
    if type(value) in simple or (type(value) is tuple and all(type(v) in simple for v in value)):
        return value
    raise ValueError(f"has a {type(value).__name__} for a key: refused")


def as_dict(pairs: Any, machine: Machine) -> dict:
    """A dict of a list or tuple of pairs, or of a dict, or raises ValueError."""
    if type(pairs) is dict:
        machine.spend(len(pairs))
        return dict(pairs)
    if type(pairs) not in (list, tuple):
        raise ValueError(f"makes a dict of a {type(pairs).__name__}: refused")
    machine.spend(len(pairs))
    if not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError("makes a dict of what is no pair of key and value: refused")
    return {key_of(key): value for key, value in pairs}


def _operations(file: io.BytesIO) -> Iterator[tuple[str, Any]]:
    """(name, argument) of the operations up to STOP."""
    operations = pickletools.genops(file)
    while True:
        try:
            operation, argument, _ = next(operations)
        except StopIteration:
            return
        except (ValueError, OverflowError) as error:
            raise ValueError(f"holds a broken pickle: {shown(str(error))}") from error
        yield operation.name, argument


def _global(machine: Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    machine.stack.append(machine.find(f"{module}.{name}"))


def _stack_global(machine: Machine, _) -> None:
    name, module = machine.pop(), machine.pop()
    if type(name) is not str or type(module) is not str:
        raise ValueError("asks for a name that is no text: refused, nothing was run")
    machine.stack.append(machine.find(f"{module}.{name}"))


def _reduce(machine: Machine, _) -> None:
    arguments, function = machine.pop(), machine.pop()
    if type(function) is not Name or type(arguments) is not tuple:
        raise ValueError(f"calls a {type(function).__name__}: refused, nothing was run")
    if function.call is None:
        raise ValueError(f"calls {function.name}: refused, nothing was run")
    machine.stack.append(function.call(arguments, machine))


def _new(machine: Machine, _) -> None:
    arguments, cls = machine.pop(), machine.pop()
    if type(cls) is not Name or not (cls.record or cls.name.startswith("__torch__.")):
        what = cls.name if type(cls) is Name else f"a {type(cls).__name__}"
        raise ValueError(f"makes an object of {what}: refused, nothing was run")
    if type(arguments) is not tuple or arguments:
        raise ValueError(f"makes an object of {cls.name} with arguments: refused")
    if not cls.record:
        machine.stack.append(Script(cls.name))
        return
    machine.stack.append({})
    machine.records[id(machine.stack[-1])] = machine.stack[-1]


def _build(machine: Machine, _) -> None:
    """Gives an object its state."""
    state, value = machine.pop(), machine.top()
    if type(value) is np.ndarray and value.flags.writeable:
        _fill(value, state)
        return
    if isinstance(value, np.dtype):
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise ValueError("has numbers of numpy that are not little-endian: refused")
        return
    if type(state) is not dict or not all(type(key) is str for key in state):
        raise ValueError(f"gives a {type(value).__name__} a state that is no dict: refused")
    machine.spend(len(state))
    if type(value) is Script:
        value.attributes.update(state)
    elif type(value) is not dict:
        raise ValueError(f"gives a {type(value).__name__} a state: refused")
    elif id(value) in machine.records:
        value.update(state)
    # else an OrderedDict with attributes, such as the versions of its modules: not read


def _fill(array: np.ndarray, state: Any) -> None:
    """Gives the numpy array that `torch_names` made its dtype, shape and values."""
    fits = type(state) is tuple and len(state) == 5 and type(state[1]) is tuple
    if not fits or not isinstance(state[2], np.dtype) or type(state[4]) is not bytes:
        raise ValueError("gives a numpy array a state of another form: refused")
    _, shape, dtype, order, values = state
    count = 1
    for size in shape:
        count *= size if type(size) is int and 0 <= size < 2**62 else -1
    if (
        count < 0
        or len(shape) > 32
        or count * dtype.itemsize != len(values)
        or type(order) is not bool
    ):
        raise ValueError("gives a numpy array values that do not fit its shape: refused")
    array.__setstate__((1, shape, dtype, order, values))


def _list_of(machine: Machine) -> list:
    if type(machine.top()) is not list:
        raise ValueError(f"appends to a {type(machine.top()).__name__}: refused")
    return machine.top()


def _set_items(machine: Machine, items: list) -> None:
    if type(machine.top()) is not dict:
        raise ValueError(f"sets items of a {type(machine.top()).__name__}: refused")
    machine.top().update(_pairs(items))


def _pairs(items: list) -> dict:
    if len(items) % 2:
        raise ValueError("holds a broken pickle: a key without a value")
    return {key_of(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _add_items(machine: Machine, _) -> None:
    items, found = machine.pop_items(), machine.top()
    if type(found) is not set:
        raise ValueError(f"adds to a {type(found).__name__}: refused")
    found.update(key_of(item) for item in items)


def _append(machine: Machine, _) -> None:
    value = machine.pop()
    _list_of(machine).append(value)


def _appends(machine: Machine, _) -> None:
    items = machine.pop_items()
    _list_of(machine).extend(items)


def _set_item(machine: Machine, _) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(machine, [key, value])


def _take(count: int) -> Callable[[Machine, Any], None]:
    def step(machine: Machine, _) -> None:
        values = [machine.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(values)))

    return step


def _get(machine: Machine, index: int) -> None:
    if index not in machine.memo:
        raise ValueError("holds a broken pickle: it reads a memo that was not written")
    machine.stack.append(machine.memo[index])


def _put(machine: Machine, index: int) -> None:
    machine.memo[index] = machine.top()


def _made(make: Callable[[list], Any]) -> Callable[[Machine, Any], None]:
    """An operation that makes a value of the items above the last mark."""
    return lambda machine, _: machine.stack.append(make(machine.pop_items()))


def _fresh(make: Callable[[], Any]) -> Callable[[Machine, Any], None]:
    return lambda machine, _: machine.stack.append(make())


_VALUES = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
))  # fmt: skip
_STEPS: dict[str, Callable[[Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "NONE": _fresh(lambda: None),
    "NEWTRUE": _fresh(lambda: True),
    "NEWFALSE": _fresh(lambda: False),
    "EMPTY_LIST": _fresh(list),
    "EMPTY_DICT": _fresh(dict),
    "EMPTY_SET": _fresh(set),
    "EMPTY_TUPLE": _fresh(tuple),
    "LIST": _made(list),
    "TUPLE": _made(tuple),
    "DICT": _made(_pairs),
    "FROZENSET": _made(lambda items: frozenset(key_of(item) for item in items)),
    "TUPLE1": _take(1),
    "TUPLE2": _take(2),
    "TUPLE3": _take(3),
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: _set_items(machine, machine.pop_items()),
    "ADDITEMS": _add_items,
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "POP": lambda machine, _: machine.pop(),
    "POP_MARK": lambda machine, _: machine.pop_items(),
    "DUP": lambda machine, _: machine.stack.append(machine.top()),
    "GET": _get,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "PUT": _put,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": lambda machine, _: _put(machine, len(machine.memo)),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _new,
    "BUILD": _build,
    "BINPERSID": lambda machine, _: machine.stack.append(machine.persistent(machine.pop())),
}
