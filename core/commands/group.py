"""`duoreid group MODEL DIR --output groups.csv`: who is who in a heap of pictures."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duoreid.core.commands.command import guarded
from duoreid.core.commands.embed import embedded
from duoreid.core.commands.loading import Load, open_model, parser
from duoreid.core.commands.parsing import Parser
from duoreid.core.errors import UserError

if TYPE_CHECKING:
    from duoreid.core.grouping import Groups
    from duoreid.core.serving.model import Model
    from duoreid.core.serving.pictures import Picture

HEADER = ("path", "identity", "camera", "certainty")
FEWEST = 3
COLUMNS, EDGE = 8, 4
"""Pictures in a row of a contact sheet, and pixels between them."""


def build(prog: str = "duoreid group") -> Parser:
    """Return the argument parser."""
    made = parser(
        prog,
        f"{prog} MODEL IMAGES ... --output FILE.csv [OPTIONS]",
        "Sort pictures by person: k-reciprocal Jaccard distances, then DBSCAN. The CSV has the columns "
        f"{', '.join(HEADER)}; identity is empty where a picture fits nobody. It is read back as the dataset `folder`. "
        "Identities that a CSV or --pattern gives to some pictures are kept and spread to the others.",
        [
            f"{prog} runs/mmt-torch heap/ --output heap/groups.csv --sheets sheets/",
            f"{prog} runs/mmt-torch heap/ --pattern '(?P<camera>c\\d+)/' --accepted --output heap/groups.csv",
        ],
    )
    made.add_argument("images", nargs="+", metavar="IMAGES", help="folders, CSV files, image files")
    made.add_argument("--output", required=True, type=Path, metavar="FILE.csv", help="file to write, above the images")
    made.add_argument("--sheets", type=Path, metavar="DIR", help="write a contact sheet for each group")
    made.add_argument("--eps", type=float, help="Jaccard distance of neighbours, from 0 to 1 (default: 0.5)")
    made.add_argument("--share", type=float, help="share of all pairs that are near, instead of --eps").everyday = False
    made.add_argument(
        "--accepted", action="store_true", help="neighbours must reach the model's calibrated threshold as well"
    )
    made.add_argument("--min-samples", type=int, default=4, metavar="N", help="pictures that make a core (default: 4)")
    for name, default in (("k1", 30), ("k2", 6)):
        text = "length of rankings" if name == "k1" else "rows of query expansion"
        made.add_argument(f"--{name}", type=int, default=default, help=f"{text} (default: {default})").everyday = False
    return made


def main(load: Load, words: Sequence[str] | None = None, prog: str = "duoreid group") -> int:
    """Run the command line; return the exit status. load: `duoreid.load`."""
    return guarded(lambda: _group(load, words, prog))


def _group(load: Load, words: Sequence[str] | None, prog: str) -> None:
    given = vars(build(prog).parse_args(words))
    if given["output"].suffix != ".csv":
        raise UserError(f"--output {given['output']} must end in .csv.")
    model = open_model(load, given)
    if given["accepted"] and model.threshold is None:
        raise UserError(
            f"{model.source} has no threshold: `duoreid calibrate MODEL --dataset NAME` measures one, or leave "
            "--accepted out."
        )
    listing = model.pictures.listed(given["images"], given["pattern"])
    if listing.told:
        print(listing.told, file=sys.stderr)
    pictures = list({picture.file: picture for picture in listing.pictures}.values())
    for picture in pictures:
        _below(picture.file, given["output"])
    kept, features, broken = embedded(model, pictures, given["batch"])
    if len(kept) < FEWEST:
        raise UserError(f"{len(kept)} pictures cannot be grouped: give at least {FEWEST}.")

    from duoreid.core.grouping import group

    groups = group(
        features,
        identities=[picture.identity for picture in kept],
        threshold=model.threshold.at(len(kept)) if given["accepted"] and model.threshold else None,
        **{name: given[name] for name in ("share", "eps", "min_samples", "k1", "k2")},
    )
    _write(given["output"], kept, groups)
    sheets = _sheets(given["sheets"], kept, groups, model) if given["sheets"] else []
    if given["json"]:
        print(json.dumps(_facts(given["output"], kept, groups, broken, sheets), indent=2))
        return
    for file, why in broken:
        print(f"{file} cannot be decoded and is left out: {why}", file=sys.stderr)
    print(_text(given["output"], kept, groups, sheets))


def _below(file: str, output: Path) -> str:
    """Return an image's path as the CSV has it, from the CSV's folder; UserError where the image is not below it."""
    relative = os.path.relpath(file, os.path.abspath(output.parent))
    if relative.split(os.sep)[0] == os.pardir:
        raise UserError(
            f"{file} does not lie below {os.path.abspath(output.parent)}, where --output is written, and a CSV of "
            "images may not lead out of its folder: write it into a folder above the images."
        )
    return Path(relative).as_posix()


def _write(output: Path, pictures: Sequence[Picture], groups: Groups) -> None:
    from duoreid.core.checkpoints.files import write_atomically

    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for picture, label, certainty in zip(pictures, groups.labels, groups.certainty, strict=True):
        name = groups.names[label] if label >= 0 else ""
        writer.writerow([_below(picture.file, output), name, picture.camera or "", f"{certainty:.4f}"])
    write_atomically(output, text.getvalue().encode())


def _sheets(folder: Path, pictures: Sequence[Picture], groups: Groups, model: Model) -> list[str]:
    """Write one picture for each group, its images from the most certain on; return the files."""
    from PIL import Image
    from tqdm import tqdm

    from duoreid.core.checkpoints.files import write_atomically

    height = 128
    width = max(1, round(height * model.size[1] / model.size[0]))
    written = []
    for label, name in enumerate(tqdm(groups.names, desc="contact sheets", disable=None, leave=False)):
        rows = np.flatnonzero(groups.labels == label)
        rows = rows[np.argsort(-groups.certainty[rows], kind="stable")]
        down, across = -(-len(rows) // COLUMNS), min(COLUMNS, len(rows))
        size = (across * (width + EDGE) + EDGE, down * (height + EDGE) + EDGE)
        sheet = Image.new("RGB", size, "white")
        for place, row in enumerate(rows):
            pixels = model.pictures.pixels(pictures[row].file, height, width, model.description.interpolation)
            y, x = divmod(place, COLUMNS)
            sheet.paste(Image.fromarray(pixels), (EDGE + x * (width + EDGE), EDGE + y * (height + EDGE)))
        content = io.BytesIO()
        sheet.save(content, "JPEG", quality=88)
        file = folder / f"{label + 1:04d}-{re.sub(r'[^A-Za-z0-9_-]+', '-', name)[:60]}.jpg"
        write_atomically(file, content.getvalue())
        written.append(str(file))
    return written


def _facts(
    output: Path,
    pictures: Sequence[Picture],
    groups: Groups,
    broken: Sequence[tuple[str, str]],
    sheets: Sequence[str],
) -> dict:
    return {
        "output": str(output),
        "images": len(pictures),
        "groups": len(groups.names),
        "known": groups.known,
        "alone": int((groups.labels < 0).sum()),
        "eps": groups.eps,
        "sheets": list(sheets),
        "broken": [{"file": file, "why": why} for file, why in broken],
    }


def _text(output: Path, pictures: Sequence[Picture], groups: Groups, sheets: Sequence[str]) -> str:
    sizes = np.bincount(groups.labels[groups.labels >= 0], minlength=len(groups.names))
    counts = (
        f"{len(pictures):,} pictures -> {len(groups.names):,} groups, {groups.known:,} of them of people with a name; "
        f"{int((groups.labels < 0).sum()):,} pictures fit nobody (eps {groups.eps:.3f})"
    )
    lines = [counts]
    if len(sizes):
        sure = groups.certainty[groups.labels >= 0]
        lines.append(
            f"pictures in a group: {sizes.min()} to {sizes.max()}, median {np.median(sizes):g}; certainty: median "
            f"{np.median(sure):.2f}, below 0.6 for {int((sure < 0.6).sum()):,}"
        )
    else:
        lines.append("nobody is near anybody: raise --eps, lower --min-samples, or take a model that fits the images")
    lines.append(f"{output}: read it back with --dataset folder --data {output}")
    return "\n".join([*lines, *([f"{Path(sheets[0]).parent}: {len(sheets)} contact sheets"] if sheets else [])])
