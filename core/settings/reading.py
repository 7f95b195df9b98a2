"""Settings from dictionaries: what JSON, YAML and TOML hold, and what version 0.1 wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from duoreid.core.errors import UserError, unknown
from duoreid.core.settings.config import Config

FIRST_VERSION = ("pretrain", "adapt", "mvd")
"""Sections that version 0.1 wrote for every method; no recipe has all of them."""

RENAMED = {"mvd": {"metric": {"rank": "ranked-list"}}}
"""Section -> setting -> value of version 0.1 -> value of today."""


def from_dict(config: Any, given: Mapping[str, Any], where: str = "") -> Any:
    """Return the dataclass with values replaced; unknown keys and values of another type are UserErrors."""
    known, changes = {item.name: getattr(config, item.name) for item in fields(config)}, {}
    for key, value in given.items():
        if key not in known:
            raise unknown("setting", where + key, [where + name for name in known])
        kind = next(item.metadata.get("kind", int) for item in fields(config) if item.name == key)
        changes[key] = _value(known[key], value, where + key, kind)
    return replace(config, **changes)


def _value(old: Any, value: Any, name: str, kind: type = int) -> Any:
    """Return the new value of a setting whose old one shows its type. kind: of the entries of a tuple."""
    if is_dataclass(old):
        if not isinstance(value, Mapping):
            raise UserError(f"setting {name} must be an object of settings, got {value!r}.")
        return from_dict(old, value, f"{name}.")
    if isinstance(old, tuple) and kind is str and isinstance(value, str):
        return (value,) if value else ()  # as versions before 0.3 wrote it, and as one types it
    if isinstance(old, tuple) and isinstance(value, list):
        if not all(type(entry) is kind for entry in value):
            what = "whole numbers" if kind is int else "texts"
            raise UserError(f"setting {name} must be a list of {what}, like {list(old)!r}; got {value!r}.")
        return tuple(value)
    if type(value) is type(old) or (type(old) is float and type(value) is int):
        return type(old)(value)
    raise UserError(f"setting {name} must be {type(old).__name__}, like {old!r}; got {value!r}.")


def current(given: Mapping[str, Any], recipe: Config) -> dict[str, Any]:
    """Return settings as they are, or those of version 0.1 without what the recipe does not know.

    Version 0.1 wrote all sections and fields for every method, most of which the method did not read.
    """
    if not all(isinstance(given.get(section), Mapping) for section in FIRST_VERSION):
        return dict(given)
    kept = {}
    for name, value in given.items():
        if isinstance(value, Mapping) and is_dataclass(getattr(recipe, name, None)):
            known = {item.name for item in fields(getattr(recipe, name))}
            names = RENAMED.get(name, {})
            own = {key: entry for key, entry in value.items() if key in known}
            kept[name] = own | {key: new.get(own[key], own[key]) for key, new in names.items() if key in own}
        elif not isinstance(value, Mapping) or name not in (*FIRST_VERSION, "data", "network", "run"):
            kept[name] = value
    return kept


def as_recipe(recipe: type[Config], given: Config, method: str) -> Config:
    """Return the settings of one recipe as those of another: what both know; the rest is the other's default."""
    changes: dict[str, Any] = {"method": method, "preset": given.preset}
    for item in fields(recipe):
        old = getattr(given, item.name, None)
        if is_dataclass(old):
            made = item.default_factory()
            known = {inner.name: getattr(old, inner.name) for inner in fields(made) if hasattr(old, inner.name)}
            changes[item.name] = replace(made, **known)
    return recipe(**changes)
