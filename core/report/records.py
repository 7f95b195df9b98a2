"""What a run wrote down: its settings, its log, its summary; and which settings differ from the preset's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duoreid.core.errors import UserError

PLACES = ("data.data", "data.cache_folder", "run.output", "run.resume")
"""Settings that say where files lie: they differ from machine to machine and change no result."""


@dataclass(frozen=True)
class Records:
    """A run's folder, read. events: lines of metrics.jsonl; summary: of summary.json, None before the run's end."""

    folder: Path
    settings: dict[str, Any]
    events: list[dict[str, Any]]
    summary: dict[str, Any] | None

    @property
    def seconds(self) -> float:
        """Seconds from the start to the last line of the log, pauses left out."""
        return max((float(event.get("seconds", 0.0)) for event in self.events), default=0.0)

    def epochs(self) -> dict[str, list[dict[str, Any]]]:
        """Return the epochs by the name of their stage, in order."""
        stages: dict[str, list[dict[str, Any]]] = {}
        for event in self.events:
            if event.get("event") == "epoch":
                stages.setdefault(str(event["stage"]), []).append(event)
        return stages

    def steps(self, stage: str) -> list[dict[str, Any]]:
        """Return the lines on losses between the ends of epochs, where the run has written any."""
        return [
            event
            for event in self.events
            if event.get("event") != "epoch"
            and event.get("stage") == stage
            and isinstance(event.get("losses"), dict)
            and isinstance(event.get("step"), int)
        ]


def read(folder: Path) -> Records:
    """Read the folder of a run; UserError where it is none, or where a line of its log is no JSON.

    A last line that a killed process left half written is left out.
    """
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} is no run's folder (it holds no config.json): give the folder that a training printed."
        )
    settings, log = _json(folder / "config.json"), folder / "metrics.jsonl"
    try:
        lines = log.read_text().splitlines() if log.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{log} cannot be read: {error}.") from error
    events = []
    for number, line in enumerate(lines, 1):
        try:
            event = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise UserError(f"{log}, line {number}, is no JSON ({error}): somebody has changed the file.") from error
        if isinstance(event, dict):
            events.append(event)
    summary = folder / "summary.json"
    return Records(folder, settings, events, _json(summary) if summary.exists() else None)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} should hold settings by name, but holds a {type(content).__name__}.")
    return content


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted names.

    >>> flat({"run": {"seed": 1}, "preset": "synthetic"})
    {'run.seed': 1, 'preset': 'synthetic'}
    """
    dotted: dict[str, Any] = {}
    for name, value in settings.items():
        dotted |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return dotted


def differences(settings: Mapping[str, Any], preset: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (name, the run's value, the preset's) of every setting that differs; places of files are left out.

    >>> differences({"run": {"seed": 2, "output": "here"}}, {"run": {"seed": 1, "output": ""}})
    [('run.seed', '2', '1')]
    """
    here, there = flat(settings), flat(preset)
    return [
        (name, _shown(value), _shown(there[name]))
        for name, value in here.items()
        if name in there and name not in PLACES and _plain(value) != _plain(there[name])
    ]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(str, value)) or "none"
    return "empty" if value == "" else str(value)
