"""Options that the commands on a ready model share (`calibrate`, `group`, `serve`), and the loading of it."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

from duoreid.core.serving.model import Model
from duoreid.core.serving.opening import is_onnx

Load = Callable[..., Model]
"""`duoreid.load`, which the command line hands in."""

BACKENDS = ("torch", "mindspore")


def add_model(made: argparse.ArgumentParser) -> None:
    """Add the model and how it is loaded."""
    made.add_argument("model", metavar="MODEL", help="a run's folder, a checkpoint, or an exported .onnx")
    for name, text in (
        ("backend", f"{' or '.join(BACKENDS)} (default: the first that is installed)"),
        ("device", "auto, cpu, cuda, ... (default: auto)"),
        ("network", "student1, teacher2, ... (default: the first that embeds)"),
        ("arch", "architecture of a file from elsewhere"),
        ("height", "image height of a file from elsewhere"),
        ("width", "image width of a file from elsewhere"),
    ):
        kind = int if name in ("height", "width") else str
        action = made.add_argument(f"--{name}", type=kind, metavar=kind.__name__.upper(), help=text)
        action.everyday = name in ("backend", "device")


def load_model(load: Load, given: Mapping[str, Any]) -> Model:
    """Return the model that the options name."""
    chosen = given["backend"]
    if chosen is None:
        installed = [name for name in BACKENDS if importlib.util.find_spec(name) is not None]
        chosen = "onnx" if is_onnx(given["model"]) else (installed or BACKENDS)[0]
    names = ("network", "arch", "height", "width")
    return load(
        given["model"], backend=chosen, device=given["device"] or "auto", **{name: given[name] for name in names}
    )
