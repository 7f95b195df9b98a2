"""The files of a gallery's folder, and what is in each.

    gallery.json     whose it is: format, the model's digest, the preparation of its images, dimension, type of a number
    features.bin     a row for each image, float16 or float32 (N, D)
    rows.bin         a record for each image: RECORD
    files.bin        the files' names end to end, as the system writes them
    identities.txt   a name on each line, as JSON; a record says the line's number. Also cameras.txt
    commit.json      how much of each file counts, and which rows are no longer there

An image is added in three steps: everything is written behind what counts, flushed to the disk, and then commit.json
is replaced, which is one rename. A process that is killed leaves the gallery as it was before the block or as it is
after it. What lies behind the committed length is overwritten by the next block.

Rows that were removed stay where they are until the gallery is compacted. That writes the five files once more, as
features-1.bin and so on, and commit.json then says the number; the files of other numbers are left-overs. A gallery
that was compacted has format 2: earlier versions would look for the files without a number.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.core.checkpoints.files import write_atomically
from duoreid.core.errors import UserError

FORMAT, COMPACTED = 1, 2
ABOUT, COMMIT, LOCK = "gallery.json", "commit.json", "lock"
FEATURES, ROWS, FILES = "features.bin", "rows.bin", "files.bin"
IDENTITIES, CAMERAS = "identities.txt", "cameras.txt"
GROWING = (FEATURES, ROWS, FILES, IDENTITIES, CAMERAS)
"""Files whose names have a number after a compaction."""

RECORD = np.dtype(
    [
        ("name_end", "<u8"),  # of the file's name in files.bin; it begins where that of the row before ends
        ("name_hash", "<u8"),
        ("content", "<u8", (2,)),  # digest of the file's bytes
        ("size", "<i8"),  # of the file, and when it was changed: where both are the same nobody reads it again
        ("changed", "<i8"),
        ("time", "<f8"),  # seconds since 1970, NaN where unknown
        ("identity", "<i4"),  # -1 where unknown; also the camera
        ("camera", "<i4"),
        ("checksum", "<u4"),  # CRC-32 of the row in features.bin
        ("removed", "<u4"),  # 1: the row is no longer there
    ]
)


@dataclass(frozen=True)
class About:
    """Whose features a folder holds. digest: of the model. preparation: of its images. numbers: type of a feature."""

    digest: str
    preparation: dict[str, Any]
    dimension: int
    numbers: str

    def write(self, folder: Path, form: int = FORMAT) -> None:
        """Write gallery.json."""
        write_atomically(folder / ABOUT, json.dumps({"format": form, **asdict(self)}, indent=1).encode())


@dataclass(frozen=True)
class Commit:
    """What counts: rows, and the bytes of the files of names. removed: rows whose mark may not be on the disk yet.

    generation: how often the gallery was compacted; the number in the names of its files, which have none for 0.
    """

    rows: int = 0
    files: int = 0
    identities: int = 0
    cameras: int = 0
    removed: tuple[int, ...] = ()
    generation: int = 0

    def file(self, folder: Path, name: str) -> Path:
        """Return where one of the GROWING files lies.

        >>> Commit(generation=2).file(Path("gallery"), "features.bin").name
        'features-2.bin'
        """
        return folder / (name.replace(".", f"-{self.generation}.") if self.generation else name)

    def write(self, folder: Path) -> None:
        """Replace commit.json: from here on it holds."""
        write_atomically(folder / COMMIT, json.dumps(asdict(self)).encode())


def read_about(folder: Path) -> About | None:
    """Return what gallery.json says, None where it is absent; UserError for a newer format and for what is damaged."""
    values = _json(folder / ABOUT)
    if values is None:
        return None
    if not isinstance(values.get("format"), int) or values["format"] > COMPACTED:
        raise UserError(
            f"{folder} was written by a newer version of duoreid (format {values.get('format')}, this one knows "
            f"{COMPACTED}): install that version, or make another gallery."
        )
    try:
        return About(**{name: values[name] for name in About.__dataclass_fields__})
    except KeyError as error:
        raise _damaged(folder, f"{ABOUT} lacks {error}") from error


def read_commit(folder: Path) -> Commit:
    """Return what commit.json says; UserError where it or a file that it speaks of is absent or too short."""
    values = _json(folder / COMMIT)
    if values is None:
        raise _damaged(folder, f"{COMMIT} is missing")
    try:
        commit = Commit(**{**values, "removed": tuple(values["removed"])})
        about = read_about(folder)
        row = about.dimension * np.dtype(about.numbers).itemsize
        needed = {FEATURES: commit.rows * row, ROWS: commit.rows * RECORD.itemsize, FILES: commit.files}
        needed |= {IDENTITIES: commit.identities, CAMERAS: commit.cameras}
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, f"{COMMIT} cannot be understood ({error})") from error
    for name, least in needed.items():
        file = commit.file(folder, name)
        size = file.stat().st_size if file.is_file() else 0
        if size < least:
            raise _damaged(folder, f"{file.name} has {size:,} bytes of {least:,}")
    return commit


def _json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    except ValueError as error:
        raise _damaged(path.parent, f"{path.name} is no JSON") from error
    if not isinstance(content, dict):
        raise _damaged(path.parent, f"{path.name} holds no object")
    return content


def _damaged(folder: Path, what: str) -> UserError:
    return UserError(
        f"the gallery {folder} is damaged: {what}. Bring it back from a copy, or remove the folder and add its images "
        "again."
    )


def name_hash(name: bytes) -> int:
    """Return 64 bits of a file's name."""
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")


def content_of(file: str) -> tuple[tuple[int, int], int, int]:
    """Return (digest of a file's bytes as two numbers, size, time of change in nanoseconds)."""
    with open(file, "rb") as stream:
        status = os.fstat(stream.fileno())
        digest = hashlib.blake2b(digest_size=16)
        while block := stream.read(1 << 20):
            digest.update(block)
    numbers = np.frombuffer(digest.digest(), "<u8")
    return (int(numbers[0]), int(numbers[1])), status.st_size, status.st_mtime_ns
