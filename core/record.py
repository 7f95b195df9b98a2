"""The folder of a run: its settings, one JSON line for each thing that happened, its states."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core import checkpoint
from core.config import Config, as_dict
from core.errors import UserError


class Record:
    """Writes config.json, metrics.jsonl, NAME.safetensors and summary.json of a run; never over another run's."""

    def __init__(self, folder: Path, config: Config, about: Mapping[str, Any]) -> None:
        self.folder, self.config, self.began = folder, config, time.time()
        if (folder / "config.json").exists():
            raise UserError(f"{folder} already holds a run. Choose another --output, or remove it first.")
        content = json.dumps(as_dict(config), indent=2) + "\n"
        checkpoint.write_atomically(folder / "config.json", content.encode())
        self.line("run", **about)

    def line(self, event: str, **values: Any) -> None:
        """Append one line to metrics.jsonl: event, seconds since the start, values."""
        content = {"event": event, "seconds": round(time.time() - self.began, 3), **values}
        path = self.folder / "metrics.jsonl"
        try:
            with path.open("a") as file:
                file.write(json.dumps(content, default=_plain) + "\n")
        except OSError as error:
            raise UserError(
                f"{path} could not be written: {error.strerror}. What was saved before is whole."
            ) from error

    def save(self, name: str, state: Mapping[str, np.ndarray], **metadata: Any) -> Path:
        """Write a state as NAME.safetensors, with the run's settings in its metadata."""
        path = self.folder / f"{name}.safetensors"
        checkpoint.save(path, state, {"config": as_dict(self.config), **metadata})
        return path

    def summary(self, content: Mapping[str, Any]) -> None:
        """Write summary.json: the final table in numbers."""
        text = json.dumps(content, indent=2, default=_plain) + "\n"
        checkpoint.write_atomically(self.folder / "summary.json", text.encode())


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def free_folder(root: Path, name: str) -> Path:
    """Return ROOT/NAME, or ROOT/NAME-2, -3, ... where earlier runs stand."""
    count = 1
    while (folder := root / (name if count == 1 else f"{name}-{count}")).exists():
        count += 1
    return folder
