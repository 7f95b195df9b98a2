"""What several starts of k-means gain over one, and cost: inertia, agreement with the hidden identities, seconds.

    python -m benchmarks.restarts runs/mmt-torch/stage1-1.safetensors runs/mmt-torch --data data --json FILE

Every seed clusters a model's features once from one start and once from several, of which the first is that one start.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.benchmarks.measure import command_of, environment
from duoreid.core.agreement import agreement
from duoreid.core.commands.calibrate import embed
from duoreid.core.commands.command import guarded
from duoreid.core.kmeans import kmeans
from duoreid.core.settings.config import DataConfig
from duoreid.core.training.tables import table
from duoreid.datasets.library import open_data
from duoreid.library import load


def measure(features: np.ndarray, identities: np.ndarray, clusters: int, restarts: int, seed: int) -> dict[str, float]:
    """Return inertia, adjusted Rand index and processor seconds of one clustering."""
    began = time.process_time()
    clustering = kmeans(features, clusters, seed=seed, restarts=restarts)
    seconds = time.process_time() - began
    agreed = agreement(clustering.labels, identities).adjusted_rand
    return {"inertia": clustering.inertia, "adjusted_rand": agreed, "seconds": seconds}


def compared(
    features: np.ndarray, identities: np.ndarray, clusters: int, restarts: int, seeds: Sequence[int]
) -> dict[str, Any]:
    """Return by number of starts what every seed gave, and how the several starts change the first one's figures."""
    runs = {count: [measure(features, identities, clusters, count, seed) for seed in seeds] for count in (1, restarts)}
    changes = {
        "inertia": [many["inertia"] / one["inertia"] - 1 for one, many in zip(runs[1], runs[restarts], strict=True)],
        "adjusted_rand": [
            many["adjusted_rand"] - one["adjusted_rand"] for one, many in zip(runs[1], runs[restarts], strict=True)
        ],
        "seconds": [many["seconds"] / one["seconds"] for one, many in zip(runs[1], runs[restarts], strict=True)],
    }
    return {"starts": {str(count): rows for count, rows in runs.items()}, "changes": changes}


def text(models: dict[str, dict[str, Any]], restarts: int) -> str:
    """Return the table: means over the seeds, and the spread of the change of agreement."""
    lines = []
    for name, one in models.items():
        first, last = (
            {key: np.mean([row[key] for row in one["starts"][str(count)]]) for key in ("adjusted_rand", "seconds")}
            for count in (1, restarts)
        )
        changes = {key: np.array(values) for key, values in one["changes"].items()}
        spread = changes["adjusted_rand"].std(ddof=1) if len(changes["adjusted_rand"]) > 1 else 0.0
        lines.append(
            [
                name,
                f"{first['adjusted_rand']:.3f}",
                f"{last['adjusted_rand']:.3f}",
                f"{changes['adjusted_rand'].mean():+.3f} ± {spread:.3f}",
                f"{100 * changes['inertia'].mean():+.2f}%",
                f"{first['seconds']:.1f}",
                f"{last['seconds']:.1f}",
            ]
        )
    header = ("model", "ARI, one", f"ARI, {restarts}", "change", "inertia", "s, one", f"s, {restarts}")
    return table(header, lines)


def run(given: argparse.Namespace) -> None:
    """Embed with every model, cluster, print the table and write the JSON file."""
    models: dict[str, dict[str, Any]] = {}
    for path in given.models:
        model = load(path)
        height, width = model.size
        opened = open_data(given.dataset, DataConfig(data=given.data, height=height, width=width))
        identities, features = opened.dataset.train.identities, embed(model, opened.train)
        models[path] = compared(features, identities, given.clusters, given.restarts, range(given.seeds))
        print(f"{path} is done", file=sys.stderr, flush=True)
    print(text(models, given.restarts))
    if given.json:
        command = command_of("restarts")
        given.json.write_text(json.dumps({"command": command, **environment(), "models": models}, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.restarts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("models", nargs="+")
    parser.add_argument("--dataset", default="synthetic-b")
    parser.add_argument("--data", default="data")
    parser.add_argument("--clusters", type=int, default=150)
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    return guarded(lambda: run(parser.parse_args(arguments)))


if __name__ == "__main__":
    import duoreid.benchmarks.restarts as module

    sys.exit(module.main())
