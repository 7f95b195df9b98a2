"""Checkpoints: a state in one safetensors file, with JSON metadata, written so that a reader never sees half of one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.core import filesystem
from duoreid.core.checkpoints import tensor_file
from duoreid.core.errors import UserError

FORMAT = "duoreid-2"


def digest(state: Mapping[str, np.ndarray], metadata: str = "") -> str:
    """Return a digest of the metadata's text and of names, types, shapes and bytes, whatever the order of the names."""
    hasher = hashlib.blake2b(metadata.encode(), digest_size=16)
    for name in sorted(state):
        array = np.asarray(state[name], order="C")
        hasher.update(f"{name}{array.dtype.str}{array.shape}".encode())
        hasher.update(array.tobytes())
    return hasher.hexdigest()


def plain(value: Any) -> Any:
    """Return NumPy's numbers and arrays, and paths, as what JSON can hold: `default` of json.dumps."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def save(path: Path, state: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Write atomically: temporary file in the same folder, fsync, rename, fsync of the folder.

    metadata: anything that JSON can hold. On any failure the file that stood at `path` is still there, whole.
    """
    arrays = {name: np.asarray(value, order="C") for name, value in state.items()}
    text = json.dumps(metadata, default=plain)
    header = {"format": FORMAT, "digest": digest(arrays, text), "metadata": text}
    write_atomically(path, tensor_file.written(arrays, header))


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content` or leave it as it was; UserError says why it could not be written."""
    temporary = path.parent / filesystem.temporary_name(path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        filesystem.sweep(path.parent, path.name)
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            filesystem.to_disk(file.fileno())
        filesystem.replace(temporary, path)
        filesystem.folder_to_disk(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise UserError(
            f"{path} ({len(content):,} bytes) could not be written: {error.strerror}. What was saved before is "
            "untouched. Free some space, make the folder writable, or choose another --output."
        ) from error


def remove_temporaries(folder: Path, stem: str) -> None:
    """Remove what a process that was killed while it wrote STEM... into a folder has left there."""
    for path in folder.glob(f".{stem}*.*"):
        path.unlink(missing_ok=True)


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return (state, metadata), verified against the digest; UserError says what is wrong with the file."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is not a file: give a .safetensors checkpoint that a run has written.")
    return verified(path, *contents(path))


def contents(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return (tensors, metadata) of any safetensors file; UserError says what is wrong with it."""
    try:
        return tensor_file.read(path)
    except (OSError, ValueError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise UserError(
            f"{path} cannot be read as safetensors ({str(error)[:300]}): it is damaged or of another kind."
        ) from error


def verified(
    path: Path, state: dict[str, np.ndarray], header: Mapping[str, str]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return (state, metadata) of a checkpoint of this library, held against its digest."""
    if header.get("format") != FORMAT:
        raise UserError(f"{path} is a safetensors file but no checkpoint of this library (format {FORMAT}).")
    if header.get("digest") != digest(state, header.get("metadata", "")):
        raise UserError(f"{path} is damaged: its contents do not match their digest. Use another checkpoint.")
    try:
        metadata = json.loads(header.get("metadata", ""))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} holds metadata that cannot be read ({str(error)[:200]}): it is damaged.") from error
    if type(metadata) is not dict:
        raise UserError(f"{path} holds metadata that are a {type(metadata).__name__}, not settings: it is damaged.")
    return state, metadata
