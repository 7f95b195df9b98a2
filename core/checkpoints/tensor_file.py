"""safetensors files, read and written in the format's own few steps.

Eight bytes say how long the header is; the header is JSON, by name the type, shape and place of each tensor, and
"__metadata__" with texts; the numbers follow. Here a header is small, no tensor overlaps another, and every type of the
format is known. What is written is the same for the same tensors: names in order, nothing left to a hash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.core.checkpoints import numbers

LARGEST_HEADER = 16 << 20
"""Bytes of a header that is read: that of the largest network here has some thirty thousand."""

METADATA = "__metadata__"

TYPES = {
    **{
        f"{letter}{bits}": f"{kind}{bits}" for letter, kind in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)
    },
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    "BOOL": "bool",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "C64": "complex64",
}
PACKED = ("F4", "F6_E2M3", "F6_E3M2")
"""Types of the format whose numbers are no whole bytes: known by name, and read by nobody here."""

NAMES = {np.dtype(numbers.PLAIN[kind]): name for name, kind in TYPES.items() if kind in numbers.PLAIN}


def is_one(head: bytes, size: int) -> bool:
    """Return whether a file that begins so (9 bytes or more) and is so long may be one."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return (tensors by name in the file's order, metadata). ValueError and its kin for a damaged file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(9)
        if not is_one(head, size):
            raise ValueError("its first bytes announce no header")
        length = int.from_bytes(head[:8], "little")
        if length > LARGEST_HEADER:
            raise ValueError(f"a header of {length:,} bytes, more than {LARGEST_HEADER:,}")
        header = _header(head[8:] + file.read(length - 1))
        metadata = header.pop(METADATA, {})
        if type(metadata) is not dict or any(type(text) is not str for text in metadata.values()):
            raise ValueError("metadata that is not texts by name")
        places = _places(header, size - 8 - length)
        tensors = {name: _tensor(file.read(end - begin), *rest) for name, begin, end, *rest in places}
    return {name: tensors[name] for name in header}, metadata


def _header(text: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            raise ValueError("a name that the header holds twice")
        return entries

    header = json.loads(text, object_pairs_hook=once)
    if type(header) is not dict:
        raise ValueError("a header that is no dictionary")
    return header


def _places(header: Mapping[str, Any], size: int) -> list[tuple[str, int, int, str, tuple[int, ...]]]:
    """Return (name, first byte, byte behind the last, type, shape), which must follow each other without a gap."""
    places = []
    for name, entry in header.items():
        if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"{name[:80]!r} is not described by a type, a shape and a place")
        kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if type(kind) is not str or kind not in TYPES:
            reason = "packs numbers into parts of bytes" if kind in PACKED else "is unknown"
            raise ValueError(f"{name[:80]!r} has the type {str(kind)[:20]!r}, which {reason}")
        if type(shape) is not list or type(offsets) is not list or [type(place) for place in offsets] != [int, int]:
            raise ValueError(f"{name[:80]!r} has no shape or no place")
        begin, end = offsets
        if end - begin != numbers.elements(tuple(shape)) * numbers.width(TYPES[kind]):
            raise ValueError(f"{name[:80]!r} has another number of bytes than its shape and type say")
        places.append((name, begin, end, TYPES[kind], tuple(shape)))
    places.sort(key=lambda place: place[1:3])
    reached = 0
    for name, begin, end, *_ in places:
        if begin != reached:
            raise ValueError(f"{name[:80]!r} does not begin where the tensor before it ends")
        reached = end
    if reached != size:
        raise ValueError(f"tensors of {reached:,} bytes in a file that holds {size:,}")
    return places


def _tensor(content: bytes, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    flat = np.frombuffer(content, numbers.raw(kind), numbers.elements(shape))
    return np.array(numbers.decoded(kind, flat)).reshape(shape)


def written(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """Return the file's bytes, the same for the same tensors and metadata in whatever order they come.

    TypeError for an array of a type that the format has not.
    """
    arrays = {name: np.asarray(value, order="C") for name, value in tensors.items()}
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))  # so that numbers lie aligned
    header: dict[str, Any] = {METADATA: {name: metadata[name] for name in sorted(metadata)}} if metadata else {}
    blocks, place = [], 0
    for name in order:
        array = arrays[name]
        plain = array.dtype.newbyteorder("<") if array.dtype.byteorder == ">" else array.dtype
        if np.dtype(plain.str.replace("=", "<")) not in NAMES:
            raise TypeError(f"{name} is {array.dtype}, a type that safetensors files have not")
        block = array.astype(plain, copy=False).tobytes()
        header[name] = {
            "dtype": NAMES[np.dtype(plain.str)],
            "shape": list(array.shape),
            "data_offsets": [place, place + len(block)],
        }
        blocks.append(block)
        place += len(block)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *blocks])
