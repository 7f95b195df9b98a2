"""Groups of unlabelled images against hidden identities: `group` beside DBSCAN on cosine distances and HDBSCAN.

Peers get the best of a grid of their one setting, chosen with the hidden identities; `group` has its
default, and others.

    python -m benchmarks.grouping runs/mmt-torch --dataset synthetic-b --data data --json FILE
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.benchmarks.measure import command_of, environment
from duoreid.core.agreement import agreement
from duoreid.core.commands.calibrate import embed
from duoreid.core.grouping import EPS, group
from duoreid.core.settings.config import DataConfig
from duoreid.core.training.tables import table
from duoreid.datasets.library import open_data
from duoreid.library import load

COSINE = tuple(round(0.02 * step, 2) for step in range(1, 16))
OTHERS = (0.3, 0.4, 0.6)
SIZES = (3, 5, 8, 12)


def everybody(labels: np.ndarray) -> np.ndarray:
    """Return labels in which each image that fits nobody is a group of its own."""
    alone = labels < 0
    groups = labels.copy()
    groups[alone] = labels.max(initial=-1) + 1 + np.arange(alone.sum())
    return groups


def scores(labels: np.ndarray, identities: np.ndarray) -> dict[str, float]:
    """Return how labels agree: over the images in a group, and over all, each outlier then a group of its own."""
    measures = agreement(labels, identities)
    return {
        "ari_all": agreement(everybody(labels), identities).adjusted_rand,
        **{name: float(value) for name, value in asdict(measures).items()},
    }


def best(make: Callable[[Any], np.ndarray], grid: tuple, identities: np.ndarray) -> tuple[Any, np.ndarray]:
    """Return the setting of a grid, and its labels, with the highest index over all images."""
    tried = [(setting, make(setting)) for setting in grid]
    return max(tried, key=lambda one: agreement(everybody(one[1]), identities).adjusted_rand)


def run(features: np.ndarray, identities: np.ndarray, only: str) -> list[dict[str, Any]]:
    """Return a row for each way to group whose name begins with `only`."""
    from sklearn.cluster import DBSCAN, HDBSCAN

    distances = np.maximum(0, 1 - features @ features.T).astype(np.float64)
    np.fill_diagonal(distances, 0)
    ways: dict[str, Callable[[], tuple[Any, np.ndarray]]] = {
        "group, as it stands": lambda: (f"eps {EPS}", group(features).labels),
        **{f"group, eps {eps}": lambda eps=eps: (f"eps {eps}", group(features, eps=eps).labels) for eps in OTHERS},
        "group, by share": lambda: ("share 0.0016", group(features, share=1.6e-3).labels),
        "DBSCAN, cosine, min_samples 4, best eps": lambda: best(
            lambda eps: DBSCAN(eps=eps, min_samples=4, metric="precomputed").fit_predict(distances), COSINE, identities
        ),
        "HDBSCAN (scikit-learn), as it stands": lambda: (
            "min_cluster_size 5",
            HDBSCAN(copy=True).fit_predict(features.astype(np.float64)),
        ),
        "HDBSCAN (scikit-learn), best min_cluster_size": lambda: best(
            lambda size: HDBSCAN(min_cluster_size=size, copy=True).fit_predict(features.astype(np.float64)),
            SIZES,
            identities,
        ),
    }
    rows = []
    for name, way in ways.items():
        if not name.startswith(only):
            continue
        began = time.process_time()
        setting, labels = way()
        seconds = time.process_time() - began
        rows.append({"way": name, "setting": setting, "cpu_seconds": seconds, **scores(labels, identities)})
        print(f"{name} is done", file=sys.stderr, flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--dataset", default="synthetic-b")
    parser.add_argument("--data", default="data")
    parser.add_argument("--only", default="", help="how the names of the ways begin that are measured")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    model = load(given.model)
    height, width = model.size
    opened = open_data(given.dataset, DataConfig(data=given.data, height=height, width=width))
    identities = opened.dataset.train.identities
    rows = run(embed(model, opened.train), identities, given.only)
    header = ("", "setting", "ARI, all", "ARI, grouped", "precision", "recall", "groups", "outliers")
    names = ("ari_all", "adjusted_rand", "precision", "recall")
    print(
        table(
            header,
            [
                [
                    one["way"],
                    str(one["setting"]),
                    *(f"{one[name]:.3f}" for name in names),
                    f"{one['clusters']:.0f}",
                    f"{100 * one['outliers']:.1f}%",
                ]
                for one in rows
            ],
        )
    )
    people = len(np.unique(identities))
    print(f"{len(identities):,} images of {people} people; ARI, all: each outlier counts as a group of its own")
    if given.json:
        command = command_of("grouping")
        facts = {"command": command, "images": len(identities), "people": people, **environment()}
        given.json.write_text(json.dumps({**facts, "digest": model.digest, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    import duoreid.benchmarks.grouping as module

    sys.exit(module.main())
