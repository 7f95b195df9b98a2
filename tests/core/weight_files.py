"""Files of weights for the tests: as torch saves them, or put together byte by byte as no framework would."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

LEGACY = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
FOUR = np.arange(4, dtype="<f4").tobytes()
"""The bytes of four numbers."""


def save(path: Path, content: object, legacy: bool) -> Path:
    """Save as torch does, in its own form of today or of before 1.6."""
    import torch

    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def archive(path: Path, program: bytes, **blocks: bytes) -> Path:
    """Write an archive of torch whose pickle is `program`; blocks: the storages' bytes by name."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr("archive/data.pkl", program)
        for name, content in blocks.items():
            file.writestr(f"archive/data/{name}", content)
    return path


def text(value: str) -> bytes:
    """Return the instruction that puts a text on a pickle's stack."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def field(number: int, content: bytes) -> bytes:
    """Return a field of a protocol buffer."""
    size, made = len(content), bytes([number << 3 | 2])
    while size > 127:
        made += bytes([size & 127 | 128])
        size >>= 7
    return made + bytes([size]) + content


def mindspore_tensor(dims: bytes, block: bytes, kind: bytes = b"Float32", name: bytes = b"a") -> bytes:
    """Return one tensor's part of a MindSpore checkpoint; dims: its axes as they are encoded."""
    return field(1, field(1, name) + field(2, dims + field(2, kind) + field(3, block)))
