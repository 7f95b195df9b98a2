"""Continuing a run: its settings come from its folder, and only what leaves its course alone may be given anew."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from duoreid.core.errors import UserError
from duoreid.core.methods.registry import spec_of
from duoreid.core.settings.config import Config
from duoreid.core.settings.reading import current

MAY_CHANGE = ("epochs", "data", "cache", "cache_folder", "save_every", "save_period", "log")
"""Options beside --resume: a longer training, images that have moved, more or fewer saves, another logger."""

FREE = (
    *("data.data", "data.cache", "data.cache_folder"),
    *("run.save_every", "run.save_period", "run.log", "run.output", "run.resume"),
)
"""The settings that they change, and the run's own place; the epochs of the last stage come to them."""


def read_settings(folder: Path) -> dict[str, Any]:
    """Return what config.json of a run holds; UserError where there is none."""
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"--resume {folder}: {path} cannot be read ({error}). Give the folder of a run, the one that it printed "
            "at its beginning."
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"--resume {folder}: {path} must hold a JSON object, got {type(content).__name__}.")
    backend = content.get("backend", {})
    if not isinstance(backend, dict) or not isinstance(backend.get("runtime", {}), dict):
        raise UserError(f"--resume {folder}: {path} must say in backend.runtime what computed, got {backend!r}.")
    return content


def same_device(device: Any, used: Mapping[str, Any]) -> Any:
    """Return a backend's RuntimeConfig with what the interrupted process used, as far as this backend knows it.

    used: entry backend.runtime of config.json, from this backend or another one.
    """
    changes = {}
    for item in fields(device):
        value, choices = used.get(item.name), item.metadata.get("choices")
        if type(value) is type(getattr(device, item.name)) and (not choices or value in choices):
            changes[item.name] = value
    return replace(device, **changes)


def check_given(given: Iterable[str], folder: str, device: Any) -> None:
    """Raise UserError for options beside --resume that would change the run. given: their names as fields."""
    runtime = [item.name for item in fields(device)]
    wrong = [_flag(name) for name in given if name not in ("resume", *MAY_CHANGE, *runtime)]
    if wrong:
        raise UserError(
            f"--resume {folder} continues that run with its own settings, so {', '.join(wrong)} cannot be given beside "
            f"it. Allowed are {', '.join(map(_flag, (*MAY_CHANGE, *runtime)))}. For other settings begin a new run."
        )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def check_same(made: Mapping[str, Any], config: Config, settings: Mapping[str, Any], path: Path) -> None:
    """Raise UserError where a snapshot was made with settings that are not those of the run's config.json.

    made: of the snapshot. config, settings: the run's, the latter as in config.json.
    """
    free = (*FREE, f"{spec_of(config.method).section}.epochs")
    _compare(current(made, config), json.loads(json.dumps(settings)), free, path, "")


def _compare(made: Mapping[str, Any], expected: Mapping[str, Any], free: tuple, path: Path, where: str) -> None:
    for name, value in expected.items():
        full = f"{where}{name}"
        if isinstance(value, Mapping) and isinstance(made.get(name), Mapping):
            _compare(made[name], value, free, path, f"{full}.")
        elif name in made and full not in free and made[name] != value:
            raise UserError(
                f"{path} was made with {full} = {made[name]!r}, but config.json beside it says {value!r}: the run "
                "cannot go on exactly. Put the setting back, or begin a new run."
            )


def finished(folder: Path, config: Config) -> dict[str, Any] | None:
    """Return the summary of a run that has nothing left to do under these settings, else None."""
    path = folder / "summary.json"
    if not path.exists():
        return None
    before, section = read_settings(folder), spec_of(config.method).section
    if before[section]["epochs"] != getattr(config, section).epochs:
        return None
    return json.loads(path.read_text())
