"""`python -m benchmarks.growth`: how the Jaccard graph grows with the number of points, measured and plotted.

Each size runs in a process of its own. Where the exact neighbour search takes longer than all else together, an
approximate faiss index takes over if asked for (`--approximate`); its recall at k is measured beside its time.
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
from duoreid.core.approximate import nearest_approximate
from duoreid.core.jaccard import encoding_of, similarity_of
from duoreid.core.neighbours import search

SIZES = (4000, 8000, 16000, 32000, 64000, 130000)
IMAGES_PER_IDENTITY = 17
K = 31
SAMPLED = 1000  # points whose exact neighbours the recall is measured on


def measure(count: int, width: int, approximate: bool) -> dict[str, Any]:
    """Return processor and wall-clock seconds of each stage and the extra memory at one size."""
    features = clustered(count, count // IMAGES_PER_IDENTITY, width=width).features
    stages: dict[str, Any] = {"points": count}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        started, used = time.perf_counter(), time.process_time()
        result = call()
        stages[name] = time.process_time() - used
        stages[f"{name}, wall"] = time.perf_counter() - started
        return result

    def run() -> None:
        neighbours = timed("search", lambda: search(features, K, lowest=True))
        encoded = timed("encoding", lambda: encoding_of(features, *neighbours, K - 1, 6))
        stages["pairs"] = timed("minimum sums", lambda: similarity_of(encoded, 0.6)).nnz

    stages["bytes"] = extra_memory(run)
    if approximate:
        found, _ = timed("approximate search", lambda: nearest_approximate(features, K))
        stages["recall"] = recall(features, found)
    return stages


def recall(features: np.ndarray, found: np.ndarray) -> float:
    """Return the share of true neighbours found (N, K), over a sample of the points."""
    count = len(features)
    sample = np.linspace(0, count - 1, min(count, SAMPLED)).astype(np.int64)
    exact = np.argpartition(-features[sample] @ features.T, K - 1, axis=1)[:, :K]
    hits = [len(np.intersect1d(found[row], true)) for row, true in zip(sample, exact, strict=True)]
    return float(np.mean(hits) / K)


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
        stages = ("search", "encoding", "minimum sums", "approximate search")
        for colour, stage in zip(style.COLOURS, stages, strict=True):
            known = [row for row in rows if stage in row]
            if known:
                label = stage
                if stage == "approximate search":
                    label += f" (recall {min(row['recall'] for row in known):.3f} or more)"
                values = [row[stage] for row in known]
                times.loglog([row["points"] for row in known], values, "o-", label=label, color=colour)
        square = [rows[0]["search"] * (n / points[0]) ** 2 for n in points]
        times.loglog(points, square, ":", color=style.NOISE, label="grows with $N^2$")
        times.set(xlabel="points N", ylabel="processor seconds", title="Time: the exact search takes most of it")
        times.set_ylim(bottom=times.get_ylim()[0] / 20)  # room for the legend
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
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of points")
    parser.add_argument("--width", type=int, default=2048, help="dimensions, default: %(default)s")
    parser.add_argument("--approximate", action="store_true", help="measure an approximate faiss index too")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of growth.json and growth.png")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        sys.stdout.write(json.dumps(measure(options.sizes[0], options.width, options.approximate)) + "\n")
        return 0
    flags = ["--one", "--width", str(options.width)] + ["--approximate"] * options.approximate
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
