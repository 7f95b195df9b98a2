"""The folder of a run: its settings, one JSON line for each thing that happened, its states."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.core import filesystem
from duoreid.core.checkpoints import files
from duoreid.core.errors import UserError
from duoreid.core.settings.config import Config, as_dict
from duoreid.core.training.locking import FolderLock, acquire, running
from duoreid.core.training.logs import Log
from duoreid.core.training.snapshot import LAST, PREVIOUS, History, Snapshot

BEGINNINGS = ("run", "resumed")
"""Events of metrics.jsonl that say who computes from here on."""


@dataclass(frozen=True)
class _Rewind:
    """What going back to a snapshot still has to write. about: the backend; file: of the snapshot."""

    about: dict[str, Any]
    file: str


class Record:
    """Writes config.json, metrics.jsonl, NAME.safetensors and summary.json of a run; never over another run's.

    The folder is locked until `close`, or until the process ends in whatever way. Made by `begin`, `reopen` or, in a
    process that is not the first, `follow`: that one knows the folder, and leaves all writing to the first. history:
    the run's own, which its lines are added to. log: shown the lines of metrics.jsonl too.
    """

    def __init__(self, folder: Path, config: Config, *, writes: bool = True) -> None:
        self.folder, self.config, self.writes = folder, config, writes
        self.history, self._began = History(), time.time()
        self._new = [path for path in (folder, *folder.parents) if not path.exists()] if writes else []
        self._lock: FolderLock | None = acquire(folder) if writes else None
        self._rewind: _Rewind | None = None
        self.log: Log | None = None

    @classmethod
    def begin(cls, folder: Path, config: Config, about: Mapping[str, Any]) -> Record:
        """Begin a new run in a folder that holds none. about: the backend, in what config.json and the log say."""
        _check_free(folder)
        record = cls(folder, config)
        try:
            _check_free(folder)  # another process may have begun one meanwhile
        except UserError:
            record.close()
            raise
        try:
            record._write_settings(about)
            record.line("run", **about)
        except UserError:
            record.take_back()
            raise
        return record

    @classmethod
    def reopen(cls, folder: Path, config: Config) -> Record:
        """Lock the folder of a run that is to be continued; nothing else is written before the run goes on."""
        return cls(folder, config)

    @classmethod
    def follow(cls, folder: Path, config: Config) -> Record:
        """Know the folder that the first process writes into."""
        return cls(folder, config, writes=False)

    def go_back(self, about: Mapping[str, Any], history: History, file: str = LAST) -> None:
        """Make the record what it was at a snapshot: what was written after it will be written again.

        On the disk that is done by the next `keep`, `save`, `summary` or line of a result: a run that cannot go on,
        since its images are gone, say, leaves the folder as it was. file: of the snapshot.
        """
        self.history, self._began = history, time.time() - history.elapsed
        self._rewind = _Rewind(dict(about), file)

    def _write_on(self) -> None:
        """Before each writing: notice a folder that is no longer this run's, and do what `go_back` has put off."""
        self._lock.check()
        if self._rewind is None:
            return
        rewind, self._rewind = self._rewind, None
        files.remove_temporaries(self.folder, "")
        if rewind.file == PREVIOUS:
            # The next save makes PREVIOUS of LAST before it writes: a damaged LAST would push out the good snapshot,
            # and a full disk would leave none. Without hard links nothing is moved, neither here nor there.
            filesystem.stand_for(self.folder / PREVIOUS, self.folder / LAST)
        (self.folder / "summary.json").unlink(missing_ok=True)
        self._write_settings(rewind.about)
        content = "".join(f"{line}\n" for line in self.history.log)
        files.write_atomically(self.folder / "metrics.jsonl", content.encode())

    def take_back(self) -> None:
        """Remove what `begin` has written, for a start that was refused: the corrected command finds no run here."""
        if self._lock is None:
            return
        try:
            self._lock.check()
        except UserError:  # another run may stand there by now
            self.close()
            return
        for name in ("config.json", "metrics.jsonl"):
            (self.folder / name).unlink(missing_ok=True)
        self.close(forget=True)
        for folder in self._new:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _write_settings(self, about: Mapping[str, Any]) -> None:
        content = json.dumps(self.settings() | {"backend": dict(about)}, indent=2, default=files.plain) + "\n"
        files.write_atomically(self.folder / "config.json", content.encode())

    def settings(self) -> dict[str, Any]:
        """Return the run's settings as config.json holds them."""
        return as_dict(replace(self.config, run=replace(self.config.run, resume="")))

    def clock(self) -> float:
        """Return the seconds since the start, pauses between interruption and resumption left out."""
        self.history.elapsed = time.time() - self._began
        return self.history.elapsed

    def line(self, event: str, **values: Any) -> None:
        """Append one line to metrics.jsonl: event, seconds since the start, values."""
        if not self.writes:
            return
        content = {"event": event, "seconds": round(self.clock(), 3), **values}
        path = self.folder / "metrics.jsonl"
        text = json.dumps(content, default=files.plain)
        if self._rewind is not None and event in BEGINNINGS:
            self.history.log.append(text)
            return
        self._write_on()
        try:
            with path.open("a") as file:
                file.write(text + "\n")
        except OSError as error:
            raise UserError(
                f"{path} could not be written: {error.strerror}. What was saved before is whole."
            ) from error
        self.history.log.append(text)
        if self.log is not None:
            self.log.line(event, values)

    def keep(self, snapshot: Snapshot) -> None:
        """Write the last snapshot; the one before it stays as PREVIOUS, where the file system has hard links."""
        if self.writes:
            self._write_on()
            filesystem.stand_for(self.folder / LAST, self.folder / PREVIOUS)
            snapshot.save(self.folder / LAST)

    def save(self, name: str, state: Mapping[str, np.ndarray], **metadata: Any) -> Path:
        """Write a state as NAME.safetensors, with the run's settings in its metadata; return where it lies."""
        path = self.folder / f"{name}.safetensors"
        if self.writes:
            self._write_on()
            files.save(path, state, {"config": self.settings(), **metadata})
        return path

    def summary(self, content: Mapping[str, Any]) -> None:
        """Write summary.json: the final table in numbers."""
        if self.writes:
            self._write_on()
            text = json.dumps(content, indent=2, default=files.plain) + "\n"
            files.write_atomically(self.folder / "summary.json", text.encode())

    def close(self, *, forget: bool = False) -> None:
        """Release the folder. forget: with what the lock has left there, where it was not there before.

        The same holds for a run that was to go on and has not begun to.
        """
        if self.log is not None:
            self.log.close()
            self.log = None
        if self._lock is not None:
            self._lock.release(forget=forget or self._rewind is not None)
            self._lock = None


def _check_free(folder: Path) -> None:
    """Raise UserError for a folder that already holds a run."""
    if (folder / "config.json").exists():
        if running(folder):
            acquire(folder).release()  # refused, with the name of the process that holds it
        raise UserError(
            f"{folder} already holds a run. Choose another --output, remove it first, or continue it with "
            f"--resume {folder}."
        )


def free_folder(root: Path, name: str) -> Path:
    """Return ROOT/NAME, or ROOT/NAME-2, -3, ... where earlier runs stand."""
    count = 1
    while (folder := root / (name if count == 1 else f"{name}-{count}")).exists():
        count += 1
    return folder
