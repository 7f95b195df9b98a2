"""What a gallery's folder holds at one moment, mapped and not read: it does not change under a search."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from duoreid.core.errors import UserError
from duoreid.core.gallery.layout import (
    CAMERAS,
    COMMIT,
    FEATURES,
    FILES,
    IDENTITIES,
    RECORD,
    ROWS,
    About,
    Commit,
    name_hash,
    read_commit,
)


@dataclass(frozen=True)
class View:
    """Rows of a gallery, those that were removed among them.

    features: float16 or float32 (N, D). records: RECORD (N,). names: bytes of all files' names. identities, cameras:
    names, by their numbers.
    """

    commit: Commit
    features: np.ndarray
    records: np.ndarray
    names: np.ndarray
    identities: tuple[str, ...]
    cameras: tuple[str, ...]

    @classmethod
    def open(cls, folder: Path, about: About) -> View:
        """Map a folder's files; UserError where they are damaged."""
        while True:
            before = _bytes(folder / COMMIT)
            try:
                return cls._of(folder, about, read_commit(folder))
            except (UserError, FileNotFoundError):
                if _bytes(folder / COMMIT) == before:
                    raise
                # another process has compacted the gallery meanwhile and removed the files that were named

    @classmethod
    def _of(cls, folder: Path, about: About, commit: Commit) -> View:
        shape = (commit.rows, about.dimension)
        return cls(
            commit,
            _mapped(commit.file(folder, FEATURES), np.dtype(about.numbers), shape),
            _mapped(commit.file(folder, ROWS), RECORD, (commit.rows,)),
            _mapped(commit.file(folder, FILES), np.dtype(np.uint8), (commit.files,)),
            _lines(commit.file(folder, IDENTITIES), commit.identities),
            _lines(commit.file(folder, CAMERAS), commit.cameras),
        )

    @cached_property
    def alive(self) -> np.ndarray:
        """Which rows are there: bool (N,)."""
        alive = self.records["removed"] == 0
        alive[list(self.commit.removed)] = False
        return alive

    @cached_property
    def count(self) -> int:
        """Number of rows that are there."""
        return int(np.count_nonzero(self.alive))

    @cached_property
    def rows(self) -> np.ndarray:
        """The rows that are there, int64 (count,)."""
        return np.flatnonzero(self.alive)

    @cached_property
    def _by_hash(self) -> tuple[np.ndarray, np.ndarray]:
        hashes = self.records["name_hash"][self.rows]
        order = np.argsort(hashes, kind="stable")
        return hashes[order], self.rows[order]

    def file(self, row: int) -> str:
        """Return a row's file."""
        return os.fsdecode(self._name(row))

    def _name(self, row: int) -> bytes:
        begin = int(self.records["name_end"][row - 1]) if row else 0
        return self.names[begin : int(self.records["name_end"][row])].tobytes()

    def find(self, file: str) -> int | None:
        """Return the row of a file, None where it has none."""
        name = os.fsencode(file)
        hashes, rows = self._by_hash
        key = np.uint64(name_hash(name))
        for place in range(np.searchsorted(hashes, key, "left"), np.searchsorted(hashes, key, "right")):
            if self._name(int(rows[place])) == name:
                return int(rows[place])
        return None

    def identity(self, row: int) -> str | None:
        """Return who is on a row's image, None where unknown."""
        number = int(self.records["identity"][row])
        return None if number < 0 else self.identities[number]

    def camera(self, row: int) -> str | None:
        """Return a row's camera, None where unknown."""
        number = int(self.records["camera"][row])
        return None if number < 0 else self.cameras[number]

    def numbers_of(self, names: Sequence[str], kind: str) -> list[int]:
        """Return the numbers of identities or cameras (`kind`); unknown names have none."""
        known = {name: number for number, name in enumerate(getattr(self, kind))}
        return [known[name] for name in names if name in known]


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _mapped(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    if not all(shape):  # an empty file cannot be mapped
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", shape=shape).view(np.ndarray)


def _lines(path: Path, size: int) -> tuple[str, ...]:
    if not size:
        return ()
    with path.open("rb") as file:
        return tuple(json.loads(line) for line in file.read(size).splitlines())
