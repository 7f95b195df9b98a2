"""torch.save's files, both the zip form (since torch 1.6) and the one before it, read without torch.

Both hold a pickle, which core/checkpoints/formats/pickled.py follows without running anything. Storages are bytes, and
a tensor is made from them only after its offset, shape and strides have been found to lie inside. Tensors that share
their numbers share them here; all together hold no more than a few times the bytes of the file.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from duoreid.core.checkpoints import numbers
from duoreid.core.checkpoints.formats import pickled
from duoreid.core.checkpoints.formats.guard import Allowance, exactly, guarded
from duoreid.core.checkpoints.formats.pickled import Located, Storage
from duoreid.core.checkpoints.formats.wrappers import unwrap, visit

KIND = "a file of torch.save"
LEGACY_HEAD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch's magic number, pickled
LARGEST_PICKLE = 64 << 20
SHARED = 4
"""Tensors that overlap may hold so many times the bytes of the file."""

Found = tuple[dict[str, np.ndarray], tuple[str, ...]]


def read_zip(path: Path) -> Found:
    """Read the zip form. Returns (tensors by name, keys of what was not used); UserError says what is wrong."""

    def read() -> Found:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            root = next((name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")), None)
            if root is None:
                raise ValueError("a zip archive without data.pkl")
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise ValueError("compressed entries, which torch does not write")
            if f"{root}byteorder" in names and _entry(archive, f"{root}byteorder", path) != b"little":
                raise ValueError("numbers in big-endian order")
            if archive.getinfo(f"{root}data.pkl").file_size > LARGEST_PICKLE:
                raise ValueError(f"a pickle of more than {LARGEST_PICKLE:,} bytes")
            content = pickled.load(io.BytesIO(_entry(archive, f"{root}data.pkl", path)), path)
            return _extract(path, content, lambda storage: _entry(archive, f"{root}data/{storage.key}", path))

    return guarded(path, KIND, read)


def _entry(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    """Return an entry's bytes, which lie in the file as they are: no more of them than it has."""
    info = archive.getinfo(name)
    if info.file_size > path.stat().st_size or info.file_size != info.compress_size:
        raise ValueError(f"an entry of {info.file_size:,} bytes, which the file does not hold")
    return archive.read(info)


def read_legacy(path: Path) -> Found:
    """Read the form before torch 1.6: magic number, version, system, content, storage keys, storages."""

    def read() -> Found:
        with path.open("rb") as file:
            _, version, system, content, keys = (pickled.load(file, path) for _ in range(5))
            if version != 1001 or type(system) is not dict or system.get("little_endian") is not True:
                raise ValueError("an unknown version, or numbers in big-endian order")
            if type(keys) is not list or not all(type(key) in (str, int) for key in keys):
                raise ValueError("storages without names")
            used: dict[str, Storage] = {}
            visit(content, lambda tensor: used.setdefault(tensor.storage.key, tensor.storage))
            blocks = {str(key): _block(file, used.get(str(key))) for key in keys}
        return _extract(path, content, lambda storage: blocks[storage.key])

    return guarded(path, KIND, read)


def _block(file: BinaryIO, storage: Storage | None) -> bytes:
    """Read the next storage: a count of numbers, then the numbers."""
    if storage is None:
        raise ValueError("a storage that no tensor uses")
    count = int.from_bytes(exactly(file, 8), "little")
    if count != storage.count:
        raise ValueError(f"a storage of {count:,} numbers where {storage.count:,} were announced")
    return exactly(file, _size(storage))


def _size(storage: Storage) -> int:
    return storage.count * (1 if storage.type == "bytes" else numbers.width(storage.type))


def _extract(path: Path, content: Any, block: Callable[[Storage], bytes]) -> Found:
    tensors, aside = unwrap(path, content)
    size = path.stat().st_size
    allowed, held = Allowance(SHARED * size + (1 << 16)), Allowance(size)
    blocks: dict[Storage, bytes] = {}
    made: dict[Located, np.ndarray] = {}
    for tensor in tensors.values():
        if tensor in made:
            continue
        storage, count = tensor.storage, numbers.elements(tensor.shape)
        allowed.spend(count * numbers.width(tensor.type))
        if storage not in blocks:
            held.spend(_size(storage))
            blocks[storage] = block(storage)
            if len(blocks[storage]) != _size(storage):
                raise ValueError(f"storage {storage.key} holds {len(blocks[storage]):,} bytes, too few or too many")
        made[tensor] = _array(tensor, count, blocks[storage])
    return {name: made[tensor] for name, tensor in tensors.items()}, aside


def _array(tensor: Located, count: int, block: bytes) -> np.ndarray:
    held = len(block) // numbers.width(tensor.type)
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True))
    if count and (last >= held or count > held):
        raise ValueError(f"a tensor {tensor.shape} that does not lie in its storage of {held:,} numbers")
    flat = np.frombuffer(block, numbers.raw(tensor.type), held)[tensor.offset :]
    if not count:
        return numbers.decoded(tensor.type, np.zeros(tensor.shape, flat.dtype))
    strides = [step * flat.itemsize for step in tensor.strides]
    view = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
    return numbers.decoded(tensor.type, np.array(view, order="C"))
