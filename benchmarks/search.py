"""`python -m benchmarks.search`: a gallery's exact search beside faiss.IndexFlatIP, in one process, on the same rows.

Both use as many threads as OMP_NUM_THREADS allows. Calls take turns, so that whatever else runs on the machine slows
both. The memory's bandwidth is measured between them: a dot product of the rows with themselves reads each byte once.
faiss takes a hundred queries through the BLAS that it brings; ten at a time, without it, is quicker on some machines,
so both are measured.
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
from PIL import Image
from threadpoolctl import ThreadpoolController

from duoreid.benchmarks.algorithms import RESULTS
from duoreid.benchmarks.measure import environment
from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.contract.state import initial
from duoreid.core.gallery.exact import exact
from duoreid.core.gallery.gallery import Gallery
from duoreid.core.gallery.store import Entry, Writer
from duoreid.core.methods.registry import spec_of
from duoreid.core.numeric.threads import workers
from duoreid.core.random import rng
from duoreid.core.serving.model import Model
from duoreid.core.serving.pictures import Picture
from duoreid.core.settings.config import NetworkConfig, as_dict
from duoreid.library import load

WIDTH, K = 512, 10
SIZE = (256, 128)  # of a picture
BLOCK = 50_000
PEOPLE = 20  # images of each
REPEATS = {10_000: (200, 40), 1_000_000: (40, 3)}
"""How often one query and a hundred are searched for."""


def untrained(folder: Path) -> Model:
    """Return a ResNet-18 with random weights; its features have WIDTH columns, its time is that of a trained one."""
    spec = spec_of("mmt")
    recipe, network = spec.recipe(), NetworkConfig("resnet18")
    state = initial(spec.learner_config(network, 5, 5, *SIZE), 0)
    data = {**as_dict(recipe.data), "height": SIZE[0], "width": SIZE[1]}
    config = as_dict(recipe) | {"data": data, "network": as_dict(network)}
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    checkpoint.save(folder / "last.safetensors", state, {"config": config, "stage": 2})
    return load(folder, device="cpu", threads=workers())


def picture(path: Path) -> Path:
    """Write a JPEG of the size that networks of people take."""
    patches = rng(0, "export").integers(0, 256, (32, 16, 3), dtype=np.uint8)
    Image.fromarray(patches.repeat(8, axis=0).repeat(8, axis=1)).save(path)
    return path


def blocks(count: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield unit vectors float32 (n, WIDTH): images of people, each near its person's centre."""
    for number, start in enumerate(range(0, count, BLOCK)):
        size = min(BLOCK, count - start)
        random = rng(seed, "features", step=number)
        centres = random.standard_normal((-(-size // PEOPLE), WIDTH), dtype=np.float32)
        rows = np.repeat(centres, PEOPLE, axis=0)[:size] + random.standard_normal((size, WIDTH), dtype=np.float32)
        yield rows / np.linalg.norm(rows, axis=1, keepdims=True)


def filled(folder: Path, model: Model, count: int, numbers: str) -> Gallery:
    """Return a gallery of `count` rows, written as `add` writes them."""
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
    model, file = untrained(folder / "run"), picture(folder / "query.jpg")
    galleries = {numbers: filled(folder / numbers, model, count, numbers) for numbers in ("float32", "float16")}
    maps = {numbers: gallery.features for numbers, gallery in galleries.items()}
    queries = next(blocks(200, seed=1))
    known = maps["float32"]
    figures: dict[str, Any] = {"rows": count, "width": WIDTH, "k": K, "threads": workers()}
    figures["kernels"] = kernels()
    figures["same hits as faiss"] = _agreement(index, known, queries[:100])
    one, hundred = REPEATS[count]
    calls = {
        "faiss": lambda turn: index.search(queries[turn % 200][None], K),
        "float32": lambda turn: exact(known, queries[turn % 200][None], K),
        "float16": lambda turn: exact(maps["float16"], queries[turn % 200][None], K),
        "search": lambda turn: galleries["float32"].search(queries[turn % 200]),
        "a picture's features": lambda turn: model.embed(file, progress=False),
        "search, from the picture": lambda turn: galleries["float32"].search(model.embed(file, progress=False)),
        "bandwidth": lambda turn: _read(known),
    }
    figures["one query"] = summary(interleaved(calls, one), known.nbytes)
    calls = {
        "faiss": lambda turn: index.search(queries[:100], K),
        "faiss, ten at a time": lambda turn: _in_parts(index, queries[:100]),
        "float32": lambda turn: exact(known, queries[:100], K),
        "float16": lambda turn: exact(maps["float16"], queries[:100], K),
    }
    figures["a hundred queries"] = summary(interleaved(calls, hundred), known.nbytes)
    figures["bytes on disk"] = {numbers: (folder / numbers / "features.bin").stat().st_size for numbers in maps}
    figures["opening"] = _opening(galleries["float32"], queries[0])
    return figures


def _in_parts(index: Any, queries: np.ndarray) -> None:
    """Search for ten queries at a time, which faiss does without its BLAS."""
    for start in range(0, len(queries), 10):
        index.search(queries[start : start + 10], K)


def _agreement(index: Any, rows: np.ndarray, queries: np.ndarray) -> float:
    """Return the share of faiss's hits that are ours; the others differ by less than float32 can tell."""
    _, theirs = index.search(queries, K)
    ours, _ = exact(rows, queries, K)
    return float(np.mean([len(np.intersect1d(one, other)) / K for one, other in zip(ours, theirs, strict=True)]))


def kernels() -> dict[str, str]:
    """Return what each BLAS of this process calls its kernels, by its file: an old one knows no new processor."""
    libraries = (one for one in ThreadpoolController().info() if one["user_api"] == "blas")
    return {Path(one["filepath"]).parent.name: f"{one['version']} {one.get('architecture')}" for one in libraries}


def _read(rows: np.ndarray) -> float:
    flat, total = rows.reshape(-1), 0.0
    for start in range(0, len(flat), 1 << 24):
        part = flat[start : start + (1 << 24)]
        total += float(part @ part)
    return total


def summary(seconds: dict[str, list[float]], size: int) -> dict[str, dict[str, float]]:
    """Return median, 50th and 99th percentile in milliseconds, and ratios of each turn's neighbours in time."""
    figures = {}
    for name, times in seconds.items():
        figures[name] = {
            "p50 ms": 1e3 * statistics.median(times),
            "p99 ms": 1e3 * float(np.percentile(times, 99)),
            "least ms": 1e3 * min(times),
        }
        for other in ("faiss", "faiss, ten at a time", "bandwidth"):
            if other in seconds and other != name:
                figures[name][f"of {other}"] = statistics.median(np.array(times) / np.array(seconds[other]))
    if "bandwidth" in figures:
        figures["bandwidth"]["GB/s"] = size / statistics.median(seconds["bandwidth"]) / 1e9
    return figures


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
    for count in given.rows:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            figures = measure(count, Path(folder))
        print(json.dumps(figures, indent=1), flush=True)
        keep(given.output, figures)


def keep(output: Path, figures: dict[str, Any]) -> None:
    """Write the figures of one size and number of threads in the place of its earlier ones, with their commit."""
    known = environment()
    earlier = json.loads(output.read_text())["results"] if output.exists() else []
    key = ("rows", "threads")
    rows = [one for one in earlier if any(one[name] != figures[name] for name in key)]
    rows.append(figures | {name: known[name] for name in ("commit", "load")})
    rows.sort(key=lambda one: tuple(one[name] for name in key))
    output.write_text(json.dumps({"environment": known, "results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
