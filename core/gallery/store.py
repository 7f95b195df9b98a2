"""Writing a gallery's folder: one process at a time, in whole blocks; see layout.py for the files."""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from duoreid.core.errors import UserError
from duoreid.core.filesystem import tell
from duoreid.core.gallery.layout import (
    ABOUT,
    CAMERAS,
    COMMIT,
    FEATURES,
    FILES,
    GROWING,
    IDENTITIES,
    LOCK,
    RECORD,
    ROWS,
    About,
    Commit,
    name_hash,
    read_about,
)
from duoreid.core.gallery.view import View
from duoreid.core.locking import MARK, NoLocksError, hold, marked
from duoreid.core.serving.pictures import Picture

if TYPE_CHECKING:
    from filelock import BaseFileLock


class Entry(NamedTuple):
    """An image that is to be written. content: digest of its bytes. instead: the row that it takes the place of."""

    picture: Picture
    content: tuple[int, int]
    size: int
    changed: int
    instead: int | None = None


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold a gallery for this process; another one that writes is waited for, and the wait is told."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _locked(folder)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written: {error.strerror}. Choose another folder for the gallery."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _locked(folder: Path) -> BaseFileLock:
    try:
        lock = hold(folder / LOCK, wait=False)
        if lock is None:
            print(f"another process adds to {folder}: waiting for it to end", file=sys.stderr)
            lock = hold(folder / LOCK, wait=True)
        return lock
    except NoLocksError:
        lock = marked(folder / MARK)
    if lock is None:
        raise UserError(
            f"another process adds to {folder}. If it was killed, {folder / MARK} has outlived it, since here are no "
            "locks: remove it."
        )
    tell(f"this file system has no locks: {MARK} in {folder} stands for one, and a kill leaves it behind.")
    return lock


def create(folder: Path, about: About) -> About:
    """Make a gallery where there is none; return what stands there."""
    with writing(folder):
        existing = read_about(folder)
        if existing is not None:
            return existing
        own = {LOCK, MARK, COMMIT, *GROWING}  # of a process that was killed right here
        others = [path.name for path in folder.iterdir() if path.name not in own and not path.name.startswith(".")]
        if others:
            raise UserError(
                f"{folder} holds {others[0]!r} and is no gallery: give an empty or a new folder, so that nothing of "
                "yours is mixed with a gallery's files."
            )
        for name in GROWING:
            (folder / name).touch()
        Commit().write(folder)
        about.write(folder)  # last: a folder without it is no gallery yet
        return about


class Writer:
    """Adds and removes rows of a gallery whose lock this process holds. view: what counts now."""

    def __init__(self, folder: Path, about: About) -> None:
        self.folder, self.about = folder, about
        self.view = View.open(folder, about)
        self._sweep()
        self._settle()

    def _sweep(self) -> None:
        """Remove the files of other generations: of a compaction that was killed, or whose files were still mapped."""
        for name in GROWING:
            counts, (stem, suffix) = self._file(name), name.split(".")
            for path in (self.folder / name, *self.folder.glob(f"{stem}-*.{suffix}")):
                if path != counts:
                    with suppress(
                        PermissionError
                    ):  # Windows keeps what another process has mapped; the next one sweeps
                        path.unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self.view.commit.file(self.folder, name)

    def _settle(self) -> None:
        """Bring the marks of removed rows to the disk that the last commit speaks of."""
        if not self.view.commit.removed:
            return
        self.mark(self.view.commit.removed, removed=1)
        replace(self.view.commit, removed=()).write(self.folder)
        self.view = View.open(self.folder, self.about)

    def mark(self, rows: Sequence[int], **values: object) -> None:
        """Change fields of some records in their place."""
        records = np.memmap(self._file(ROWS), RECORD, "r+", shape=(self.view.commit.rows,))
        for name, value in values.items():
            records[name][list(rows)] = value
        records.flush()
        _sync(self._file(ROWS))

    def remove(self, rows: Sequence[int]) -> None:
        """Take rows out: all of them, or, where the process is killed before, none."""
        if rows:
            self._commit(replace(self.view.commit, removed=tuple(map(int, rows))))
            self._settle()

    def append(self, entries: Sequence[Entry], features: np.ndarray) -> None:
        """Write a block of images with features float32 (n, D) and commit it."""
        before = self.view.commit
        rows = np.ascontiguousarray(features, self.about.numbers)
        records = np.zeros(len(entries), RECORD)
        names = [os.fsencode(entry.picture.file) for entry in entries]
        records["name_end"] = before.files + np.cumsum([len(name) for name in names])
        records["name_hash"] = [name_hash(name) for name in names]
        for field in ("content", "size", "changed"):
            records[field] = [getattr(entry, field) for entry in entries]
        times = [entry.picture.time for entry in entries]
        records["time"] = [np.nan if time is None else time for time in times]
        records["checksum"] = [zlib.crc32(row) for row in rows]
        added = {}
        for field, kind in (("identity", "identities"), ("camera", "cameras")):
            given = [getattr(entry.picture, field) for entry in entries]
            records[field], added[kind] = _numbered(given, getattr(self.view, kind))
        blob = b"".join(names)
        self._write(FEATURES, before.rows * rows[:1].nbytes, rows.tobytes())
        self._write(ROWS, before.rows * RECORD.itemsize, records.tobytes())
        self._write(FILES, before.files, blob)
        self._write(IDENTITIES, before.identities, added["identities"])
        self._write(CAMERAS, before.cameras, added["cameras"])
        commit = Commit(
            before.rows + len(entries),
            before.files + len(blob),
            before.identities + len(added["identities"]),
            before.cameras + len(added["cameras"]),
            tuple(entry.instead for entry in entries if entry.instead is not None),
            before.generation,
        )
        self._commit(commit)
        self._settle()

    def replace(self, commit: Commit) -> None:
        """Let other files hold from now on, and remove those that held."""
        self._commit(commit)
        self._sweep()

    def _write(self, name: str, begin: int, content: bytes) -> None:
        if not content:
            return
        path = self._file(name)
        try:
            with path.open("r+b") as file:
                file.seek(begin)
                file.write(content)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(
                f"{path} could not be written: {error.strerror}. What was added before is whole; free some space and "
                "add again: only what is missing is embedded."
            ) from error

    def _commit(self, commit: Commit) -> None:
        commit.write(self.folder)
        self.view = View.open(self.folder, self.about)


def _numbered(names: Sequence[str | None], known: Sequence[str]) -> tuple[list[int], bytes]:
    """Return the numbers of names, -1 for None, and the lines of those that are new."""
    numbers = {name: number for number, name in enumerate(known)}
    before = len(numbers)
    codes = [-1 if name is None else numbers.setdefault(name, len(numbers)) for name in names]
    new = list(numbers)[before:]
    return codes, "".join(f"{json.dumps(name)}\n" for name in new).encode()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_gallery(folder: Path) -> bool:
    """Return whether a folder holds a gallery."""
    return (folder / ABOUT).is_file()
