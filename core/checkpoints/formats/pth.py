"""torch.save's files, both the zip form (since torch 1.6) and the one before it, read without torch.

Both hold a pickle, and a pickle can call any function. Here it may name only what a file of tensors needs: the
ordered dictionary, torch's tensor constructors and storage types, NumPy's scalars. Each of these stands for an inert
object of this file; any other name is an error, whatever it is. The pickle's instructions are checked before the first
is run, so that a damaged one cannot ask for more memory than the file is long. Storages are bytes, and a tensor is made
from them only after its offset, shape and strides have been found to lie inside.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from duoreid.core.errors import UserError

LEGACY_HEAD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch's magic number, pickled
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
"""Keys under which training scripts put the tensors of a checkpoint, in the order in which they are tried."""

STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
HARMLESS = {
    *((module, name) for module in ("numpy.core.multiarray", "numpy._core.multiarray") for name in ("scalar",)),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("torch", "Size"),
    ("torch", "device"),
}
"""Names that checkpoints use for numbers beside the tensors ("best_mAP"); their values are not needed."""

_INSTRUCTIONS = """
    PROTO FRAME MARK STOP NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE
    BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES EMPTY_DICT EMPTY_LIST EMPTY_TUPLE EMPTY_SET TUPLE TUPLE1 TUPLE2
    TUPLE3 SETITEM SETITEMS APPEND APPENDS ADDITEMS BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL
    BINPERSID REDUCE NEWOBJ BUILD
"""
INSTRUCTIONS = frozenset(_INSTRUCTIONS.split())
"""Instructions of pickles that torch.save writes."""

BROKEN = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    EOFError,
    OSError,
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
    RuntimeError,  # an encrypted entry; too deep a nesting; what zipfile does not know
)
"""What reading a damaged or hostile file can raise."""


class _Mapping(dict):
    """Stands for OrderedDict. Attributes that a pickle would set on it (torch's version notes) are dropped."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        """Drop it."""


class _Other:
    """Stands for a value that is no tensor, and for what makes one."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> _Other:
        return self

    def __setstate__(self, state: Any) -> None:
        """Drop it."""


class _Storage(NamedTuple):
    type: str
    key: str
    count: int


class _Located(NamedTuple):
    """A tensor: where its numbers lie in a storage, in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Tensor:
    """Stands for torch._utils._rebuild_tensor_v2."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, *flags: Any) -> _Located:
        numbers = (offset, *shape, *strides)
        if not isinstance(storage, _Storage) or not all(type(n) is int and n >= 0 for n in numbers):
            raise ValueError("a tensor that is not described by a storage and whole numbers")
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        size = int(np.prod([*shape, 1], dtype=object))
        if size and (last >= storage.count or size > storage.count):
            raise ValueError(f"a tensor {tuple(shape)} that does not lie in its storage of {storage.count:,} numbers")
        return _Located(storage, offset, tuple(shape), tuple(strides))


class _Parameter:
    """Stands for torch._utils._rebuild_parameter."""

    __slots__ = ()

    def __call__(self, data: Any, *flags: Any) -> Any:
        return data


class _Unpickler(pickle.Unpickler):
    """An unpickler to which only the names above exist."""

    def __init__(self, program: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(program), encoding="latin1")
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _Mapping
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
            return _Tensor() if name == "_rebuild_tensor_v2" else _Parameter()
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) in HARMLESS:
            return _Other()
        raise UserError(
            f"{self.path} is refused: it holds {module}.{name}, and to load that would run code that came with the "
            "file. A file of tensors needs nothing of the kind. If you trust it, open it where it was made, and save "
            "the tensors alone: torch.save(model.state_dict(), FILE)."
        )

    def persistent_load(self, identity: Any) -> _Storage:
        kind, storage, key, _, count, *view = identity
        if kind != "storage" or storage not in STORAGES.values() or type(count) is not int or any(view):
            raise ValueError(f"a stored object of unknown form {kind!r}")
        return _Storage(storage, str(key), count)


def _unpickle(file: BinaryIO, path: Path) -> Any:
    """Check and run the pickle that begins where the file stands; leave the file behind it."""
    start = file.tell()
    for code, argument, place in pickletools.genops(file):
        if code.name not in INSTRUCTIONS or (code.name == "LONG_BINPUT" and argument > place):
            raise ValueError(f"the instruction {code.name} {argument!r}, which torch does not write")
    size = file.tell() - start
    file.seek(start)
    return _Unpickler(_exactly(file, size), path).load()


def read_zip(path: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Read the zip form. Returns (tensors by name, keys of what was not used); UserError says what is wrong."""

    def read() -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            root = next((name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")), None)
            if root is None:
                raise ValueError("a zip archive without data.pkl")
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise ValueError("compressed entries, which torch does not write")
            if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
                raise ValueError("numbers in big-endian order")
            content = _unpickle(io.BytesIO(archive.read(f"{root}data.pkl")), path)
            return _extract(path, content, lambda storage: archive.read(f"{root}data/{storage.key}"))

    return guarded(path, read)


def read_legacy(path: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Read the form before torch 1.6: magic number, version, system, content, storage keys, storages."""

    def read() -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        with io.BytesIO(path.read_bytes()) as file:
            _, version, system, content, keys = (_unpickle(file, path) for _ in range(5))
            if version != 1001 or not system["little_endian"]:
                raise ValueError(f"format version {version} in the byte order {system}")
            used: dict[str, _Storage] = {}
            _visit(content, lambda tensor: used.setdefault(tensor.storage.key, tensor.storage))
            blocks = {str(key): _block(file, used.get(str(key))) for key in keys}
        return _extract(path, content, lambda storage: blocks[storage.key])

    return guarded(path, read)


def _block(file: BinaryIO, storage: _Storage | None) -> bytes:
    """Read the next storage: a count of numbers, then the numbers."""
    if storage is None:
        raise ValueError("a storage that no tensor uses")
    count = int.from_bytes(_exactly(file, 8), "little")
    if count != storage.count:
        raise ValueError(f"a storage of {count:,} numbers where {storage.count:,} were announced")
    return _exactly(file, count * _width(storage.type))


def _exactly(file: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, no fewer: what is left of a number or a storage that was cut would pass for another one."""
    content = file.read(size)
    if len(content) != size:
        raise EOFError(f"{size:,} bytes expected at its end, {len(content):,} there")
    return content


def guarded(path: Path, read: Callable[[], Any]) -> Any:
    """Return what `read` returns; UserError that names the file where it raises one of BROKEN."""
    try:
        return read()
    except UserError:
        raise
    except BROKEN as error:
        raise UserError(
            f"{path} cannot be read as a file of torch.save ({type(error).__name__}: {error}): it is damaged, cut "
            "short or of another kind. Fetch it or save it again."
        ) from error


def _visit(content: Any, act: Callable[[_Located], Any]) -> None:
    """Call `act` for each tensor inside nested dictionaries, lists and tuples."""
    pending, seen = [content], set()
    while pending:
        value = pending.pop()
        if isinstance(value, _Located):
            act(value)
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            pending.extend(value.values() if isinstance(value, dict) else value)


def _extract(
    path: Path, content: Any, block: Callable[[_Storage], bytes]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    tensors, aside = _unwrap(path, content)
    blocks: dict[str, bytes] = {}
    arrays = {}
    for name, tensor in tensors.items():
        storage = tensor.storage
        if storage.key not in blocks:
            blocks[storage.key] = block(storage)
            if len(blocks[storage.key]) != storage.count * _width(storage.type):
                raise ValueError(f"storage {storage.key} holds {len(blocks[storage.key]):,} bytes, too few or too many")
        arrays[name] = _array(tensor, blocks[storage.key])
    return arrays, tuple(aside)


def _unwrap(path: Path, content: Any) -> tuple[dict[str, _Located], list[str]]:
    """Return the dictionary of tensors, at the top or below one of WRAPPERS, and the names of everything else."""
    aside: list[str] = []
    while isinstance(content, Mapping):
        tensors = {name: value for name, value in content.items() if isinstance(value, _Located)}
        if tensors:
            if not all(isinstance(name, str) for name in tensors):
                raise ValueError("tensors whose names are no text")
            return tensors, aside + [str(name) for name in content if name not in tensors]
        inner = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        aside += [str(key) for key in content if key != inner]
        if inner is None:
            break
        content = content[inner]
    found = f"the keys {', '.join(aside[:8])}" if aside else f"a {type(content).__name__}"
    raise UserError(
        f"{path} holds {found} and no dictionary of tensors, at its top or under {', '.join(WRAPPERS)}. Save the "
        "state_dict of the model."
    )


def _width(kind: str) -> int:
    return 2 if kind == "bfloat16" else np.dtype(kind).itemsize


def _array(tensor: _Located, block: bytes) -> np.ndarray:
    kind = tensor.storage.type
    flat = np.frombuffer(block, "<u2" if kind == "bfloat16" else kind)[tensor.offset :]
    strides = [step * flat.itemsize for step in tensor.strides]
    array = np.array(np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False), order="C")
    if kind == "bfloat16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array if sys.byteorder == "little" else array.astype(array.dtype.newbyteorder("="))
