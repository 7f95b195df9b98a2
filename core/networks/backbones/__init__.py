"""Every backbone by name. Each file of this folder is a family, whose members it lists in a dictionary `BACKBONES`.

A backend builds a family in the file of the same name, backends/*/backbones/FAMILY.py.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import fields
from typing import Any

from duoreid.core.errors import UserError, unknown
from duoreid.core.networks.backbone import Backbone

BACKBONES: dict[str, Backbone] = {}
for _file in pkgutil.iter_modules(__path__):
    BACKBONES.update(importlib.import_module(f"duoreid.core.networks.backbones.{_file.name}").BACKBONES)

EVERYWHERE = ("arch", "weights", "batch_norm_group")
"""Fields of a NetworkConfig that mean something to every network: each has batch norm in its neck."""


def backbone(name: str) -> Backbone:
    """Return the backbone of a name; UserError names the known ones."""
    if name not in BACKBONES:
        raise unknown("architecture", name, BACKBONES)
    return BACKBONES[name]


def stage_of(arch: str, name: str) -> str:
    """Return the stage of a backbone that a layer or tensor lies in: "layer1.0.conv2" -> "layer1.0"; else its name."""
    return next((stage for stage in backbone(arch).stages if f"{name}.".startswith(f"{stage}.")), name)


def check_options(network: Any, *, attention: bool = False) -> None:
    """Raise UserError for an option that means nothing to the backbone and is not at its default.

    network: a NetworkConfig (core/settings/config.py). attention: channel attention is asked for.
    """
    chosen = backbone(network.arch)
    for item in fields(network):
        value = getattr(network, item.name)
        if item.name not in EVERYWHERE and item.name not in chosen.options and value != item.default:
            raise UserError(
                f"--{item.name.replace('_', '-')}, which is {value!r}, means nothing to {network.arch}: leave it at "
                f"{item.default!r}, or take an --arch that has it ({_with(item.name)})."
            )
    if attention and "attention" not in chosen.options:
        raise UserError(
            f"--channel-attention: {network.arch} has no place for it. Leave it out, or take another --arch "
            f"({_with('attention')})."
        )


def _with(option: str) -> str:
    return ", ".join(name for name, known in BACKBONES.items() if option in known.options) or "there is none"
