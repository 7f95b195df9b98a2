"""Is the false-accept rate on unseen people inside the interval that `calibrate` gives?

The people whom a dataset's test asks for are halved, once for each seed. One half calibrates; on the other half the
rate of its threshold is measured, over all galleries of the size (nothing is drawn). All images of a half ask all
others of that half.

    python -m benchmarks.openset runs/mmt-torch --dataset synthetic-b --data data --json FILE
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.benchmarks.measure import command_of, environment
from duoreid.core.commands.calibrate import embed
from duoreid.core.numeric.strangers import BestOf
from duoreid.core.openset import Comparison, calibrate, compare
from duoreid.core.random import rng
from duoreid.core.settings.config import DataConfig
from duoreid.core.training.tables import table
from duoreid.datasets.library import open_data
from duoreid.library import load


def half(features: np.ndarray, identities: np.ndarray, cameras: np.ndarray, people: np.ndarray) -> Comparison:
    """Compare all images of some people with each other."""
    rows = np.isin(identities, people)
    return compare(features[rows], None, identities[rows], None, cameras[rows], None)


def halves(
    features: np.ndarray, identities: np.ndarray, cameras: np.ndarray, seed: int, given: argparse.Namespace
) -> list[dict]:
    """Calibrate on half of the people and measure on the others: a row for each rate and size."""
    people = rng(seed, "halves of the people").permutation(np.unique(identities[identities > 0]))
    first, second = (half(features, identities, cameras, part) for part in np.array_split(people, 2))
    made = calibrate(
        first, dataset="half", far=given.far[0], more=given.far, sizes=given.sizes, resamples=given.resamples, seed=seed
    )
    rows = []
    for point in made.points:
        rate = BestOf(second.strangers, point.size).rate(point.threshold)
        mates = second.mates[np.isfinite(second.mates)]
        matched = float((mates >= point.threshold).mean())
        rows.append(
            {
                "seed": seed,
                "far": point.far,
                "gallery": point.size,
                "threshold": point.threshold,
                "rate": rate,
                "interval": list(point.far_interval),
                "inside": bool(point.far_interval[0] <= rate <= point.far_interval[1]),
                "true_matches": matched,
                "true_matches_interval": list(point.match_interval),
                "true_matches_inside": bool(point.match_interval[0] <= matched <= point.match_interval[1]),
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--dataset", default="synthetic-b")
    parser.add_argument("--data", default="data")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--far", type=float, nargs="+", default=[0.01, 0.1])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    model = load(given.model)
    height, width = model.size
    opened = open_data(given.dataset, DataConfig(data=given.data, height=height, width=width))
    test = opened.dataset.test
    features = embed(model, opened.test)
    cases: list[dict[str, Any]] = []
    for seed in range(given.seeds):
        cases += halves(features, test.identities, test.cameras, seed, given)
        print(f"seed {seed} is done", file=sys.stderr, flush=True)
    rows = [
        [
            str(one["seed"]),
            f"{100 * one['far']:g}%",
            str(one["gallery"]),
            f"{one['threshold']:.3f}",
            f"{100 * one['rate']:.2f}%",
            " - ".join(f"{100 * value:.2f}" for value in one["interval"]) + "%",
            "yes" if one["inside"] else "NO",
            f"{100 * one['true_matches']:.1f}%",
            " - ".join(f"{100 * value:.1f}" for value in one["true_matches_interval"]) + "%",
            "yes" if one["true_matches_inside"] else "NO",
        ]
        for one in cases
    ]
    header = ("seed", "asked", "gallery", "threshold", "other half", "interval", "inside")
    print(table((*header, "true matches", "interval", "inside"), rows))
    inside = sum(one["inside"] for one in cases)
    print(f"the false-accept rate of the other half lies in its interval in {inside} of {len(cases)} cases")
    if given.json:
        command = command_of("openset")
        facts = {"command": command, "people": len(np.unique(test.identities[test.identities > 0])), **environment()}
        facts |= {"digest": model.digest, "inside": inside, "cases": len(cases), "rows": cases}
        given.json.write_text(json.dumps(facts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    import duoreid.benchmarks.openset as module

    sys.exit(module.main())
