"""The command line, made from the configuration dataclasses: every field is an option, no option is written twice."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from core.config import Config, validate
from core.errors import UserError, unknown
from core.methods.roles import ROLES

PREFIXES = {"data": "", "network": "", "pretrain": "pretrain_", "adapt": "", "run": ""}
TITLES = {
    "data": "data",
    "network": "network",
    "pretrain": "stage 1: supervised training on the source",
    "adapt": "stage 2: adaptation to the target",
    "run": "run",
}


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are UserErrors."""

    def error(self, message: str) -> None:
        raise UserError(f"{message}\nSee {self.prog} --help.")


def build(prog: str, runtime: type, presets: dict[str, Config]) -> argparse.ArgumentParser:
    """Return the parser. runtime: the backend's RuntimeConfig class; presets: recipes by name."""
    parser = _Parser(
        prog=prog,
        description="Train and test person re-identification. Without arguments: stage 1 on synthetic-a twice, MMT to "
        "synthetic-b, and a table of the results. Defaults shown are those of the preset 'synthetic'.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("method", nargs="?", choices=tuple(ROLES), default=None, help="what to train (default: mmt)")
    parser.add_argument("--preset", help=f"recipe to start from: {', '.join(presets)}")
    parser.add_argument("--config", type=Path, help="JSON file of settings, such as a run's config.json")
    base = presets["synthetic"]
    for section, prefix in PREFIXES.items():
        _add(parser.add_argument_group(TITLES[section]), getattr(base, section), prefix)
    _add(parser.add_argument_group("device"), runtime(), "")
    return parser


def _add(group: argparse._ArgumentGroup, section: Any, prefix: str) -> None:
    for item in fields(section):
        default = getattr(section, item.name)
        flag = f"--{(prefix + item.name).replace('_', '-')}"
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
        text = f"{item.metadata['help']} (default: {shown if shown != '' else 'empty'})".replace("%", "%%")
        if isinstance(default, bool):
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
        elif isinstance(default, tuple):
            group.add_argument(flag, type=int, nargs="*", help=text, metavar="N")
        else:
            metavar = None if item.metadata.get("choices") else type(default).__name__.upper()
            group.add_argument(
                flag, type=type(default), choices=item.metadata.get("choices"), help=text, metavar=metavar
            )


def parse(argv: Sequence[str] | None, prog: str, runtime: type, presets: dict[str, Config]) -> tuple[Config, Any]:
    """Return (the resolved Config, the backend's RuntimeConfig): preset, then --config, then options."""
    parser = build(prog, runtime, presets)
    argv = sys.argv[1:] if argv is None else list(argv)
    flags = [flag for action in parser._actions for flag in action.option_strings]
    for word in argv:
        if word.startswith("--") and word.split("=")[0] not in flags:
            raise unknown("option", word.split("=")[0], [flag for flag in flags if flag.startswith("--")])
    given = vars(parser.parse_args(argv))
    name = given.pop("preset", "synthetic")
    if name not in presets:
        raise unknown("preset", name, presets)
    config = presets[name]
    if "config" in given:
        config = from_dict(config, _read_json(given.pop("config")))
    config = replace(config, method=given.pop("method") or config.method)
    for section, prefix in PREFIXES.items():
        config = replace(config, **{section: _override(getattr(config, section), given, prefix)})
    device = _override(runtime(), given, "")
    validate(config)
    validate(device)
    return config, device


def _override(section: Any, given: dict[str, Any], prefix: str) -> Any:
    values = {item.name: given[prefix + item.name] for item in fields(section) if prefix + item.name in given}
    return replace(section, **{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"--config {path} cannot be read: {error.strerror}. Give a JSON file of settings.") from error
    except ValueError as error:
        raise UserError(f"--config {path} is not JSON: {error}. A run's config.json shows the form.") from error
    if not isinstance(content, dict):
        raise UserError(f"--config {path} must hold a JSON object of sections, got {type(content).__name__}.")
    return content


def from_dict(config: Any, given: dict[str, Any], where: str = "") -> Any:
    """Return the dataclass with values replaced; unknown keys and values of another type are UserErrors."""
    known, changes = {item.name: getattr(config, item.name) for item in fields(config)}, {}
    for key, value in given.items():
        if key not in known:
            raise unknown("setting", where + key, [where + name for name in known])
        old = known[key]
        if is_dataclass(old):
            if not isinstance(value, dict):
                raise UserError(f"setting {where}{key} must be an object of settings, got {value!r}.")
            changes[key] = from_dict(old, value, f"{where}{key}.")
        elif isinstance(old, tuple) and isinstance(value, list):
            changes[key] = tuple(value)
        elif type(value) is type(old) or (type(old) is float and type(value) is int):
            changes[key] = type(old)(value)
        else:
            raise UserError(f"setting {where}{key} must be {type(old).__name__}, like {old!r}; got {value!r}.")
    return replace(config, **changes)
