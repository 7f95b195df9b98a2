"""Options that the commands on pictures share (`embed`, `search`, ...): which model, run by what."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from duoreid.core.commands.model_options import add_model_options
from duoreid.core.commands.parsing import Parser, add_help
from duoreid.core.errors import UserError
from duoreid.core.gallery.gallery import Gallery
from duoreid.core.gallery.store import is_gallery
from duoreid.core.serving.model import BATCH, Model
from duoreid.core.serving.opening import is_onnx
from duoreid.core.settings.config import DataConfig

Load = Callable[..., Model]
"""`duoreid.load`, handed in: it knows the backends."""

BACKENDS = ("torch", "mindspore", "onnx")

BESIDE = ".duoreid"
"""Folder of the galleries that are kept in a folder of pictures, one for each model."""


def parser(prog: str, usage: str, description: str, examples: list[str], *, pattern: bool = True) -> Parser:
    """Return a parser with the model's options. pattern: and that for what a path says of an image."""
    made = Parser(prog=prog, usage=usage, description=description, examples=examples)
    add_help(made)
    add_model_options(made, "the first that embeds")
    made.add_argument("--backend", default="torch", choices=BACKENDS, help="what computes")
    made.add_argument(
        "--device", default="auto", metavar="NAME", help="cpu, cuda, openvino, gpu or ascend (default: auto)"
    )
    rare = [
        made.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (default: its own choice)"),
        made.add_argument("--height", type=int, metavar="N", help="image height (default: the model's)"),
        made.add_argument("--width", type=int, metavar="N", help="image width (default: the model's)"),
        made.add_argument("--batch", type=int, default=BATCH, metavar="N", help=f"images at a time (default: {BATCH})"),
    ]
    choices = DataConfig.__dataclass_fields__["interpolation"].metadata["choices"]
    rare.append(
        made.add_argument("--interpolation", choices=choices, help="filter of the resize (default: the model's)")
    )
    for action in rare:
        action.everyday = False
    if pattern:
        made.add_argument(
            "--pattern",
            metavar="REGEX",
            help="what the path of an image below its folder says, in groups named identity, camera and time",
        )
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def open_model(load: Load, given: dict[str, Any]) -> Model:
    """Return the model that the options name."""
    if given["batch"] < 1:
        raise UserError(f"--batch must be at least 1, got {given['batch']}")
    asked = {name: given[name] or None for name in ("arch", "network", "height", "width", "interpolation")}
    asked |= {"stem_relu": given["stem_relu"], "threads": given["threads"]}
    backend = "onnx" if is_onnx(given["checkpoint"]) else given["backend"]
    return load(given["checkpoint"], backend=backend, device=given["device"], **asked)


def add_gallery(made: argparse.ArgumentParser) -> None:
    """Add the options of `open_gallery`."""
    made.add_argument(
        "--gallery",
        required=True,
        type=Path,
        metavar="DIR",
        help=f"a folder of pictures (their features are kept in its {BESIDE}); or a gallery, made by --add",
    )
    made.add_argument("--add", nargs="+", metavar="IMAGES", help="folders, CSV files or images to add to the gallery")
    made.add_argument("--float16", action="store_true", help="keep the features of a new gallery in half the room")


def open_gallery(model: Model, given: dict[str, Any], tell: Callable[[str], None]) -> Gallery:
    """Return the gallery that the options name, with what is to be added. tell: takes a line for people."""
    place, sources = given["gallery"], given["add"]
    numbers = "float16" if given["float16"] else "float32"
    if sources is None and not is_gallery(place):
        if not place.is_dir():
            raise UserError(
                f"--gallery {place} is no folder: give one of pictures, or fill a gallery there with --add."
            )
        sources, place = [place], place / BESIDE / model.digest[:12]
        model.pictures.listed(sources)  # before anything is made: UserError where there is no picture
    gallery = Gallery.open(place, model, numbers=numbers)
    if sources is not None:
        added = gallery.add(sources, pattern=given["pattern"], batch_size=given["batch"])
        tell(str(added))
    return gallery
