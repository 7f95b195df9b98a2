"""The command line, made from the configuration dataclasses: every field is an option, no option is written twice."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import Field, fields, is_dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from duoreid.core.errors import UserError, unknown
from duoreid.core.methods.roles import ROLES
from duoreid.core.settings.config import Config, validate
from duoreid.core.settings.presets import DEFAULT_PRESETS
from duoreid.core.training import resume

ADAPTATION = {"data": "", "network": "", "pretrain": "pretrain_", "adapt": "", "run": ""}
CROSS_MODAL = {"data": "", "network": "", "mvd": "", "run": ""}
"""Sections of a family of methods, each with the prefix of its options."""

TITLES = {
    "data": "data",
    "network": "network",
    "pretrain": "stage 1: supervised training on the source",
    "adapt": "stage 2: adaptation to the target",
    "mvd": "visible-infrared training",
    "run": "run",
}


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are UserErrors."""

    def error(self, message: str) -> None:
        raise UserError(f"{message}\nSee {self.prog} --help.")


def family(method: str) -> str:
    """Return "mvd" or, for the methods around adaptation, "mmt": methods of one family share their options."""
    return "mvd" if method == "mvd" else "mmt"


def _sections(method: str) -> dict[str, str]:
    return CROSS_MODAL if family(method) == "mvd" else ADAPTATION


def _settings(section: Any, method: str) -> list[Field]:
    """Return the fields of a section that are options of a method."""
    return [item for item in fields(section) if item.metadata.get("only", "") in ("", family(method))]


def build(prog: str, runtime: type, presets: dict[str, Config], method: str) -> argparse.ArgumentParser:
    """Return a method's parser. runtime: the backend's RuntimeConfig class; presets: recipes by name."""
    base = presets[DEFAULT_PRESETS[family(method)]]
    parser = _Parser(
        prog=prog,
        description="Train and test person re-identification. Without arguments: stage 1 on synthetic-a twice, MMT to "
        "synthetic-b, and a table of the results. With mvd alone: visible-infrared training on synthetic-regdb, "
        f"tested in both directions. The options below are those of {method}: another method has others, "
        f"which METHOD --help shows. Defaults shown are those of the preset {base.preset!r}.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("method", nargs="?", choices=tuple(ROLES), default=None, help="what to train (default: mmt)")
    parser.add_argument("--preset", help=f"recipe to start from: {', '.join(presets)}")
    parser.add_argument("--config", type=Path, help="JSON file of settings, such as a run's config.json")
    for section, prefix in _sections(method).items():
        _add(parser.add_argument_group(TITLES[section]), getattr(base, section), prefix, method)
    _add(parser.add_argument_group("device"), runtime(), "", method)
    return parser


def _add(group: argparse._ArgumentGroup, section: Any, prefix: str, method: str) -> None:
    for item in _settings(section, method):
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
    """Return (the resolved Config, the backend's RuntimeConfig): preset, then --config, then options.

    With --resume the run's config.json stands in for preset and --config, and few options may be given.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    method, name, content = _start(argv, presets)
    parser = build(prog, runtime, presets, method)
    flags = [flag for action in parser._actions for flag in action.option_strings]
    for word in argv:
        if word.startswith("--") and word.split("=")[0] not in flags:
            raise unknown(f"option of {method}", word.split("=")[0], [flag for flag in flags if flag.startswith("--")])
    given = vars(parser.parse_args(argv))
    device, used = runtime(), content.pop("backend", {})
    if "resume" in given:
        resume.check_given((key for key in given if key != "method"), given["resume"], device)
        device = resume.same_device(device, used.get("runtime", {}))
    config = replace(from_dict(presets[name], content), method=method)
    for section, prefix in _sections(method).items():
        config = replace(config, **{section: _override(getattr(config, section), given, prefix, method)})
    device = _override(device, given, "", method)
    validate(config)
    validate(device)
    return config, device


def _start(argv: list[str], presets: dict[str, Config]) -> tuple[str, str, dict[str, Any]]:
    """Return the method, the preset's name and the content of --config or --resume: what decides on other options.

    The method is the one named, else that of --config, else that of --preset. Without --preset: the method's own.
    """
    first = _Parser(prog="", add_help=False, allow_abbrev=False)
    first.add_argument("--preset")
    first.add_argument("--config", type=Path)
    first.add_argument("--resume", type=Path)
    found, others = first.parse_known_args(argv)
    content = _read_json(found.config) if found.config else {}
    if found.resume:
        content = resume.read_settings(found.resume)
    if found.preset is not None and found.preset not in presets:
        raise unknown("preset", found.preset, presets)
    named = [
        word
        for before, word in pairwise(["", *others])
        if word in ROLES and (not before.startswith("--") or "=" in before)
    ]
    if found.resume and named and named[0] != content.get("method"):
        raise UserError(f"{found.resume} is a run of {content.get('method')}, not of {named[0]}: leave the method out.")
    method = named[0] if named else content.get("method") or (presets[found.preset].method if found.preset else "mmt")
    if not isinstance(method, str) or method not in ROLES:
        raise unknown("method", str(method), ROLES)
    name = found.preset or DEFAULT_PRESETS[family(method)]
    if family(presets[name].method) != family(method):
        fitting = [other for other, config in presets.items() if family(config.method) == family(method)]
        raise UserError(
            f"--preset {name} is a recipe of {presets[name].method} and says nothing about {method}: leave one of "
            f"them out, or choose among {', '.join(fitting)}."
        )
    return method, name, content


def _override(section: Any, given: dict[str, Any], prefix: str, method: str) -> Any:
    known = [item.name for item in _settings(section, method)]
    values = {name: given[prefix + name] for name in known if prefix + name in given}
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
            if not all(type(entry) is int for entry in value):
                raise UserError(
                    f"setting {where}{key} must be a list of whole numbers, like {list(old)!r}; got {value!r}."
                )
            changes[key] = tuple(value)
        elif type(value) is type(old) or (type(old) is float and type(value) is int):
            changes[key] = type(old)(value)
        else:
            raise UserError(f"setting {where}{key} must be {type(old).__name__}, like {old!r}; got {value!r}.")
    return replace(config, **changes)
