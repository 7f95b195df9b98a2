"""`python -m benchmarks.parity.table REPORT.json ...`: several comparisons as one table in Markdown, a row each."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from duoreid.core.commands.command import guarded
from duoreid.core.errors import UserError
from duoreid.core.methods.registry import spec_of

HEADER = (
    "",
    "images, batch",
    "test embeddings apart",
    "gradients from float64: {} (with its ReLUs' choices)",
    "float64 training apart (rounding alone)",
    "float32 losses apart (rounding alone)",
    "checks passed",
)


def row(found: dict[str, Any]) -> list[str]:
    """Return the cells of one report's JSON."""
    exam, short = found["exam"], found["summary"]
    double, single = short.get("double"), short.get("single")
    pairs = exam["images"] if spec_of(exam["method"]).modalities == 1 else f"({exam['images']} + {exam['images']})"
    return [
        ", ".join([exam["method"], exam["network"]["arch"], *_devices(found)]),
        f"{exam['size']}, {exam['identities']} x {pairs}",
        f"{short['embeddings']:.1e}",
        ", ".join(_once(f"{raw:.1e}", f"{judged:.1e}") for raw, judged in short["gradients"].values()),
        f"{beside_noise(double)} in {_steps(double)}" if double else "",
        f"{single['apart']:.1e} ({single['noise']:.1e}) in {_steps(single)}" if single else "",
        f"{short['passed']} of {short['checks']}",
    ]


def _devices(found: dict[str, Any]) -> list[str]:
    """Which backend computed on what, where it was no CPU."""
    halves = [half["about"].partition(" on ") for half in found["backends"]]
    return [f"{name.split()[0]} on {device}" for name, _, device in halves if device[:3] not in ("", "CPU")]


def beside_noise(double: dict[str, Any]) -> str:
    """What rounding does to one backend alone is told where the two are not simply equal."""
    apart, noise = f"{double['apart']:.1e}", double.get("noise")
    return apart if noise is None or double["equal"] == double["steps"] else f"{apart} ({noise:.1e})"


def _once(raw: str, judged: str) -> str:
    return raw if raw == judged else f"{raw} ({judged})"


def _steps(part: dict[str, Any]) -> str:
    return f"{part['steps']} step{'s' if part['steps'] > 1 else ''}"


def markdown(reports: Sequence[dict[str, Any]]) -> str:
    """Return the table."""
    names = ", ".join(reports[0]["summary"]["gradients"]) or "none"
    header = [cell.format(names) for cell in HEADER]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *map(row, reports)])


def read(path: Path) -> dict[str, Any]:
    """Return a report's JSON; UserError where the file is none."""
    if not path.is_file():
        raise UserError(f"{path} is not a file: write one with python -m benchmarks.parity --json {path}")
    try:
        found = json.loads(path.read_text())
    except ValueError:  # neither text nor JSON
        found = None
    if not isinstance(found, dict) or "summary" not in found:
        raise UserError(f"{path} is no report of python -m benchmarks.parity --json, or one of an older version.")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0, or 2 where a file is no report."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.parity.table", description=__doc__)
    made.add_argument("reports", type=Path, nargs="+", metavar="REPORT.json", help="what --json wrote")
    given = made.parse_args(argv)
    return guarded(lambda: print(markdown([read(path) for path in given.reports])))


if __name__ == "__main__":
    import duoreid.benchmarks.parity.table as module

    sys.exit(module.main())
