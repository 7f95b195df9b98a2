"""The folder of a run: its settings, one JSON line for each thing that happened, its states."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.core.checkpoints import files
from duoreid.core.errors import UserError
from duoreid.core.settings.config import Config, as_dict
from duoreid.core.training.locking import LOCK, FolderLock, acquire
from duoreid.core.training.snapshot import LAST, PREVIOUS, History, Snapshot


class Record:
    """Writes config.json, metrics.jsonl, NAME.safetensors and summary.json of a run; never over another run's.

    The folder is locked until `close`, or until the process ends in whatever way. Made by `begin`, `reopen` or, in a
    process that is not the first, `follow`: that one knows the folder, and leaves all writing to the first. history:
    the run's own, which its lines are added to.
    """

    def __init__(self, folder: Path, config: Config, *, writes: bool = True) -> None:
        self.folder, self.config, self.writes = folder, config, writes
        self.history, self._began = History(), time.time()
        self._lock: FolderLock | None = acquire(folder) if writes else None
        self._new = False

    @classmethod
    def begin(cls, folder: Path, config: Config, about: Mapping[str, Any]) -> Record:
        """Begin a new run in a folder that holds none. about: the backend, in what config.json and the log say."""
        new = not folder.exists()
        record = cls(folder, config)
        record._new = new
        if (folder / "config.json").exists():
            record.close()
            raise UserError(
                f"{folder} already holds a run. Choose another --output, remove it first, or continue it with "
                f"--resume {folder}."
            )
        record._write_settings(about)
        record.line("run", **about)
        return record

    @classmethod
    def reopen(cls, folder: Path, config: Config) -> Record:
        """Lock the folder of a run that is to be continued; nothing is written before `go_back`."""
        return cls(folder, config)

    @classmethod
    def follow(cls, folder: Path, config: Config) -> Record:
        """Know the folder that the first process writes into."""
        return cls(folder, config, writes=False)

    def go_back(self, about: Mapping[str, Any], history: History) -> None:
        """Make the record what it was at a snapshot: what was written after it will be written again."""
        self.history, self._began = history, time.time() - history.elapsed
        if not self.writes:
            return
        files.remove_temporaries(self.folder, "")
        (self.folder / "summary.json").unlink(missing_ok=True)
        self._write_settings(about)
        content = "".join(f"{line}\n" for line in history.log)
        files.write_atomically(self.folder / "metrics.jsonl", content.encode())

    def take_back(self) -> None:
        """Remove what `begin` has written, for a start that was refused: the corrected command finds no run here."""
        if self.writes:
            for name in ("config.json", "metrics.jsonl"):
                (self.folder / name).unlink(missing_ok=True)
        self.close()
        if self.writes:
            (self.folder / LOCK).unlink(missing_ok=True)
        if self._new and self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

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
        try:
            with path.open("a") as file:
                file.write(text + "\n")
        except OSError as error:
            raise UserError(
                f"{path} could not be written: {error.strerror}. What was saved before is whole."
            ) from error
        self.history.log.append(text)

    def keep(self, snapshot: Snapshot) -> None:
        """Write the last snapshot; the one before it stays as PREVIOUS, where the file system has hard links."""
        if self.writes:
            files.stand_for(self.folder / LAST, self.folder / PREVIOUS)
            snapshot.save(self.folder / LAST)

    def save(self, name: str, state: Mapping[str, np.ndarray], **metadata: Any) -> Path:
        """Write a state as NAME.safetensors, with the run's settings in its metadata; return where it lies."""
        path = self.folder / f"{name}.safetensors"
        if self.writes:
            files.save(path, state, {"config": self.settings(), **metadata})
        return path

    def summary(self, content: Mapping[str, Any]) -> None:
        """Write summary.json: the final table in numbers."""
        if self.writes:
            text = json.dumps(content, indent=2, default=files.plain) + "\n"
            files.write_atomically(self.folder / "summary.json", text.encode())

    def close(self) -> None:
        """Release the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def free_folder(root: Path, name: str) -> Path:
    """Return ROOT/NAME, or ROOT/NAME-2, -3, ... where earlier runs stand."""
    count = 1
    while (folder := root / (name if count == 1 else f"{name}-{count}")).exists():
        count += 1
    return folder
