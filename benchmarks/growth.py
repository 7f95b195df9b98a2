"""`python -m benchmarks.growth`: how the Jaccard graph grows with the number of points, measured and plotted.

Each size runs in a process of its own: the approximate search, the encoding, the sums of minima and DBSCAN. Up to
`--exact-up-to` points the exact search runs too; recall and agreement of the labels are measured against it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.benchmarks import style
from duoreid.benchmarks.algorithms import RESULTS
from duoreid.benchmarks.features import clustered
from duoreid.benchmarks.measure import environment, extra_memory
from duoreid.core.agreement import agreement
from duoreid.core.approximate import search_approximate
from duoreid.core.dbscan import dbscan
from duoreid.core.jaccard import encoding_of, similarity_of
from duoreid.core.neighbours import search

SIZES = (10_000, 33_000, 100_000, 1_000_000)
IMAGES_PER_IDENTITY = 17
K = 31
RADIUS, EPS = 0.6, 0.5


def measure(count: int, width: int, exact: bool) -> dict[str, Any]:
    """Return processor and wall-clock seconds of each stage and the extra memory at one size.

    exact: search exactly too, for the recall over all points and the agreement of the labels that follow.
    """
    data = clustered(count, count // IMAGES_PER_IDENTITY, width=width)
    features = data.features
    stages: dict[str, Any] = {"points": count}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        started, used = time.perf_counter(), time.process_time()
        result = call()
        stages[name] = round(time.process_time() - used, 3)
        stages[f"{name}, wall"] = round(time.perf_counter() - started, 3)
        return result

    def labels_of(neighbours: tuple[np.ndarray, ...]) -> np.ndarray:
        encoded = timed("encoding", lambda: encoding_of(features, *neighbours, K - 1, 6))
        graph = timed("minimum sums", lambda: similarity_of(encoded, RADIUS))
        stages["pairs"] = graph.nnz
        return timed("dbscan", lambda: dbscan(graph, eps=EPS))

    kept: dict[str, Any] = {}

    def run() -> None:
        kept["near"] = near = timed("approximate search", lambda: search_approximate(features, K, lowest=True))
        kept["labels"] = labels_of((near.indices, near.similarities, near.lowest))

    stages["bytes"] = extra_memory(run)
    near, labels = kept["near"], kept["labels"]
    scores = agreement(labels, data.identities)
    stages |= {"recall on a sample": near.recall, "visited": near.visited, "rand, identities": scores.adjusted_rand}
    if exact:
        nearest = timed("search", lambda: search(features, K, lowest=True))
        stages["recall"] = recall(near.indices, nearest[0])
        rest = {name: stages[name] for name in stages if name.startswith(("encoding", "minimum", "dbscan", "pairs"))}
        true = labels_of(nearest)
        stages |= rest  # of the approximate pipeline, whose memory was measured
        stages["rand, exact labels"] = agreement(labels, true).adjusted_rand
        stages["rand, exact identities"] = agreement(true, data.identities).adjusted_rand
    return stages


def recall(retrieved: np.ndarray, true: np.ndarray) -> float:
    """Return the share of true neighbours (N, k) that were retrieved (N, k)."""
    hits = sum(len(np.intersect1d(*rows)) for rows in zip(retrieved, true, strict=True))
    return hits / true.size


def slope(rows: Sequence[dict[str, Any]], name: str) -> float:
    """Return the power of N with which a number grows over the larger half of the sizes; NaN for a single size."""
    known = [(row["points"], row[name]) for row in rows if row.get(name, 0) > 0]
    known = known[len(known) // 2 - 1 :] if len(known) > 2 else known
    if len(known) < 2:
        return float("nan")
    points, values = (np.log(np.array(part, float)) for part in zip(*known, strict=True))
    return float(np.polyfit(points, values, 1)[0])


def plot(report: dict[str, Any], file: Path) -> None:
    """Draw processor seconds and memory over the number of points, both on logarithmic axes."""
    rows = report["rows"]
    points = [row["points"] for row in rows]
    with style.drawing() as pyplot:
        figure, (times, memory) = pyplot.subplots(1, 2, figsize=(11, 4.6))
        stages = ("search", "approximate search", "encoding", "minimum sums", "dbscan")
        for colour, stage in zip(style.COLOURS, stages, strict=True):
            known = [row for row in rows if stage in row]
            if known:
                label = "exact search" if stage == "search" else stage
                if stage == "approximate search":
                    label += (
                        f" (recall {min(row.get('recall', row['recall on a sample']) for row in known):.3f} or more)"
                    )
                values = [row[stage] for row in known]
                times.loglog([row["points"] for row in known], values, "o-", label=label, color=colour)
        first = next((row for row in rows if "search" in row), None)
        if first is not None:
            square = [first["search"] * (n / first["points"]) ** 2 for n in points]
            times.loglog(points, square, ":", color=style.NOISE, label="grows with $N^2$")
        times.set(xlabel="points N", ylabel="processor seconds", title="Time: the exact search takes most of it")
        times.set_ylim(bottom=times.get_ylim()[0] / 300)  # room for the legend
        times.legend(loc="lower right")
        megabytes = [row["bytes"] / 1e6 for row in rows]
        memory.loglog(points, megabytes, "o-", label="measured, features not counted", color=style.FIRST)
        memory.loglog(points, [4e-6 * n * n for n in points], ":", color=style.NOISE, label="one dense float32 matrix")
        memory.set(xlabel="points N", ylabel="MB at the peak", title="Memory: far below one dense matrix")
        memory.legend()
        for axes in (times, memory):
            axes.set_xticks(points, [f"{count:,}" for count in points], fontsize=8)
            axes.minorticks_off()
        style.head(
            figure,
            f"Jaccard graph: the search grows with N^{slope(rows, 'search'):.1f}, its memory with "
            f"N^{slope(rows, 'bytes'):.1f}",
            f"D = {report['width']}, k1 = {K - 1}; commit {report['commit']}, {report['cores']} cores of "
            f"{report['processor']}",
        )
        style.save(figure, file)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of points, default: %(default)s")
    parser.add_argument("--width", type=int, default=256, help="dimensions, default: %(default)s")
    parser.add_argument("--exact-up-to", type=int, default=100_000, help="points, default: %(default)s")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of growth.json and growth.png")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        sys.stdout.write(
            json.dumps(measure(options.sizes[0], options.width, options.sizes[0] <= options.exact_up_to)) + "\n"
        )
        return 0
    flags = ["--one", "--width", str(options.width), "--exact-up-to", str(options.exact_up_to)]
    for count in options.sizes:
        command = [sys.executable, "-m", "benchmarks.growth", "--sizes", str(count), *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        row = json.loads(done.stdout.splitlines()[-1])
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()
        report = keep(options.output / "growth.json", row, {**environment(), "width": options.width})
        plot(report, options.output / "growth.png")
    return 0


def keep(output: Path, row: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """Write the row of one size in the place of its earlier one, with its commit; return the report.

    Rows of another width are dropped: they belong to another curve.
    """
    earlier = json.loads(output.read_text()) if output.exists() else {"width": None}
    rows = earlier["rows"] if earlier["width"] == measured["width"] else []
    rows = [one for one in rows if one["points"] != row["points"]] + [row | {"commit": measured["commit"]}]
    report = {"command": "python -m benchmarks.growth", **measured, "rows": sorted(rows, key=lambda one: one["points"])}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")
    return report


if __name__ == "__main__":
    import duoreid.benchmarks.growth as module

    sys.exit(module.main())
