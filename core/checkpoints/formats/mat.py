"""MATLAB's .mat files of version 5 (MATLAB 5 to 7, and SciPy's), read within bounds: arrays of numbers, and cells.

A file is a row of elements: eight bytes that say type and length, then the content. An array is an element whose parts
are flags, axes, name and numbers; a cell holds arrays; a compressed element holds one array. Every length is held
against what is left, what is compressed may unfold to a few times the file, and cells lie a few deep.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from duoreid.core.checkpoints import numbers
from duoreid.core.checkpoints.formats.guard import Allowance, guarded

HEAD = 128
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Types in which numbers lie, by the format's code."""

MATRIX, COMPRESSED = 14, 15
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""Types that arrays have, by the format's class; numbers often lie in a smaller one."""

CELL = 1
OTHERS = {2: "a struct", 3: "an object", 4: "text", 5: "a sparse array", 16: "a function", 17: "an opaque object"}
DEEPEST, MOST_CELLS = 8, 1_000_000


class Element(NamedTuple):
    """One element: the code of its type, and its content."""

    type: int
    content: memoryview


def is_one(head: bytes) -> bool:
    """Return whether a file that begins so (128 bytes) is of version 5."""
    return len(head) >= HEAD and head[124:128] in (b"\x00\x01IM", b"\x01\x00MI")


def read(path: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Return the arrays of a file, or those of some names, as MATLAB has them: two axes or more, cells as objects.

    UserError that names the file where it is damaged, of version 7.3 (HDF5), or where a named array is text, a struct
    or sparse.
    """

    def arrays() -> dict[str, np.ndarray]:
        content = memoryview(path.read_bytes())
        if bytes(content[:8]) == b"\x89HDF\r\n\x1a\n" or bytes(content[512:520]) == b"\x89HDF\r\n\x1a\n":
            raise ValueError("it is of version 7.3, an HDF5 file: save it with -v7, or as .npz")
        if not is_one(bytes(content[:HEAD])):
            raise ValueError("it begins otherwise than a .mat file of version 5")
        reader = _Reader("<" if bytes(content[126:128]) == b"IM" else ">", Allowance.unfolded(path), names)
        return reader.arrays(content[HEAD:])

    return guarded(path, "a .mat file", arrays)


class _Reader:
    def __init__(self, order: str, allowed: Allowance, names: Collection[str] | None) -> None:
        self.order, self.allowed, self.names = order, allowed, names
        self.cells = 0

    def arrays(self, content: memoryview) -> dict[str, np.ndarray]:
        by_name = {}
        for element in self.elements(content, padded=False):
            if element.type == COMPRESSED:
                unfolded = self.unfolded(element.content)
                element = next(self.elements(memoryview(unfolded), padded=False), Element(0, memoryview(b"")))
            if element.type != MATRIX:
                raise ValueError(f"an element of type {element.type} where an array should be")
            name, value = self.array(element.content, 0, wanted=self.names)
            if value is not None:
                by_name[name] = value
        return by_name

    def unfolded(self, content: memoryview) -> bytes:
        """Return what a compressed element holds, no more than is allowed."""
        left = self.allowed.limit - self.allowed.spent
        unfolding = zlib.decompressobj()
        made = unfolding.decompress(content, left + 1)
        self.allowed.spend(len(made))
        if not unfolding.eof:
            raise EOFError("a compressed element that was cut")
        return made

    def number(self, content: memoryview) -> int:
        return int(np.frombuffer(content, f"{self.order}u4", 1)[0])

    def elements(self, content: memoryview, *, padded: bool = True) -> Iterator[Element]:
        """Yield the elements of a content. padded: each but the small ones fills a multiple of eight bytes."""
        place = 0
        while place + 8 <= len(content):
            kind, size = self.number(content[place : place + 4]), self.number(content[place + 4 : place + 8])
            if kind >> 16:  # a small element: type and length in four bytes, the content in the other four
                kind, size, place = kind & 0xFFFF, kind >> 16, place + 4
                end = place + 4
                if size > 4:
                    raise ValueError(f"a small element of {size} bytes")
            else:
                place += 8
                end = place + size + (-size % 8 if padded else 0)
            if place + size > len(content):
                raise EOFError(f"{size:,} bytes announced, {len(content) - place:,} left")
            yield Element(kind, content[place : place + size])
            place = end

    def array(self, content: memoryview, depth: int, wanted: Collection[str] | None = None) -> tuple[str, Any]:
        """Return (name, array) of one array; None for one that is not wanted, or is no array of numbers or cells."""
        parts = self.elements(content)
        flags, axes, named = next(parts, None), next(parts, None), next(parts, None)
        if flags is None or axes is None or named is None or len(flags.content) < 8 or axes.type != 5:
            raise ValueError("an array without flags, axes or a name")
        kind, complex_ = self.number(flags.content[:4]) & 0xFF, self.number(flags.content[:4]) >> 11 & 1
        name = bytes(named.content).decode("latin1")[:80]
        shape = tuple(np.frombuffer(axes.content, f"{self.order}i4", len(axes.content) // 4).tolist())
        count = numbers.elements(shape)
        if wanted is not None and name not in wanted:
            return name, None
        if kind == CELL:
            return name, self.cell(parts, shape, count, depth)
        if kind not in CLASSES or complex_:
            if wanted is not None:
                raise ValueError(f"{name!r} is {'complex' if complex_ else OTHERS.get(kind, f'of class {kind}')}")
            return name, None
        values = next(parts, Element(0, memoryview(b"")))
        if values.type not in STORED:
            raise ValueError(f"{name!r} holds numbers of the type {values.type}")
        stored = np.dtype(self.order + STORED[values.type])
        if len(values.content) != count * stored.itemsize:
            raise ValueError(f"{name!r} {shape} holds {len(values.content):,} bytes of {stored.name}")
        self.allowed.spend(count * np.dtype(CLASSES[kind]).itemsize)
        flat = np.frombuffer(values.content, stored, count)
        return name, np.array(flat.astype(CLASSES[kind]).reshape(shape, order="F"), order="C")

    def cell(self, parts: Iterator[Element], shape: tuple[int, ...], count: int, depth: int) -> np.ndarray:
        self.cells += count
        if depth >= DEEPEST or self.cells > MOST_CELLS:
            raise ValueError(f"cells that lie more than {DEEPEST} deep, or are more than {MOST_CELLS:,}")
        items = np.empty(count, object)
        for index in range(count):
            part = next(parts, None)
            if part is None or part.type != MATRIX:
                raise EOFError(f"a cell of {count:,} arrays that ends after {index:,}")
            items[index] = self.array(part.content, depth + 1)[1] if len(part.content) else np.zeros((0, 0))
        return items.reshape(shape, order="F")
