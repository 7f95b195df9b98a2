"""`python -m benchmarks.engines RUN`: do torch, MindSpore and onnxruntime give the same answers from one checkpoint?

Each engine embeds every test image of a dataset from its file, in a process of its own, and searches the ten nearest
gallery images of every query. Two lists are the same up to ties where, at each place, the images that they name are as
similar to the query as each other within 1e-4. The graph that onnxruntime runs is exported by the benchmark.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.benchmarks.algorithms import RESULTS
from duoreid.benchmarks.measure import command_of, environment, inherited
from duoreid.core.gallery.exact import exact
from duoreid.core.ranking import rank
from duoreid.core.settings.config import DataConfig
from duoreid.core.training.tables import table
from duoreid.datasets.library import open_data
from duoreid.library import load

ENGINES = {
    "torch": ("torch", "cpu"),
    "mindspore": ("mindspore", "cpu"),
    "onnx": ("onnx", "cpu"),
    "onnx-auto": ("onnx", "auto"),
}
"""Backend and device of each. onnx-auto: the fastest provider that this onnxruntime has, such as OpenVINO."""

K, TIE = 10, 1e-4


def ask(engine: str, source: str, files: Sequence[str], output: Path) -> None:
    """Embed files with one engine and write features, seconds and what computed them."""
    backend, device = ENGINES[engine]
    model = load(source, backend=backend, device=device)
    model.embed(files[:64], progress=False)  # compiles, and fills the file cache
    started, used = time.perf_counter(), time.process_time()
    features = model.embed(files, progress=False)
    seconds = {"seconds": time.perf_counter() - started, "processor seconds": time.process_time() - used}
    facts = {**seconds, "on": model.describe()["on"], "digest": model.digest}
    np.savez(output, features=features, facts=json.dumps(facts))


def asked(engine: str, source: str, files: Sequence[str], folder: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Do what `ask` does in a process of its own: the frameworks' threads do not meet."""
    listed, output = folder / "files.json", folder / f"{engine}.npz"
    listed.write_text(json.dumps(list(files)))
    command = [sys.executable, "-m", "benchmarks.engines", source, "--one", engine, str(listed), str(output)]
    subprocess.run(command, check=True, env=inherited())
    with np.load(output) as arrays:
        return arrays["features"], json.loads(str(arrays["facts"]))


def compared(first: np.ndarray, second: np.ndarray, query: np.ndarray, gallery: np.ndarray) -> dict[str, Any]:
    """Compare the ten nearest of each query by two engines' features (N, D); query, gallery: rows.

    same: queries with the same list. tied: with another list, whose images are as similar at each place within TIE, by
    either engine's features. other: the rest. gap: the largest difference at a place. feature: the largest difference
    of a component. cosine: the least between an image's two features.
    """
    lists = [exact(features[gallery], features[query], K)[0] for features in (first, second)]
    gap = np.zeros(len(query))
    for features in (first, second):
        wide = features.astype(np.float64)
        values = [np.einsum("qkd,qd->qk", wide[gallery][rows], wide[query]) for rows in lists]
        gap = np.maximum(gap, np.abs(values[0] - values[1]).max(axis=1))
    same = (lists[0] == lists[1]).all(axis=1)
    counts = {"same": same, "tied": ~same & (gap <= TIE), "other": ~same & (gap > TIE)}
    return {name: int(rows.sum()) for name, rows in counts.items()} | {
        "gap": float(gap.max()),
        "feature": float(np.abs(first - second).max()),
        "cosine": float(np.einsum("nd,nd->n", first.astype(np.float64), second.astype(np.float64)).min()),
    }


def measure(source: str, dataset: str, data: str, engines: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each engine, the first of which the others are compared with."""
    height, width = load(source, backend="torch", device="cpu").size
    opened = open_data(dataset, DataConfig(data=data, height=height, width=width)).dataset
    test, trial = opened.test, opened.searches[0].trials[0]
    query, gallery = trial.query, trial.gallery
    rows: list[dict[str, Any]] = []
    first = None
    with tempfile.TemporaryDirectory(prefix="engines-") as temporary:
        folder = Path(temporary)
        for engine in engines:
            given = exported(source, folder) if ENGINES[engine][0] == "onnx" else source
            features, facts = asked(engine, given, test.files, folder)
            first = features if first is None else first
            labels = (test.identities[query], test.identities[gallery], test.cameras[query], test.cameras[gallery])
            scores = rank(features[query], features[gallery], *labels)
            figures = {"mAP": scores.mean_ap, "rank-1": float(scores.cmc[0]), "queries": len(query)}
            rows.append({"engine": engine, **facts, **figures, **compared(first, features, query, gallery)})
    return rows


def exported(source: str, folder: Path) -> str:
    """Write the graph of a checkpoint and return its file."""
    output = str(folder / "network.onnx")
    if Path(output).exists():
        return output
    command = [sys.executable, "-m", "duoreid", "export", source, "--format", "onnx", "--output", output]
    subprocess.run(command, check=True, env=inherited(), stdout=subprocess.DEVNULL)
    return output


def shown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table that is printed."""
    header = ("engine", "mAP", "rank-1", "same ten", "tied", "other", "feature", "seconds", "processor", "by")
    cells = [
        [
            row["engine"],
            f"{row['mAP']:.6f}",
            f"{row['rank-1']:.4f}",
            *(f"{row[name]} of {row['queries']}" for name in ("same", "tied", "other")),
            f"{row['feature']:.1e}",
            *(f"{row[name]:.1f}" for name in ("seconds", "processor seconds")),
            row["on"],
        ]
        for row in rows
    ]
    return table(header, cells)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; exit 1 where two engines disagree."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    parser.add_argument("model", help="a run's folder or one of its checkpoints")
    parser.add_argument("--dataset", default="synthetic-b")
    parser.add_argument("--data", default="data")
    parser.add_argument("--engines", nargs="+", choices=tuple(ENGINES), default=tuple(ENGINES))
    parser.add_argument("--json", type=Path, default=RESULTS / "engines.json")
    parser.add_argument("--one", nargs=3, metavar=("ENGINE", "LIST", "OUTPUT"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        engine, listed, output = given.one
        ask(engine, given.model, json.loads(Path(listed).read_text()), Path(output))
        return 0
    rows = measure(given.model, given.dataset, given.data, given.engines)
    print(shown(rows))
    command = command_of("engines", arguments)
    report = {"command": command, **environment(), "rows": rows}
    given.json.write_text(json.dumps(report, indent=1) + "\n")
    others = sum(row["other"] for row in rows)
    print("the engines agree up to ties" if not others else f"{others} lists DIFFER by more than {TIE:g}")
    return 0 if not others else 1


if __name__ == "__main__":
    import duoreid.benchmarks.engines as module

    sys.exit(module.main())
