"""NumPy's archives, read entry by entry: no Python objects, and no more memory than their size lets expect.

The header of an entry is held against the entry's own length before a number is read; what is compressed may unfold to
a few times the file (core/checkpoints/formats/guard.py).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from duoreid.core.checkpoints import numbers
from duoreid.core.checkpoints.formats.guard import Allowance, exactly, guarded

MAGIC = b"\x93NUMPY"
LARGEST_HEADER = 1 << 16
HEADER = re.compile(
    r"\s*\{\s*'descr'\s*:\s*'(?P<type>[<>|=]?[biufcSU]\d{1,9})'\s*,\s*'fortran_order'\s*:\s*(?P<order>True|False)\s*,"
    r"\s*'shape'\s*:\s*\((?P<shape>[\d\s,L]{0,2000})\)\s*,?\s*\}\s*"
)
"""What NumPy writes: types of numbers and texts. Objects and records have other descriptions."""


def is_one(path: Path) -> bool:
    """Return whether a zip archive is NumPy's. Errors of a damaged archive are those of `guard.BROKEN`."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return bool(names) and all(name.endswith(".npy") for name in names)


def read(path: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Return the arrays of an archive, or those of some names; UserError that names the file and what is wrong.

    Numbers come in the machine's byte order, in their own type.
    """

    def arrays() -> dict[str, np.ndarray]:
        allowed = Allowance.unfolded(path)
        with zipfile.ZipFile(path) as archive:
            by_name = {}
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if names is None or name in names:
                    by_name[name] = _array(archive, info, allowed)
        return by_name

    return guarded(path, "an .npz archive of numbers", arrays)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, allowed: Allowance) -> np.ndarray:
    if info.flag_bits & 1:
        raise ValueError(f"{info.filename[:80]!r} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename[:80]!r} is compressed in a way that NumPy does not write")
    allowed.spend(info.file_size)
    with archive.open(info) as file:
        if exactly(file, 6) != MAGIC:
            raise ValueError(f"{info.filename[:80]!r} is no array")
        version, _ = exactly(file, 2)
        size = int.from_bytes(exactly(file, 2 if version == 1 else 4), "little")
        if size > LARGEST_HEADER:
            raise ValueError(f"{info.filename[:80]!r} has a header of {size:,} bytes")
        head = HEADER.fullmatch(exactly(file, size).decode("latin1"))
        if head is None:
            raise ValueError(f"{info.filename[:80]!r} holds Python objects or records, which no array of numbers does")
        dtype = np.dtype(head["type"])
        shape = tuple(int(size) for size in re.findall(r"\d+", head["shape"]))
        before = 8 + (2 if version == 1 else 4) + size
        count = numbers.elements(shape)
        if before + count * dtype.itemsize != info.file_size:
            raise ValueError(
                f"{info.filename[:80]!r} says that it holds {count * dtype.itemsize:,} bytes of numbers, but its entry "
                f"has {info.file_size - before:,}"
            )
        block = exactly(file, count * dtype.itemsize)
        if file.read(1):  # at the end zipfile compares the checksum
            raise ValueError(f"{info.filename[:80]!r} goes on behind its numbers")
    array = np.frombuffer(block, dtype, count) if dtype.itemsize else np.zeros(count, dtype)
    array = array.reshape(shape, order="F" if head["order"] == "True" else "C")
    return np.array(array.astype(dtype.newbyteorder("="), copy=False), order="C")
