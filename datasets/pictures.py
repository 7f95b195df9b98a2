"""`python -m datasets.pictures FEATURES.npz --dataset NAME`: the ranked lists of a test as a picture.

FEATURES.npz is a file of `evaluate --save-features`. Each line shows a query and the gallery images that are nearest to
it, nearest first, without those that the test ignores; a frame says who shows the same person.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from duoreid.core.commands.score import read
from duoreid.core.data import Dataset, Trial
from duoreid.core.errors import UserError, unknown
from duoreid.core.protocols import SYSU_SAME_PLACE
from duoreid.datasets.decode import open_rgb
from duoreid.datasets.opening import NAMES, open_dataset

WIDTH, HEIGHT, FRAME, CAPTION, GAP, MARGIN = 64, 128, 4, 18, 6, 10
PAPER, INK, SAME, OTHER = (250, 250, 248), (30, 30, 34), (0, 134, 108), (205, 63, 40)
COLOURS = 192
"""Of the picture's palette: a third of the bytes of true colours."""


@dataclass(frozen=True)
class Shown:
    """One image of a picture. same: whether it shows the query's person; None for the query itself."""

    file: str
    caption: str
    same: bool | None


def ranked_lists(
    arrays: Mapping[str, np.ndarray], trial: Trial, files: Sequence[str], *, queries: int = 5, depth: int = 10
) -> list[list[Shown]]:
    """Return a line for each of some queries, taken evenly from all: the query, then its `depth` nearest.

    arrays: what `--save-features` wrote for this draw. files: of the test split, into which the draw's rows point.
    Raises UserError where the arrays are of another draw.
    """
    _check(arrays, trial)
    unit = {part: _unit(arrays[part]) for part in ("query", "gallery")}
    lines = []
    for place in np.unique(np.linspace(0, len(trial.query) - 1, queries).round().astype(int)):
        similarities = unit["gallery"] @ unit["query"][place]
        order = np.argsort(-similarities, kind="stable")
        nearest = order[~_ignored(arrays, place)[order]][:depth]
        line = [Shown(files[trial.query[place]], f"query, cam {arrays['query_cameras'][place]}", None)]
        for column in nearest:
            caption = f"{similarities[column]:.2f}  cam {arrays['gallery_cameras'][column]}"
            same = bool(arrays["gallery_ids"][column] == arrays["query_ids"][place])
            line.append(Shown(files[trial.gallery[column]], caption, same))
        lines.append(line)
    return lines


def _check(arrays: Mapping[str, np.ndarray], trial: Trial) -> None:
    for part, rows in (("query", trial.query), ("gallery", trial.gallery)):
        if len(arrays[part]) != len(rows):
            raise UserError(
                f"the features are of {len(arrays[part])} {part} images, and this draw has {len(rows)}: give the "
                "--dataset, --data, --search and --draw that they were saved with."
            )


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _ignored(arrays: Mapping[str, np.ndarray], query: int) -> np.ndarray:
    """Return which gallery images a query does not see, bool (G,); the rules are those of core.data.Search."""
    cameras, own = arrays["gallery_cameras"], arrays["query_cameras"][query]
    rule = str(arrays.get("ignore", "same-camera"))
    if rule == "same-camera":
        return (arrays["gallery_ids"] == arrays["query_ids"][query]) & (cameras == own)
    if rule == "same-place":
        return (cameras == SYSU_SAME_PLACE[1]) & (own == SYSU_SAME_PLACE[0])
    return np.zeros(len(cameras), bool)


def draw(lines: Sequence[Sequence[Shown]], output: str | os.PathLike[str]) -> Path:
    """Write ranked lists as a picture (its suffix says the format) and return its path."""
    cell = WIDTH + 2 * FRAME + GAP, HEIGHT + 2 * FRAME + CAPTION + GAP
    columns = max(len(line) for line in lines)
    size = columns * cell[0] + GAP + 2 * MARGIN, len(lines) * cell[1] + 2 * MARGIN
    sheet = Image.new("RGB", size, PAPER)
    for row, line in enumerate(lines):
        for column, shown in enumerate(line):
            left = MARGIN + column * cell[0] + (2 * GAP if column else 0)
            _place(sheet, shown, left, MARGIN + row * cell[1])
    path = Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(COLOURS).save(path, optimize=True)
    return path


def _place(sheet: Image.Image, shown: Shown, left: int, top: int) -> None:
    """Paste one image with its frame and its caption; another person's is crossed at a corner too."""
    colour = {None: INK, True: SAME, False: OTHER}[shown.same]
    image = open_rgb(shown.file).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    ink = ImageDraw.Draw(sheet)
    right, bottom = left + WIDTH + 2 * FRAME - 1, top + HEIGHT + 2 * FRAME - 1
    ink.rectangle((left, top, right, bottom), fill=colour)
    sheet.paste(image, (left + FRAME, top + FRAME))
    if shown.same is False:
        ink.line((right - 16, top + FRAME + 1, right - FRAME - 1, top + 16), OTHER, 3)
        ink.line((right - FRAME - 1, top + FRAME + 1, right - 16, top + 16), OTHER, 3)
    ink.text((left + 1, bottom + 3), shown.caption, colour, ImageFont.load_default(11))


def trial_of(dataset: Dataset, search: str, number: int) -> Trial:
    """Return one draw of a dataset. search: its name, "" for the first; number: of the draw, from 1."""
    known = {one.name: one for one in dataset.searches}
    if not known:
        raise UserError(f"{dataset.name} has no labels to test by, so there are no ranked lists to draw.")
    if search and search not in known:
        raise unknown(f"search of {dataset.name}", search, known)
    trials = known[search or next(iter(known))].trials
    if not 1 <= number <= len(trials):
        raise UserError(f"--draw {number}: this search of {dataset.name} has the draws 1 to {len(trials)}.")
    return trials[number - 1]


def build() -> argparse.ArgumentParser:
    """Return the argument parser."""
    parser = argparse.ArgumentParser(prog="python -m datasets.pictures", description=__doc__)
    parser.add_argument("features", metavar="FEATURES.npz", help="what evaluate --save-features wrote")
    parser.add_argument("--dataset", required=True, help=", ".join(NAMES))
    parser.add_argument("--data", default="data", help="folder that holds it (default: data)")
    parser.add_argument("--search", default="", help="which of the dataset's searches (default: the first)")
    parser.add_argument("--draw", type=int, default=1, metavar="N", help="which draw of the gallery (default: 1)")
    parser.add_argument("--trial", type=int, default=1, metavar="N", help="training split (RegDB; default: 1)")
    parser.add_argument("--queries", type=int, default=5, metavar="N", help="lines (default: 5)")
    parser.add_argument("--depth", type=int, default=10, metavar="N", help="gallery images a line (default: 10)")
    parser.add_argument("--output", default="ranked.png", help="picture to write (default: ranked.png)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = build().parse_args(arguments)
    try:
        if min(options.queries, options.depth) < 1:
            raise UserError(f"--queries and --depth must be at least 1, got {options.queries} and {options.depth}.")
        dataset = open_dataset(options.dataset, options.data, trial=options.trial)
        trial = trial_of(dataset, options.search, options.draw)
        arrays = read(options.features)
        lines = ranked_lists(arrays, trial, dataset.test.files, queries=options.queries, depth=options.depth)
        print(draw(lines, options.output))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    import duoreid.datasets.pictures as module
    from duoreid.core.commands.command import finished

    sys.exit(finished(module.main))
