"""`python -m benchmarks.search`: a gallery's exact search beside faiss.IndexFlatIP, in one process, on the same rows.

Both use as many threads as OMP_NUM_THREADS allows. Calls take turns, so that whatever else runs on the machine slows
both. The memory's bandwidth is measured between them: a dot product of the rows with themselves reads each byte once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.benchmarks.algorithms import RESULTS
from duoreid.benchmarks.measure import environment
from duoreid.core.gallery.exact import exact
from duoreid.core.gallery.gallery import Gallery
from duoreid.core.gallery.store import Entry, Writer
from duoreid.core.numeric.threads import workers
from duoreid.core.random import rng
from duoreid.core.serving.description import Description
from duoreid.core.serving.model import Model
from duoreid.core.serving.pictures import Picture
from duoreid.datasets.sources import FILES

WIDTH, K = 512, 10
BLOCK = 50_000
PEOPLE = 20  # images of each
REPEATS = {10_000: (200, 40), 1_000_000: (20, 1)}
"""How often one query and a hundred are searched for."""


class Idle:
    """An engine that is never asked."""

    about = "nothing"

    def embed(self, images: np.ndarray) -> np.ndarray:
        raise NotImplementedError("the benchmark brings its features")


def blocks(count: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield unit vectors float32 (n, WIDTH): images of people, each near its person's centre."""
    for number, start in enumerate(range(0, count, BLOCK)):
        size = min(BLOCK, count - start)
        random = rng(seed, "features", step=number)
        centres = random.standard_normal((-(-size // PEOPLE), WIDTH), dtype=np.float32)
        rows = np.repeat(centres, PEOPLE, axis=0)[:size] + random.standard_normal((size, WIDTH), dtype=np.float32)
        yield rows / np.linalg.norm(rows, axis=1, keepdims=True)


def filled(folder: Path, count: int, numbers: str) -> Gallery:
    """Return a gallery of `count` rows, written as `add` writes them."""
    description = Description("network", "none", 256, 128, "bicubic", "benchmark", dimension=WIDTH)
    model = Model(Idle(), description, FILES, "benchmark")
    gallery = Gallery.open(folder, model, numbers=numbers)
    writer, first = Writer(folder, gallery.about), 0
    for rows in blocks(count):
        names = range(first, first + len(rows))
        entries = [Entry(Picture(f"/data/cameras/c{n % 6}/{n:08d}.jpg", str(n // PEOPLE)), (n, n), n, n) for n in names]
        writer.append(entries, rows)
        first += len(rows)
    return gallery


def interleaved(calls: dict[str, Any], repeats: int) -> dict[str, list[float]]:
    """Return every call's seconds; they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    warm = repeats > 5  # the first turn then only fills the caches
    for turn in range(repeats + warm):
        for name, call in calls.items():
            started = time.perf_counter()
            call(turn)
            if turn >= warm:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def measure(count: int, folder: Path) -> dict[str, Any]:
    """Return the figures of one size."""
    import faiss

    faiss.omp_set_num_threads(workers())
    index = faiss.IndexFlatIP(WIDTH)
    for rows in blocks(count):
        index.add(rows)
    galleries = {numbers: filled(folder / numbers, count, numbers) for numbers in ("float32", "float16")}
    maps = {numbers: gallery.features for numbers, gallery in galleries.items()}
    queries = next(blocks(200, seed=1))
    known = maps["float32"]
    found: dict[str, Any] = {"rows": count, "width": WIDTH, "k": K, "threads": workers()}
    found["same hits as faiss"] = _agreement(index, known, queries[:100])
    one, hundred = REPEATS[count]
    calls = {
        "faiss": lambda turn: index.search(queries[turn % 200][None], K),
        "float32": lambda turn: exact(known, queries[turn % 200][None], K),
        "float16": lambda turn: exact(maps["float16"], queries[turn % 200][None], K),
        "search": lambda turn: galleries["float32"].search(queries[turn % 200]),
        "bandwidth": lambda turn: _read(known),
    }
    found["one query"] = summary(interleaved(calls, one), known.nbytes)
    calls = {
        "faiss": lambda turn: index.search(queries[:100], K),
        "float32": lambda turn: exact(known, queries[:100], K),
        "float16": lambda turn: exact(maps["float16"], queries[:100], K),
    }
    found["a hundred queries"] = summary(interleaved(calls, hundred), known.nbytes)
    found["bytes on disk"] = {numbers: (folder / numbers / "features.bin").stat().st_size for numbers in maps}
    found["opening"] = _opening(galleries["float32"], queries[0])
    return found


def _agreement(index: Any, rows: np.ndarray, queries: np.ndarray) -> float:
    """Return the share of faiss's hits that are ours; the others differ by less than float32 can tell."""
    _, theirs = index.search(queries, K)
    ours, _ = exact(rows, queries, K)
    return float(np.mean([len(np.intersect1d(one, other)) / K for one, other in zip(ours, theirs, strict=True)]))


def _read(rows: np.ndarray) -> float:
    flat, total = rows.reshape(-1), 0.0
    for start in range(0, len(flat), 1 << 24):
        part = flat[start : start + (1 << 24)]
        total += float(part @ part)
    return total


def summary(seconds: dict[str, list[float]], size: int) -> dict[str, dict[str, float]]:
    """Return median, 50th and 99th percentile in milliseconds, and ratios of each turn's neighbours in time."""
    found = {}
    for name, times in seconds.items():
        found[name] = {
            "p50 ms": 1e3 * statistics.median(times),
            "p99 ms": 1e3 * float(np.percentile(times, 99)),
            "least ms": 1e3 * min(times),
        }
        for other in ("faiss", "bandwidth"):
            if other in seconds and other != name:
                found[name][f"of {other}"] = statistics.median(np.array(times) / np.array(seconds[other]))
    if "bandwidth" in found:
        found["bandwidth"]["GB/s"] = size / statistics.median(seconds["bandwidth"]) / 1e9
    return found


def _opening(gallery: Gallery, query: np.ndarray) -> dict[str, float]:
    """Return the seconds that opening takes, and by how many MB of its own the process grows with it and a search."""
    before, started = _own_memory(), time.perf_counter()
    again = Gallery.open(gallery.folder, gallery.model)
    seconds = time.perf_counter() - started
    again.search(query)
    return {"seconds": seconds, "MB beside the map": (_own_memory() - before) / 1e6}


def _own_memory() -> int:
    text = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("RssAnon:"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every size and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=list(REPEATS), choices=tuple(REPEATS))
    parser.add_argument("--folder", help="where galleries are made, 3 GB for a million rows (default: temporary)")
    parser.add_argument("--output", type=Path, default=RESULTS / "search.json")
    given = parser.parse_args(arguments)
    results = []
    for count in given.rows:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            results.append(measure(count, Path(folder)))
        print(json.dumps(results[-1], indent=1), flush=True)
    given.output.write_text(json.dumps({"environment": environment(), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
