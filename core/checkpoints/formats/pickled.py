"""Pickles of torch.save, followed step by step without Python's own unpickler: nothing in them can run.

A pickle is a program for a small stack machine, and Python's machine calls what it is told to call, hashes what it is
told to hash and recurses as deep as it is told. This one knows the instructions that torch.save writes, and a table of
names, each of which stands for an inert object of this file. A key of a dictionary is a plain value or a short tuple of
such; any other key keeps its value and loses its meaning. Nothing here recurses, so depth costs nothing.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from duoreid.core.checkpoints.numbers import KINDS, elements
from duoreid.core.errors import UserError

MOST_STEPS = 1_000_000
"""Instructions of one pickle: the state of the largest training has some ten thousand."""

MOST_IN_A_KEY = 16


class Other:
    """Stands for a value that is no tensor."""

    __slots__ = ()


OTHER = Other()


class Storage(NamedTuple):
    """Numbers in the file: their type, their name, and how many they are (bytes, where the type is "bytes")."""

    type: str
    key: str
    count: int


class Located(NamedTuple):
    """A tensor: where its numbers lie in a storage, in elements of its type."""

    storage: Storage
    type: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Name(NamedTuple):
    """A name that a pickle may hold."""

    module: str
    name: str


class Kind:
    """The type of a NumPy scalar, by NumPy's letter and width; "" once it is known to be in another order of bytes."""

    __slots__ = ("code",)

    def __init__(self, code: str) -> None:
        self.code = code


STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "int8",
    "QUInt8Storage": "uint8",
    "QInt32Storage": "int32",
    "UntypedStorage": "bytes",
}
REBUILT = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
PASSED_ON = ("_rebuild_parameter", "_rebuild_parameter_with_state")
NO_WEIGHTS = ("_rebuild_qtensor", "_rebuild_sparse_tensor", "_rebuild_nested_tensor", "_rebuild_meta_tensor_no_storage")
"""Tensors that are not numbers in a row: they are nobody's weights here, and count as something else."""

MAPPINGS = ("OrderedDict", "Counter", "defaultdict")
BUILT_IN = ("set", "frozenset", "complex", "bytearray", "dict", "list", "tuple", "int", "float", "bool", "str")
SCALARS = {"f8": "<d", "f4": "<f", "f2": "<e", "i8": "<q", "i4": "<i", "u8": "<Q", "u4": "<I", "b1": "<?"}
"""NumPy's types of single numbers ("best_mAP", "best_top1"), and how their bytes are read."""

LONGEST_SCALAR = 8

HARMLESS = frozenset(
    [
        *(("collections", name) for name in MAPPINGS),
        *((module, name) for module in ("builtins", "__builtin__") for name in BUILT_IN),
        *((module, "scalar") for module in ("numpy.core.multiarray", "numpy._core.multiarray")),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
        *(("torch", name) for name in ("Size", "device", *KINDS, "complex32", "qint8", "quint8", "qint32")),
        ("torch.serialization", "_get_layout"),
        *(("torch._utils", name) for name in (*REBUILT, *PASSED_ON, *NO_WEIGHTS)),
        *((module, name) for module in ("torch", "torch.storage") for name in ("UntypedStorage",)),
        *(("torch", name) for name in STORAGES),
    ]
)
"""Names of values that lie in files of weights: tensors, containers, and numbers beside them ("best_mAP").

Those that are called are called as what they stand for here, never as what they are.
"""


class _Mark:
    __slots__ = ()


MARK = _Mark()


class _Unknown:
    """A key that is not plain."""

    __slots__ = ()


def load(file: BinaryIO, path: Path) -> Any:
    """Follow the pickle that begins where the file stands, and leave the file behind it; return what it made.

    Dictionaries, lists and tuples are such, tensors `Located`, all else is inert. UserError for a name that is not in
    the table; ValueError, IndexError, KeyError and TypeError for a damaged program.
    """
    machine = _Machine(path)
    for steps, (code, argument, place) in enumerate(pickletools.genops(file)):
        if steps >= MOST_STEPS:
            raise ValueError(f"a pickle of more than {MOST_STEPS:,} instructions")
        act = ACTS.get(code.name)
        if act is None or (code.name == "LONG_BINPUT" and argument > place):
            raise ValueError(f"the instruction {code.name}, which torch does not write")
        act(machine, argument)
        if code.name == "STOP":
            break
    return machine.stack.pop()


class _Machine:
    """The stack, and the memo of values that later instructions take again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is MARK:
            raise ValueError("a mark where a value should be")
        return value

    def above_mark(self) -> list[Any]:
        """Take what lies above the last mark, and the mark."""
        items = []
        while (value := self.stack.pop()) is not MARK:
            items.append(value)
        return items[::-1]

    def top(self, kind: type) -> Any:
        """Return the value on top; None where it is something inert of another kind."""
        value = self.stack[-1]
        if type(value) is kind:
            return value
        if type(value) is not Other:
            raise ValueError(f"items for a {type(value).__name__}")
        return None

    def named(self, module: str, name: str) -> Name:
        if (module, name) not in HARMLESS:
            shown = f"{module}.{name}"[:200]
            raise UserError(
                f"{self.path} is refused: it holds {shown}, and to load that would run code that came with the file. A "
                "file of tensors needs nothing of the kind. If you trust it, open it where it was made, and save the "
                "tensors alone: torch.save(model.state_dict(), FILE)."
            )
        return Name(module, name)

    def call(self, callee: Any, arguments: Any) -> Any:
        """Return what a listed name makes of its arguments."""
        if type(callee) is not Name or type(arguments) is not tuple:
            raise ValueError("a call of something that is no name")
        name = callee.name
        if name in MAPPINGS:
            return _mapping(arguments)
        if callee.module == "torch._utils":
            return _tensor(name, arguments) if name in REBUILT else arguments[0] if name in PASSED_ON else OTHER
        if name in SCALAR_PARTS:
            return SCALAR_PARTS[name](arguments)
        if name == "Size" and len(arguments) == 1 and type(arguments[0]) is tuple:
            return arguments[0]
        return OTHER


def _mapping(arguments: tuple[Any, ...]) -> dict:
    mapping: dict = {}
    for given in arguments:
        pairs = given.items() if type(given) is dict else given if type(given) is list else ()
        for pair in pairs:
            if type(pair) not in (list, tuple) or len(pair) != 2:
                raise ValueError("a dictionary of something other than pairs")
            mapping[_key(pair[0])] = pair[1]
    return mapping


def _kind(arguments: tuple[Any, ...]) -> Any:
    """Return what `numpy.dtype("f8", False, True)` stands for; OTHER for a type that no single number here has."""
    return Kind(arguments[0]) if arguments and type(arguments[0]) is str and arguments[0] in SCALARS else OTHER


def _encoded(arguments: tuple[Any, ...]) -> Any:
    """Return the bytes that a text stands for, in pickles whose protocol has no bytes; OTHER for more than a number."""
    if len(arguments) != 2 or type(arguments[0]) is not str or arguments[1] != "latin1":
        return OTHER
    text = arguments[0]
    return text.encode("latin1") if len(text) <= LONGEST_SCALAR and all(ord(one) < 256 for one in text) else OTHER


def _scalar(arguments: tuple[Any, ...]) -> Any:
    """Return a NumPy scalar as Python's number; OTHER where its type is another, or its bytes are of another length."""
    if len(arguments) != 2 or type(arguments[0]) is not Kind or type(arguments[1]) is not bytes:
        return OTHER
    form = SCALARS.get(arguments[0].code)
    fits = form is not None and len(arguments[1]) == struct.calcsize(form)
    return struct.unpack(form, arguments[1])[0] if fits else OTHER


SCALAR_PARTS = {"dtype": _kind, "encode": _encoded, "scalar": _scalar}

PLAIN_KEYS = (str, int, float, bool, bytes, type(None))


def _key(value: Any) -> Any:
    """Return a key whose hash takes no longer than it is; another one is replaced by one that equals nothing."""
    if type(value) in PLAIN_KEYS:
        return value
    if type(value) is tuple and len(value) <= MOST_IN_A_KEY and all(type(part) in PLAIN_KEYS for part in value):
        return value
    return _Unknown()


def _storage(identity: Any) -> Storage:
    if type(identity) is not tuple or len(identity) < 5:
        raise ValueError("a stored object without a description")
    kind, storage, key, _, count, *view = identity
    known = type(storage) is Name and STORAGES.get(storage.name)
    if kind != "storage" or not known or type(key) not in (str, int) or type(count) is not int or count < 0:
        raise ValueError("a stored object of unknown form")
    if any(part is not None for part in view):
        raise ValueError("a view of another storage, which torch has not written since its version 0.3")
    return Storage(known, str(key), count)


def _tensor(name: str, arguments: tuple[Any, ...]) -> Located:
    storage, offset, shape, strides, *rest = arguments
    if type(storage) is not Storage or type(shape) is not tuple or type(strides) is not tuple:
        raise ValueError("a tensor that is not described by a storage and whole numbers")
    kind = storage.type
    if kind == "bytes":
        given = rest[2] if name == "_rebuild_tensor_v3" and len(rest) > 2 else None
        if type(given) is not Name or given.name not in KINDS:
            raise ValueError("a tensor of numbers of an unknown type")
        kind = given.name
    if len(shape) != len(strides) or not all(type(n) is int and n >= 0 for n in (offset, *shape, *strides)):
        raise ValueError("a tensor that is not described by a storage and whole numbers")
    elements(shape)
    return Located(storage, kind, offset, shape, strides)


# -- instructions -----------------------------------------------------------------------------------------------------


def _push(value: Callable[[Any], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, argument: machine.stack.append(value(argument))


def _set_items(machine: _Machine, pairs: list[Any]) -> None:
    if len(pairs) % 2:
        raise ValueError("a key without a value")
    target = machine.top(dict)
    if target is not None:
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[_key(key)] = value


def _append(machine: _Machine, items: list[Any]) -> None:
    target = machine.top(list)
    if target is not None:
        target.extend(items)


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(machine, [key, value])


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    def act(machine: _Machine, _: Any) -> None:
        items = [machine.pop() for _ in range(count)]
        machine.stack.append(tuple(items[::-1]))

    return act


def _reduce(machine: _Machine, _: Any) -> None:
    arguments, callee = machine.pop(), machine.pop()
    machine.stack.append(machine.call(callee, arguments))


def _build(machine: _Machine, _: Any) -> None:
    """Drop what would be set on an object (torch's version notes); a name has no attributes to be set.

    A NumPy type is told its order of bytes, and only the little-endian one is read.
    """
    told = machine.pop()
    if type(machine.stack[-1]) is Kind:
        if type(told) is not tuple or len(told) < 2 or told[1] not in ("<", "|"):
            machine.stack[-1].code = ""  # the memo holds the same object
        return
    if type(machine.stack[-1]) not in (dict, Other):
        raise ValueError(f"attributes for a {type(machine.stack[-1]).__name__}")


def _add_items(machine: _Machine, _: Any) -> None:
    machine.above_mark()
    if type(machine.stack[-1]) is not Other:
        raise ValueError("items for what is no set")


def _global(machine: _Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    machine.stack.append(machine.named(module, name))


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    if type(module) is not str or type(name) is not str:
        raise ValueError("a name that is no text")
    machine.stack.append(machine.named(module, name))


def _memoise(machine: _Machine, place: Any) -> None:
    machine.memo[len(machine.memo) if place is None else place] = machine.stack[-1]


ACTS: Mapping[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, _: None),
    "MARK": _push(lambda _: MARK),
    "NONE": _push(lambda _: None),
    "NEWTRUE": _push(lambda _: True),
    "NEWFALSE": _push(lambda _: False),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _push(lambda value: value)),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"), _push(lambda value: value)),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES"), _push(lambda value: value)),
    "EMPTY_DICT": _push(lambda _: {}),
    "EMPTY_LIST": _push(lambda _: []),
    "EMPTY_TUPLE": _push(lambda _: ()),
    "EMPTY_SET": _push(lambda _: OTHER),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.above_mark())),
    **{f"TUPLE{count}": _tuple_of(count) for count in (1, 2, 3)},
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: _set_items(machine, machine.above_mark()),
    "APPEND": lambda machine, _: _append(machine, [machine.pop()]),
    "APPENDS": lambda machine, _: _append(machine, machine.above_mark()),
    "ADDITEMS": _add_items,
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), _memoise),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, place: machine.stack.append(machine.memo[place])),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "BINPERSID": lambda machine, _: machine.stack.append(_storage(machine.pop())),
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "BUILD": _build,
}
"""What each instruction does, by its name in Python's pickletools."""
