"""`python -m benchmarks.algorithms`: the algorithms of core beside their peers, one table and one JSON file.

Every call of a case runs in one process, in turn; ratios are of medians, of seconds and of processor
seconds. Memory is measured in a process of its own for
each call: by how much it grows at its peak over what its input takes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from duoreid.benchmarks.alternatives import ALTERNATIVES
from duoreid.benchmarks.cases import CASES as CORE
from duoreid.benchmarks.cases import QUICK, Sizes
from duoreid.benchmarks.measure import environment, extra_memory, interleaved
from duoreid.core.numeric.threads import workers

CASES = CORE | ALTERNATIVES
RESULTS = Path(__file__).parent / "results"
HEADINGS = (
    *("algorithm", "size", "peer", "ours s", "peer s", "ratio", "processor ratio"),
    *("ours MB", "peer MB", "agreement"),
)


def measure(name: str, sizes: Sizes, repeats: int, memory: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row per peer of a case (one without a peer where it has none)."""
    case = CASES[name](sizes)
    counts = {call: 1 if call in case.slow else repeats for call in case.calls}
    seconds, results = interleaved(case.calls, counts)
    peers = [call for call in case.calls if call != "ours"]
    agreement = {peer: case.agree(results["ours"], results[peer], peer) for peer in peers}
    size, missing = case.size, case.notes
    del case, results  # before the processes that measure memory make the same data again
    used = {call: peak_memory(name, call, memory) for call in seconds} if memory else {}
    rows = [
        {
            "algorithm": name,
            "size": size,
            "peer": peer,
            "seconds": seconds["ours"][0],
            "processor_seconds": seconds["ours"][1],
            "peer_seconds": seconds[peer][0] if peer else None,
            "peer_processor_seconds": seconds[peer][1] if peer else None,
            "ratio": seconds[peer][0] / seconds["ours"][0] if peer else None,
            "processor_ratio": seconds[peer][1] / seconds["ours"][1] if peer else None,
            "bytes": used.get("ours"),
            "peer_bytes": used.get(peer),
            "agreement": agreement.get(peer, ""),
            "timed": counts["ours"],
            "peer_timed": counts.get(peer),
        }
        for peer in peers or [None]
    ]
    return rows + [
        {"algorithm": name, "size": size, "peer": peer, "missing": reason} for peer, reason in missing.items()
    ]


def peak_memory(name: str, call: str, arguments: Sequence[str]) -> int:
    """Return the extra memory of one call, from a fresh process."""
    command = [sys.executable, "-m", "benchmarks.algorithms", *arguments, "--memory-of", name, call]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table; a ratio above 1 means that ours is faster."""
    cells = [HEADINGS, ["---"] * len(HEADINGS)]
    for row in rows:
        if "missing" in row:
            cells.append([row["algorithm"], row["size"], row["peer"], *["-"] * 6, f"not to be had: {row['missing']}"])
            continue
        cells.append(
            [
                row["algorithm"],
                row["size"],
                row["peer"] or "-",
                _number(row["seconds"], "{:.3g}"),
                _number(row["peer_seconds"], "{:.3g}"),
                _number(row["ratio"], "{:.2f}"),
                _number(row["processor_ratio"], "{:.2f}"),
                _number(row["bytes"], "{:.0f}", 1e6),
                _number(row["peer_bytes"], "{:.0f}", 1e6),
                row["agreement"],
            ]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def _number(value: float | None, form: str, unit: float = 1) -> str:
    return "-" if value is None else form.format(value / unit)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.algorithms", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--only", nargs="+", metavar="ALGORITHM", choices=sorted(CASES), help="some of the cases")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of fast calls, default: %(default)s")
    parser.add_argument("--no-memory", action="store_true", help="leave out the processes that measure memory")
    parser.add_argument("--output", type=Path, help="where to write the JSON, default: benchmarks/results")
    parser.add_argument("--memory-of", nargs=2, metavar=("ALGORITHM", "CALL"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    sizes = QUICK if options.quick else Sizes()
    if options.memory_of:
        name, call = options.memory_of
        sys.stdout.write(f"{extra_memory(CASES[name](sizes).calls[call])}\n")
        return 0
    if options.repeats < 1:
        parser.error(f"--repeats must be at least 1, but is {options.repeats}")
    carried = [] if options.no_memory else ["--quick"] if options.quick else ["--repeats", "1"]
    command = "python -m benchmarks.algorithms" + (" --quick" if options.quick else "")
    output = options.output or RESULTS / ("algorithms-quick.json" if options.quick else "algorithms.json")
    for name in options.only or CASES:
        sys.stderr.write(f"{name} ...\n")
        rows = measure(name, sizes, options.repeats, carried)
        report = keep(output, name, rows, {"command": command, **environment()})
    rows = [row for row in report["rows"] if row["algorithm"] in (options.only or CASES)]
    shown = f"commit {report['commit']}, {report['cores']} cores of {report['processor']}, load {report['load']:.1f}"
    sys.stdout.write(f"{table(rows)}\n\n{command}; {shown}; {output}\n")
    return 0


def keep(output: Path, name: str, rows: list[dict[str, Any]], measured: dict[str, Any]) -> dict[str, Any]:
    """Write the rows of one case in the place of its earlier ones; return the report.

    Each row says its threads, commit and load. The file is written after each case, so that a run that is cut off
    keeps what it has.
    """
    earlier = json.loads(output.read_text())["rows"] if output.exists() else []
    cases = {case: [row for row in earlier if row["algorithm"] == case] for case in CASES}
    told = {"threads": workers(), "commit": measured["commit"], "load": round(measured["load"], 1)}
    cases[name] = [row | told for row in rows]
    report = {**measured, "rows": [row for case in cases.values() for row in case]}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")
    return report


if __name__ == "__main__":
    import duoreid.benchmarks.algorithms as module

    sys.exit(module.main())
