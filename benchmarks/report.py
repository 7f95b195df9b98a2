"""`python -m benchmarks.report`: how long a report takes to make, and how much memory, without embedding.

The features are drawn, as many as Market-1501 has images and as wide as ResNet-50's; so are the pictures and the
pseudo-labels (people with some of their images moved elsewhere). The default run's size is measured beside it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from duoreid.benchmarks.algorithms import RESULTS
from duoreid.benchmarks.features import clustered
from duoreid.benchmarks.measure import environment
from duoreid.core.checkpoints.files import write_atomically
from duoreid.core.data import Dataset, OpenData, Search, Split, Trial
from duoreid.core.random import rng
from duoreid.core.report import page, sections
from duoreid.core.report.gather import Material, tested

MOVED = 0.15
"""Share of the training images whose pseudo-label is another's."""


class Size(NamedTuple):
    """Of a dataset and of its features. seconds, megabytes: what a report may take."""

    queries: int
    gallery: int
    train: int
    people: int
    cameras: int
    width: int
    height: int
    seconds: float
    megabytes: float


SIZES = {
    "default run": Size(300, 1400, 2000, 120, 8, 256, 64, 60, 2000),
    "Market-1501": Size(3368, 15913, 12936, 751, 6, 2048, 256, 180, 2000),
}
"""The limits are those of the project: a minute, and three minutes and 2 GB. Seconds are judged by those of processors:
a machine that does nothing else takes as long at most, and one that is shared would fail by its neighbours."""


class Drawn:
    """Pictures that are drawn when they are asked for."""

    def __init__(self, count: int, height: int) -> None:
        self.shape = (count, height, height // 2, 3)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return np.stack([rng(int(row), "benchmark/picture").integers(0, 255, self.shape[1:], np.uint8) for row in rows])


def material(size: Size) -> Material:
    """Return what a report of this size is made of."""
    numbers = rng(0, "benchmark/report")

    def split(count: int, people: np.ndarray) -> Split:
        cameras = numbers.integers(1, size.cameras + 1, count).astype(np.int32)
        files = tuple(f"{row:06}.jpg" for row in range(count))
        return Split(files, people.astype(np.int32), cameras, np.zeros(count, np.uint8))

    count = size.queries + size.gallery
    data = clustered(count, size.people, width=size.width)
    test, train = split(count, data.identities), split(size.train, numbers.integers(0, size.people, size.train))
    rows = numbers.permutation(count)
    search = Search("test", (Trial(rows[: size.queries], rows[size.queries :]),))
    dataset = Dataset("drawn", "", train, test, (search,))
    opened = OpenData(dataset, Drawn(size.train, size.height), Drawn(count, size.height))
    moved = numbers.random(size.train) < MOVED
    labels = np.where(moved, numbers.integers(0, size.people, size.train), train.identities)
    features = {"teacher1": data.features}
    results = tested(features, opened)
    return Material("benchmark", opened=opened, features=features, results=results, labels=labels)


def measure(name: str) -> dict[str, Any]:
    """Make one report; return its seconds, of the wall clock by part and of processors, peak memory and bytes."""
    size = SIZES[name]
    given = material(size)
    began, used = time.perf_counter(), time.process_time()
    made, atlas = sections.compose(given)
    composed = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        written = page.write(made, atlas, Path(folder) / "report.html")
    done = time.perf_counter()
    spent, peak = time.process_time() - used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "name": name,
        "measures": composed - began,
        "page": done - composed,
        "seconds": done - began,
        "processor": spent,
        "peak": peak,
        "bytes": written,
        "inside": bool(spent < size.seconds and peak < 1e6 * size.megabytes),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 where every report is inside its limits."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), metavar="NAME", help=", ".join(SIZES))
    parser.add_argument("--output", type=Path, default=RESULTS / "report.json", help="default: %(default)s")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        sys.stdout.write(json.dumps(measure(options.sizes[0])) + "\n")
        return 0
    rows = []
    for name in options.sizes:
        command = [sys.executable, "-m", "benchmarks.report", "--one", "--sizes", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        row = rows[-1]
        print(
            f"{name}: {row['seconds']:.1f} s (measures {row['measures']:.1f}, page {row['page']:.1f}; "
            f"{row['processor']:.1f} of processors), {row['peak'] / 1e6:,.0f} MB, page of {row['bytes'] / 1e6:.1f} MB: "
            + ("inside" if row["inside"] else "OUTSIDE its limits")
        )
    report = {"command": "python -m benchmarks.report", **environment(), "rows": rows}
    write_atomically(options.output, (json.dumps(report, indent=1) + "\n").encode())
    return 0 if all(row["inside"] for row in rows) else 1


if __name__ == "__main__":
    import duoreid.benchmarks.report as module

    sys.exit(module.main())
