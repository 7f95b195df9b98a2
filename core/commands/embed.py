"""`duoreid embed MODEL IMAGES --output FILE.npz`: features of one's own pictures, with the names of their files."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from duoreid.core.commands.command import guarded
from duoreid.core.commands.loading import Load, open_model, parser
from duoreid.core.commands.parsing import Parser
from duoreid.core.errors import UserError
from duoreid.core.serving.model import Model
from duoreid.core.serving.pictures import Picture

SHOWN = 5


def build(prog: str = "duoreid embed") -> Parser:
    """Return the argument parser."""
    made = parser(
        prog,
        f"{prog} MODEL IMAGES ... --output FILE.npz [OPTIONS]",
        "Write the features of pictures: arrays features (float32, N x D, unit length), files, identities and cameras "
        "(text, empty where unknown). IMAGES: folders of any depth, CSV files, image files.",
        [
            f"{prog} runs/mmt-torch cameras/ --output features.npz",
            f"{prog} network.onnx cameras/ --pattern '(?P<camera>c\\d+)/' --output features.npz",
            f"{prog} resnet50.pth --arch resnet50 --height 256 --width 128 cameras/ --output features.npz",
        ],
    )
    made.add_argument("images", nargs="+", metavar="IMAGES", help="folders, CSV files, image files")
    made.add_argument("--output", required=True, type=Path, metavar="FILE.npz", help="file to write")
    return made


def main(load: Load, words: Sequence[str] | None = None, prog: str = "duoreid embed") -> int:
    """Run the command line; return the exit status. load: `duoreid.load`."""
    return guarded(lambda: _embed(load, words, prog))


def _embed(load: Load, words: Sequence[str] | None, prog: str) -> None:
    given = vars(build(prog).parse_args(words))
    if given["output"].suffix != ".npz":
        raise UserError(f"--output {given['output']} must end in .npz: features are written as NumPy's arrays.")
    model = open_model(load, given)
    listing = model.pictures.listed(given["images"], given["pattern"])
    if listing.told:
        print(listing.told, file=sys.stderr)
    pictures = list({picture.file: picture for picture in listing.pictures}.values())
    kept, features, broken = embedded(model, pictures, given["batch"])
    _write(given["output"], kept, features, model)
    if given["json"]:
        facts = {"output": str(given["output"]), "images": len(kept), "dimension": model.dimension}
        left_out = [{"file": file, "why": why} for file, why in broken]
        print(json.dumps({**facts, "model": model.describe(), "broken": left_out}, indent=2))
        return
    if broken:
        shown = "".join(f"\n    {file}: {why}" for file, why in broken[:SHOWN])
        print(f"{len(broken)} pictures cannot be decoded and are left out:{shown}", file=sys.stderr)
    print(f"{len(kept)} pictures -> {given['output']}: features of {model.dimension} numbers by {model!r}")


def embedded(
    model: Model, pictures: Sequence[Picture], batch: int
) -> tuple[list[Picture], np.ndarray, list[tuple[str, str]]]:
    """Return (the pictures that can be decoded, their features float32 (N, D), (file, why) of the others)."""
    kept, parts, broken = [], [], []
    for chunk in model.stream([picture.file for picture in pictures], batch_size=batch):
        kept += [pictures[place] for place in chunk.places]
        parts.append(chunk.features)
        broken += [(pictures[place].file, why.removeprefix(f"{pictures[place].file}: ")) for place, why in chunk.broken]
    if not kept:
        file, why = broken[0]
        raise UserError(f"none of {len(broken)} pictures can be decoded, such as {file}: {why}.")
    return kept, np.concatenate(parts), broken


def _write(path: Path, pictures: Sequence[Picture], features: np.ndarray, model: Model) -> None:
    from duoreid.core.checkpoints.files import write_atomically

    file = io.BytesIO()
    np.savez(
        file,
        features=features,
        files=np.array([picture.file for picture in pictures]),
        identities=np.array([picture.identity or "" for picture in pictures]),
        cameras=np.array([picture.camera or "" for picture in pictures]),
        digest=np.array(model.digest),
    )
    write_atomically(path, file.getvalue())
