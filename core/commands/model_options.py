"""Options that the commands on trained networks share (`evaluate`, `export`)."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import Field, dataclass
from typing import Any

from duoreid.core.networks.backbones import BACKBONES


@dataclass(frozen=True)
class ModelOptions:
    """Which network of which file. stem_relu: None where not given."""

    checkpoint: str
    network: str
    arch: str
    stem_relu: bool | None

    @classmethod
    def take(cls, given: dict[str, Any]) -> ModelOptions:
        """Return these options out of all that were given."""
        return cls(given["checkpoint"], given["network"], given["arch"], given["stem_relu"])


def add_model_options(made: argparse.ArgumentParser, network: str = "those that embed; 'all'") -> None:
    """Add the options of ModelOptions. network: how the default choice is described."""
    made.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a run's folder or one of its .safetensors, or weights from elsewhere"
    )
    made.add_argument("--network", default="", metavar="ROLE", help=f"student1, teacher2, ... (default: {network})")
    text = "of a file from elsewhere, which does not say it"
    made.add_argument("--arch", default="", choices=("", *BACKBONES), metavar="ARCH", help=f"architecture {text}")
    made.add_argument("--stem-relu", action=argparse.BooleanOptionalAction, help=f"ReLU in the stem {text}")


def add_fields(group: argparse._ArgumentGroup, items: Iterable[Field], default: str = "", prefix: str = "") -> None:
    """Add an option for each field of a configuration; one that is not given is None.

    default: words for what holds then; "" shows the field's own default. prefix: how the options begin.
    """
    for item in items:
        kind, choices = type(item.default), item.metadata.get("choices")
        text = f"{item.metadata['help']} (default: {default or item.default})".replace("%", "%%")
        flag = f"--{prefix}{item.name.replace('_', '-')}"
        if kind is bool:
            action = group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            metavar = None if choices else kind.__name__.upper()
            action = group.add_argument(flag, type=kind, choices=choices, help=text, metavar=metavar)
        action.everyday = bool(item.metadata.get("everyday"))
