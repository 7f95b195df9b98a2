"""Settings from a file: JSON, YAML or TOML, by the file's ending."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from duoreid.core.errors import UserError


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _toml(text: str) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    ".json": ("JSON", json.loads),
    ".yaml": ("YAML", _yaml),
    ".yml": ("YAML", _yaml),
    ".toml": ("TOML", _toml),
}


def read_settings_file(path: Path) -> dict[str, Any]:
    """Return the settings of a file, by section; UserError where it cannot be read or holds something else."""
    if path.suffix.lower() not in READERS:
        raise UserError(
            f"--config {path}: the ending {path.suffix or '(none)'} is unknown. Give a file of settings that ends in "
            f"{', '.join(READERS)}."
        )
    kind, read = READERS[path.suffix.lower()]
    try:
        content = read(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config {path} cannot be read: {error.strerror}. Give a file of settings.") from error
    except ValueError as error:
        raise UserError(f"--config {path} is not {kind}: {error}. A run's config.json shows the form.") from error
    if not isinstance(content, dict):
        raise UserError(f"--config {path} must hold an object of sections, got {type(content).__name__}.")
    return content
