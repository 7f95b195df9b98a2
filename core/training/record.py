"""The folder of a run: its settings, one JSON line for each thing that happened, its states."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.errors import UserError
from duoreid.core.settings.config import Config, as_dict
from duoreid.core.training.locking import FolderLock, acquire
from duoreid.core.training.snapshot import LAST, PREVIOUS, Snapshot


class Record:
    """Writes config.json, metrics.jsonl, NAME.safetensors and summary.json of a run; never over another run's.

    The folder is locked until `close`, or until the process ends in whatever way. Made by `begin` or `reopen`.
    """

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder, self.config, self.began = folder, config, time.time()
        self.lines: list[str] = []
        self._lock: FolderLock | None = acquire(folder)

    @classmethod
    def begin(cls, folder: Path, config: Config, about: Mapping[str, Any]) -> Record:
        """Begin a new run in a folder that holds none. about: the backend, in what config.json and the log say."""
        record = cls(folder, config)
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

    def go_back(self, about: Mapping[str, Any], lines: Sequence[str], elapsed: float) -> None:
        """Make the record what it was at a snapshot: what was written after it will be written again."""
        checkpoint.remove_temporaries(self.folder, "")
        (self.folder / "summary.json").unlink(missing_ok=True)
        self._write_settings(about)
        self.lines, self.began = list(lines), time.time() - elapsed
        content = "".join(f"{line}\n" for line in self.lines)
        checkpoint.write_atomically(self.folder / "metrics.jsonl", content.encode())

    def _write_settings(self, about: Mapping[str, Any]) -> None:
        content = json.dumps(self.settings() | {"backend": dict(about)}, indent=2, default=checkpoint.plain) + "\n"
        checkpoint.write_atomically(self.folder / "config.json", content.encode())

    def settings(self) -> dict[str, Any]:
        """Return the run's settings as config.json holds them."""
        return as_dict(replace(self.config, run=replace(self.config.run, resume="")))

    @property
    def elapsed(self) -> float:
        """Seconds since the start, pauses between interruption and resumption left out."""
        return time.time() - self.began

    def line(self, event: str, **values: Any) -> None:
        """Append one line to metrics.jsonl: event, seconds since the start, values."""
        content = {"event": event, "seconds": round(self.elapsed, 3), **values}
        path = self.folder / "metrics.jsonl"
        text = json.dumps(content, default=checkpoint.plain)
        try:
            with path.open("a") as file:
                file.write(text + "\n")
        except OSError as error:
            raise UserError(
                f"{path} could not be written: {error.strerror}. What was saved before is whole."
            ) from error
        self.lines.append(text)

    def keep(self, snapshot: Snapshot) -> None:
        """Write the last snapshot; the one before it stays as PREVIOUS, where the file system has hard links."""
        checkpoint.stand_for(self.folder / LAST, self.folder / PREVIOUS)
        snapshot.save(self.folder / LAST)

    def save(self, name: str, state: Mapping[str, np.ndarray], **metadata: Any) -> Path:
        """Write a state as NAME.safetensors, with the run's settings in its metadata."""
        path = self.folder / f"{name}.safetensors"
        checkpoint.save(path, state, {"config": self.settings(), **metadata})
        return path

    def summary(self, content: Mapping[str, Any]) -> None:
        """Write summary.json: the final table in numbers."""
        text = json.dumps(content, indent=2, default=checkpoint.plain) + "\n"
        checkpoint.write_atomically(self.folder / "summary.json", text.encode())

    def close(self) -> None:
        """Release the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


class Follower(Record):
    """The record of a process that is not the first: it knows the folder, and leaves all writing to the first."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder, self.config, self.began = folder, config, time.time()
        self.lines: list[str] = []
        self._lock = None

    def go_back(self, about: Mapping[str, Any], lines: Sequence[str], elapsed: float) -> None:
        """Write nothing."""

    def line(self, event: str, **values: Any) -> None:
        """Write nothing."""

    def keep(self, snapshot: Snapshot) -> None:
        """Write nothing."""

    def save(self, name: str, state: Mapping[str, np.ndarray], **metadata: Any) -> Path:
        """Write nothing; return where the first process writes the state."""
        return self.folder / f"{name}.safetensors"

    def summary(self, content: Mapping[str, Any]) -> None:
        """Write nothing."""


def free_folder(root: Path, name: str) -> Path:
    """Return ROOT/NAME, or ROOT/NAME-2, -3, ... where earlier runs stand."""
    count = 1
    while (folder := root / (name if count == 1 else f"{name}-{count}")).exists():
        count += 1
    return folder
