"""MindSpore's .ckpt: a protocol-buffer message, read by its wire format.

`Checkpoint {repeated Value value = 1}`, `Value {string tag = 1; TensorProto tensor = 2; MapTensor = 3}`,
`TensorProto {repeated int64 dims = 1; string tensor_type = 2; bytes tensor_content = 3}`. A large tensor comes in
slices: several values of one tag, each with the dims of the whole. After the message there may be "crc_num" and the
CRC-32 of all before it, in ten bytes.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from duoreid.core.checkpoints.numbers import MOST_AXES
from duoreid.core.errors import UserError

TYPES = {
    **{f"{kind}{bits}": f"<{kind[0].lower()}{bits // 8}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)},
    **{f"Float{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    "Bool": "|b1",
    "BFloat16": "<u2",
}
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
CRC_MARK, CRC_BYTES = b"crc_num", 10


class _DamagedError(Exception):
    """The bytes are not what the wire format allows."""


def read(path: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return (tensors by name, names of what is no tensor); UserError for a damaged or an encrypted file."""
    content = path.read_bytes()
    try:
        return _parse(memoryview(_without_checksum(content)))
    except (_DamagedError, ValueError, OverflowError, MemoryError) as error:
        raise UserError(
            f"{path} cannot be read as a MindSpore checkpoint ({error}): it is damaged, cut short, encrypted, or of "
            "another kind. Save it again without an encryption key, or fetch it again."
        ) from error


def _without_checksum(content: bytes) -> bytes:
    length = len(CRC_MARK) + CRC_BYTES
    if content[-length:-CRC_BYTES] != CRC_MARK:
        return content
    body, stated = content[:-length], int.from_bytes(content[-CRC_BYTES:], "big")
    if zlib.crc32(body) != stated:
        raise _DamagedError("its bytes do not match their checksum")
    return body


def _parse(message: memoryview) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    slices: dict[str, list[tuple[tuple[int, ...], str, memoryview]]] = {}
    aside = []
    for number, value in _fields(message):
        if number != 1 or not isinstance(value, memoryview):
            raise _DamagedError(f"unknown field {number}")
        parts = dict(_fields(value))
        if not isinstance(parts.get(1), memoryview):
            raise _DamagedError("an entry without a name")
        name = str(parts[1], "utf-8")
        if not isinstance(parts.get(2), memoryview):
            aside.append(name)
            continue
        tensor = _tensor(parts[2])
        if tensor[1] == "str":
            aside.append(name)
        else:
            slices.setdefault(name, []).append(tensor)
    return {name: _join(name, parts) for name, parts in slices.items()}, tuple(aside)


def _tensor(message: memoryview) -> tuple[tuple[int, ...], str, memoryview]:
    """Return (dims, type, bytes) of one TensorProto."""
    dims: list[int] = []
    kind, content = "", memoryview(b"")
    for number, value in _fields(message):
        if number == 1:
            dims += [value] if isinstance(value, int) else _packed(value)
        elif number == 2 and isinstance(value, memoryview):
            kind = str(value, "utf-8")
        elif number == 3 and isinstance(value, memoryview):
            content = value
        else:
            raise _DamagedError(f"unknown field {number} in a tensor")
    return tuple(dims), kind, content


def _join(name: str, parts: list[tuple[tuple[int, ...], str, memoryview]]) -> np.ndarray:
    dims, kind, _ = parts[0]
    if kind not in TYPES:
        raise _DamagedError(f"{name[:80]} has the unknown type {kind[:40]!r}")
    if len(dims) > MOST_AXES:
        raise _DamagedError(f"{name[:80]} has {len(dims):,} axes, more than the {MOST_AXES} of any array")
    if any(part[:2] != (dims, kind) for part in parts):
        raise _DamagedError(f"the slices of {name[:80]} differ in shape or type")
    array = np.frombuffer(b"".join(part[2] for part in parts), np.dtype(TYPES[kind]))
    shape = () if dims == (0,) and array.size == 1 else dims  # MindSpore writes a scalar's dims as [0]
    if array.size != math.prod(shape):
        raise _DamagedError(f"{name[:80]} should hold {math.prod(shape):,} values {shape} but holds {array.size:,}")
    if kind == "BFloat16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.reshape(shape)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, integer or bytes) of a message."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if wire == BYTES:
            size, place = _varint(message, place)
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise _DamagedError(f"unknown wire type {wire}")
        if size > len(message) - place:
            raise _DamagedError(f"{size:,} bytes announced, {len(message) - place:,} left")
        yield number, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(message) and shift < 70:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
    raise _DamagedError("a number without an end")


def _packed(message: memoryview) -> list[int]:
    values, place = [], 0
    while place < len(message):
        value, place = _varint(message, place)
        values.append(value)
    return values
