"""`python -m benchmarks.plots`: draw the plots of results again, from their JSON, in one style.

Without names: every result that has a picture beside it. With names of JSON files: these. Nothing is measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from duoreid.benchmarks import ablation, growth, handover
from duoreid.benchmarks.ablation_rows import ABLATIONS
from duoreid.benchmarks.algorithms import RESULTS
from duoreid.benchmarks.parity import comparison
from duoreid.benchmarks.parity.plot import plot as plot_parity
from duoreid.core.commands.command import guarded
from duoreid.core.errors import UserError


def _growth(path: Path, picture: Path) -> None:
    growth.plot(_read(path), picture)


def _handover(path: Path, picture: Path) -> None:
    curves = _read(path)
    handover.plot(curves, len(next(iter(curves.values()))) // 2, picture)


def _ablation(path: Path, picture: Path) -> None:
    content = _read(path)
    method = content.get("method") or path.stem.removeprefix("ablation-")
    if method not in ABLATIONS:
        raise UserError(f"{path} does not say which ablation it is: name it ablation-METHOD.json.")
    ablation.plot(ABLATIONS[method], content["rows"], picture, ablation.words(method, content))


def _parity(path: Path, picture: Path) -> None:
    plot_parity(comparison.load(path), picture)


DRAW: dict[str, Callable[[Path, Path], None]] = {
    "growth": _growth,
    "handover": _handover,
    "ablation": _ablation,
    "parity": _parity,
}
"""By how the names of their files begin."""


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} should hold results by name, but holds a {type(content).__name__}.")
    return content


def draw(path: Path) -> Path:
    """Draw the plot of a JSON file beside it; return the picture's path."""
    kind = path.stem.split("-")[0]
    if kind not in DRAW:
        raise UserError(f"{path}: plots are drawn of files that begin with {', '.join(DRAW)}.")
    picture = path.with_suffix(".png")
    try:
        DRAW[kind](path, picture)
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path} is no result of this version ({type(error).__name__}: {error}).") from error
    return picture


def complete(path: Path) -> bool:
    """Return whether a file holds all that its picture shows: older files of parity have no curves of float64."""
    if path.stem.split("-")[0] != "parity":
        return True
    roles = {curve.role for curve in comparison.load(path).curves}
    return {"rounding", "double"} <= roles


def known(folder: Path) -> list[Path]:
    """Return the JSON files of a folder that have a picture beside them."""
    return sorted(path for path in folder.glob("*.json") if path.with_suffix(".png").exists())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.json", help="default: those with a picture")
    options = parser.parse_args(arguments)

    def action() -> None:
        for path in options.files or known(RESULTS):
            if options.files or complete(path):
                print(draw(path))
            else:
                again = f"python -m benchmarks.parity --json {path}"
                print(f"{path.with_suffix('.png')}: left as it is, the curves of float64 are not in its JSON: {again}")

    return guarded(action)


if __name__ == "__main__":
    import sys

    import duoreid.benchmarks.plots as module

    sys.exit(module.main())
