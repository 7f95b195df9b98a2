"""`duoreid runs`: the runs in a folder, with their state, last mAP and age."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from duoreid.core.commands.parsing import Parser, add_help
from duoreid.core.errors import UserError
from duoreid.core.training import past
from duoreid.core.training.tables import table


def build(prog: str = "duoreid runs") -> Parser:
    """Return the parser."""
    parser = Parser(
        prog=prog,
        usage=f"{prog} [FOLDER] [--json]",
        description="List the runs in a folder: running, finished or where they stopped, the last mAP, how long ago "
        "they wrote.",
        examples=[prog, f"{prog} ~/experiments --json"],
    )
    add_help(parser)
    parser.add_argument("folder", nargs="?", default=Path("runs"), type=Path, help="where runs lie (default: runs)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def summaries(folder: Path) -> list[dict[str, Any]]:
    """Return what is to be said of each run in a folder, in whatever depth, the newest first."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give the one in which runs lie.")
    rows = []
    for path in sorted(folder.rglob("config.json")):
        try:
            run = past.read(path.parent)
        except UserError as error:
            rows.append({"run": str(path.parent), "state": f"unreadable: {error}", "age": 0.0})
            continue
        if "method" not in run.settings:
            continue  # somebody else's config.json
        metrics = run.metrics()
        about = {"run": str(run.folder), "method": run.method, "backend": run.backend, "state": run.state()}
        rows.append(about | {"mean_ap": metrics.get("mean_ap"), "age": run.age(), "seconds": run.seconds})
    return sorted(rows, key=lambda row: row["age"])


def ago(seconds: float) -> str:
    """Return an age in its largest unit.

    >>> ago(59), ago(7200), ago(200000)
    ('59 s', '2 h', '2 d')
    """
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def text(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table."""
    lines = []
    for row in rows:
        score = row.get("mean_ap")
        shown = "" if score is None else f"{100 * score:.1f}"
        lines.append([row["run"], row.get("method", ""), row.get("backend", ""), row["state"], shown, ago(row["age"])])
    return table(("run", "method", "backend", "state", "mAP", "age"), lines)


def main(words: Sequence[str] | None = None, prog: str = "duoreid runs") -> int:
    """Run the command line; return the exit status."""
    given = build(prog).parse_args(words)
    rows = summaries(given.folder)
    if given.json:
        print(json.dumps(rows, indent=1))
    else:
        print(text(rows) if rows else f"no runs in {given.folder}")
    return 0
