"""What reading a damaged or hostile file can raise, as one error that names the file; and how much a file may make."""

from __future__ import annotations

import lzma
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from duoreid.core.errors import UserError

BROKEN = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
    SyntaxError,
    RuntimeError,  # an encrypted entry; too deep a nesting; what zipfile does not know
)
"""What reading a damaged or hostile file can raise."""

MOST_NUMBERS, MOST_TIMES = 256 << 20, 16
"""Bytes that a compressed file may unfold to: so many, and so many times its own size."""


def guarded(path: Path, kind: str, read: Callable[[], Any]) -> Any:
    """Return what `read` returns; UserError that names the file where it raises one of BROKEN."""
    try:
        return read()
    except UserError:
        raise
    except BROKEN as error:
        text = str(error)
        told = f"{type(error).__name__}: {text[:300]}{'...' if len(text) > 300 else ''}"
        raise UserError(
            f"{path} cannot be read as {kind} ({told}): it is damaged, cut short or of another kind. Fetch it or save "
            "it again."
        ) from error


def exactly(file: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, no fewer: what is left of a number or a storage that was cut would pass for another one."""
    content = file.read(size)
    if len(content) != size:
        raise EOFError(f"{size:,} bytes expected at its end, {len(content):,} there")
    return content


class Allowance:
    """How many bytes a file may still unfold to."""

    def __init__(self, limit: int) -> None:
        self.limit, self.spent = limit, 0

    @classmethod
    def unfolded(cls, path: Path) -> Allowance:
        """For a compressed file."""
        return cls(MOST_NUMBERS + MOST_TIMES * path.stat().st_size)

    def spend(self, size: int) -> None:
        """Count bytes before they are made; ValueError beyond the limit."""
        self.spent += size
        if self.spent > self.limit:
            raise ValueError(f"it claims {self.spent:,} bytes of numbers, more than {self.limit:,} for its size")
