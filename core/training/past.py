"""A run's folder read by others: what was run, how far it is and what it has measured. Nothing is written."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duoreid.core.checkpoints.run_folder import LAST
from duoreid.core.errors import UserError
from duoreid.core.training.locking import running

METRICS = {"mAP": "mean_ap", "rank-1": "rank1", "rank-5": "rank5", "rank-10": "rank10", "mINP": "mean_inp"}
"""Columns and their names in metrics.jsonl and summary.json."""


@dataclass(frozen=True)
class Past:
    """settings: config.json. lines: of metrics.jsonl. summary: of a finished run, else None."""

    folder: Path
    settings: dict[str, Any]
    lines: tuple[dict[str, Any], ...]
    summary: dict[str, Any] | None

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self.settings.get("method", "?"))

    @property
    def backend(self) -> str:
        """The backend that computed last."""
        return str(self.settings.get("backend", {}).get("backend", "?"))

    @property
    def seconds(self) -> float:
        """Seconds of the run so far, pauses left out."""
        return float(self.lines[-1].get("seconds", 0.0)) if self.lines else 0.0

    def age(self) -> float:
        """Return the seconds since the run has last written a line."""
        try:
            return max(0.0, time.time() - (self.folder / "metrics.jsonl").stat().st_mtime)
        except OSError:
            return 0.0

    def state(self) -> str:
        """Return "running", "finished", or where the run has stopped."""
        if running(self.folder):
            return "running"
        return "finished" if self.summary is not None else f"stopped at {stopped_at(self.folder)}"

    def tests(self) -> list[tuple[int, list[dict[str, Any]]]]:
        """Return (epoch from 1, its tests) of the last stage, in order; only epochs that were tested."""
        stage, epochs = None, []
        for line in self.lines:
            if line["event"] == "epoch":
                if line["stage"] != stage:
                    stage, epochs = line["stage"], []
                epochs.append((line["epoch"] + 1, []))
            elif line["event"] == "test" and epochs:
                epochs[-1][1].append(line)
        return [(epoch, tests) for epoch, tests in epochs if tests]

    def metrics(self) -> dict[str, float]:
        """Return the last results, means over the networks or searches that were tested together; {} before any."""
        if self.summary and self.summary.get("searches"):
            rows: Sequence[Mapping[str, Any]] = [search["mean"] for search in self.summary["searches"]]
        else:
            rows = self.tests()[-1][1] if self.tests() else [line for line in self.lines if line["event"] == "test"]
        return {key: mean([row[key] for row in rows]) for key in METRICS.values()} if rows else {}


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean."""
    return sum(values) / len(values)


def read(folder: Path) -> Past:
    """Read a run's folder; UserError for one that holds none. A line that is not whole yet is left out."""
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no run: its config.json cannot be read ({error}).") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("backend", {}), dict):
        raise UserError(f"{folder} holds no run: its config.json is of another kind.")
    return Past(folder, settings, tuple(_lines(folder / "metrics.jsonl")), _summary(folder / "summary.json"))


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    lines = []
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
        except ValueError as error:
            if number == len(texts):
                break  # it is being written, or a kill has cut it
            raise UserError(f"{path}, line {number} is no JSON ({error}): the file is damaged.") from error
        if not isinstance(line, dict) or "event" not in line:
            raise UserError(f"{path}, line {number} is none that a run has written: the file is damaged.")
        lines.append(line)
    return lines


def _summary(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): the file is damaged.") from error


def stopped_at(folder: Path) -> str:
    """Return where the last snapshot stands, in words, without reading its tensors."""
    from safetensors import SafetensorError, safe_open

    from duoreid.core.training.snapshot import Position

    try:
        with safe_open(folder / LAST, framework="numpy") as file:
            position = json.loads((file.metadata() or {})["metadata"])["position"]
        return str(Position(**position))
    except FileNotFoundError:
        return "the start"
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return f"an unreadable {LAST}"
