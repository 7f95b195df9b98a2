"""Files of weights, read without the framework that wrote them and without running anything that is in them.

A file's kind is told from its first bytes, not from its name: both `.pth` and `.ckpt` are used for several kinds.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.checkpoints import tensor_file
from duoreid.core.checkpoints.formats import ckpt, npz, pth
from duoreid.core.checkpoints.formats.guard import guarded
from duoreid.core.checkpoints.run_folder import file_of
from duoreid.core.errors import UserError

CHECKPOINT, SAFETENSORS, NPZ, PTH, CKPT = "checkpoint", "safetensors", "npz", "torch file", "MindSpore file"


FAMILY = checkpoint.FORMAT.rstrip("0123456789")


@dataclass(frozen=True)
class Contents:
    """The tensors of a file.

    path: the file; where a run's folder was given, the file in it that was taken.
    kind: CHECKPOINT (written by this library), SAFETENSORS, NPZ, PTH or CKPT.
    tensors: by the file's own names, in its own floating type; bfloat16 and types of eight bits come as float32.
    aside: what else the file holds ("epoch", "optimizer"), named so that a report can say that it was not used.
    metadata: of a CHECKPOINT; empty otherwise.
    """

    path: Path
    kind: str
    tensors: dict[str, np.ndarray]
    aside: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)


def read(path: str | Path) -> Contents:
    """Read a .pth, .pth.tar, .pt, .ckpt, .safetensors or .npz file of tensors, or the last state of a run's folder.

    UserError for a file that is absent, damaged, of another kind, or that asks for code to be run.
    """
    path = file_of(Path(path))
    try:
        with path.open("rb") as file:
            head, size = file.read(16), path.stat().st_size
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give a file of weights.") from error
    if tensor_file.is_one(head, size):
        return _safetensors(path)
    if head.startswith(b"PK") and guarded(path, "a zip archive", lambda: zipfile.is_zipfile(path)):
        if guarded(path, "a zip archive", lambda: npz.is_one(path)):
            return Contents(path, NPZ, npz.read(path))
        tensors, aside = pth.read_zip(path)
        return Contents(path, PTH, tensors, aside)
    if head.startswith(pth.LEGACY_HEAD):
        tensors, aside = pth.read_legacy(path)
        return Contents(path, PTH, tensors, aside)
    if head[:1] == b"\x80":
        raise UserError(
            f"{path} is a Python pickle but not a file of torch.save: it is refused, since it may hold code."
        )
    if head[:1] == b"\x0a":
        tensors, aside = ckpt.read(path)
        return Contents(path, CKPT, tensors, aside)
    raise UserError(
        f"{path} ({size:,} bytes) is no file of weights that can be read: expected .pth, .ckpt, .safetensors or .npz, "
        f"but it begins with {head[:8]!r}. A download that failed often leaves a web page or nothing: fetch it again."
    )


def _safetensors(path: Path) -> Contents:
    tensors, metadata = checkpoint.contents(path)
    if metadata.get("format", "").startswith(FAMILY):  # another version is load's to refuse
        tensors, metadata = checkpoint.verified(path, tensors, metadata)
        return Contents(path, CHECKPOINT, tensors, metadata=metadata)
    return Contents(path, SAFETENSORS, tensors)
