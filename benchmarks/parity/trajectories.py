"""Whole runs against each other: losses, weights, embeddings, retrieval and clusters beside what noise alone does.

Many steps in float32 are chaotic under Adam: a ReLU or a mined pair that switches by rounding sends a run onto another
branch. So the measure is a backend against itself: runs from weights with relative noise of 1e-7, a float32's rounding,
and its run in float64. When the first switch comes is chance, and few runs show few of its moments: the other backend
may be, at a step, as far as the widest of these is after twice as many.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from duoreid.benchmarks.parity.exam import Exam
from duoreid.benchmarks.parity.halves import Arrays
from duoreid.benchmarks.parity.sampling import together
from duoreid.benchmarks.parity.tolerances import TOLERANCES
from duoreid.core.agreement import agreement
from duoreid.core.contract.state import expected_shapes
from duoreid.core.kmeans import kmeans
from duoreid.core.methods.pseudo_labels import average
from duoreid.core.ranking import rank

LATER = 2
"""After so many times as many steps the disturbed runs set the limit."""

Row = tuple[str, float, float, str]
"""What, its value, its limit, the tolerances that give it."""


def noisy(single: Arrays) -> list[Arrays]:
    """Return the runs of a record that started from disturbed weights."""
    keys = sorted({name.split("/")[0] for name in single if name.startswith("noise")})
    return [{n.removeprefix(f"{k}/"): v for n, v in single.items() if n.startswith(f"{k}/")} for k in keys]


def losses_apart(found: Arrays, base: Arrays) -> np.ndarray:
    """How far any loss has been from the base's up to each step, relative to the base's first total."""
    names = [name for name in base if name.startswith("curve/")]
    apart = np.max([np.abs(found[name] - base[name]) for name in names], axis=0)
    return np.maximum.accumulate(apart) / abs(base["curve/total"][0])


def drift(exam: Exam, found: Arrays, base: Arrays, *, statistics: bool = False) -> dict[int, float]:
    """By step, the L2 distance of the weights (or of the running statistics) relative to how far the base has moved."""
    shapes, steps = expected_shapes(exam.learner), marks(base)
    names = [n.removeprefix("weights/0/") for n in base if n.startswith("weights/0/")]
    names = [name for name in names if (".running_" in name) == statistics]
    kept = np.concatenate(
        [np.full(v.size, np.sqrt(np.prod(shapes[n]) / v.size)) for n in names for v in [base[f"weights/0/{n}"]]]
    )

    def at(run: Arrays, step: int) -> np.ndarray:
        return together(run, [f"weights/{step}/{name}" for name in names]) * kept

    start = at(base, 0)
    moved = {step: float(np.linalg.norm(at(base, step) - start)) for step in steps}
    return {step: float(np.linalg.norm(at(found, step) - at(base, step))) / moved[step] for step in steps}


def marks(run: Arrays) -> list[int]:
    """Return the steps at which the weights were looked at."""
    return sorted({int(name.split("/")[1]) for name in run if name.startswith("weights/")} - {0})


def embeddings_apart(found: Arrays, base: Arrays) -> float:
    """Root mean square of the L2 distances between embeddings at the end."""
    return float(np.sqrt(((found["embedding/end"] - base["embedding/end"]) ** 2).sum(-1).mean()))


def retrieval(exam: Exam, run: Arrays, moment: str = "end") -> float:
    """Return mAP over the test people: the first picture of each (infrared for mvd) searches for the others."""
    split, features = exam.test.split, average(run[f"embedding/{moment}"])
    query = split.modalities == 1 if exam.method == "mvd" else np.arange(len(split)) % 4 == 0
    query, gallery = np.flatnonzero(query), np.flatnonzero(~query)
    ids, cameras = split.identities, np.zeros(len(split), np.int32)
    cameras[query] = 1
    found = rank(
        features[query], features[gallery], ids[query], ids[gallery], cameras[query], cameras[gallery], max_rank=1
    )
    return found.mean_ap


def clusters(exam: Exam, run: Arrays, moment: str = "end") -> np.ndarray:
    """Return k-means' labels of the test people."""
    return kmeans(average(run[f"embedding/{moment}"]), exam.people, seed=exam.seed).labels


def labels_apart(exam: Exam, found: Arrays, base: Arrays, moment: str = "end") -> float:
    """1 - adjusted Rand index of the clusters of two runs."""
    return 1.0 - agreement(clusters(exam, found, moment), clusters(exam, base, moment)).adjusted_rand


def one_moved(labels: np.ndarray) -> float:
    """1 - adjusted Rand index when one picture, whichever counts most, goes to another cluster."""
    found = [0.0]
    for index in range(len(labels)):
        moved = labels.copy()
        moved[index] = (labels[index] + 1) % (labels.max() + 1)
        found.append(1.0 - agreement(moved, labels).adjusted_rand)
    return max(found)


def rounding(first: Arrays, second: Arrays, double: Arrays) -> list[tuple[Arrays, Arrays]]:
    """Return (run, base) that rounding alone sets apart: disturbed runs, and the first backend beside its float64."""
    runs = [(one, base) for base in (first, second) for one in noisy(base)]
    same = "curve/total" in double and len(double["curve/total"]) == len(first["curve/total"])
    return [*runs, (first, double)] if same else runs


def distances(exam: Exam, first: Arrays, second: Arrays, double: Arrays) -> Iterator[Row]:
    """Yield every distance of the second run from the first with its limit: so many times what noise does, and a floor.

    double: the first backend's record in float64, {} for none. Nothing where one of them did not train or where there
    is neither a disturbed run nor a float64 one of as many steps: then nothing says how far rounding alone leads.
    """
    runs = rounding(first, second, double)
    if "curve/total" not in first or "curve/total" not in second or not runs:
        return
    factor, floor = (TOLERANCES[f"parity.drift.{name}"].value for name in ("factor", "floor"))
    names = "parity.drift.factor, parity.drift.floor"
    widest = np.max([losses_apart(*pair) for pair in runs], axis=0)
    apart = losses_apart(second, first)
    for step in marks(first):
        bound = widest[min(LATER * step, len(widest)) - 1]
        yield f"losses up to step {step}", apart[step - 1], factor * bound + floor, names
    for statistics, words in ((False, "weights"), (True, "statistics")):
        found = drift(exam, second, first, statistics=statistics)
        noise = [drift(exam, *pair, statistics=statistics) for pair in runs]
        for step, value in found.items():
            bound = max(far for one in noise for at, far in one.items() if at <= LATER * step)
            yield f"{words} after step {step}", value, factor * bound + floor, names
    noise = max(embeddings_apart(*pair) for pair in runs)
    yield "embeddings at the end", embeddings_apart(second, first), factor * noise + floor, names
    judged = [(first, double)] if "embedding/start" in double else []
    yield from outcomes(exam, first, second, {"start": judged, "end": runs})


def outcomes(exam: Exam, first: Arrays, second: Arrays, runs: dict[str, list[tuple[Arrays, Arrays]]]) -> Iterator[Row]:
    """Yield differences in mAP and in clusters at the start and at the end. runs: what rounding sets apart then."""
    factor, floor = (TOLERANCES[name].value for name in ("parity.drift.factor", "parity.outcome.floor"))
    for moment, pairs in runs.items():
        maps = [retrieval(exam, run, moment) for run in (first, second)]
        noise = max((abs(retrieval(exam, a, moment) - retrieval(exam, b, moment)) for a, b in pairs), default=0.0)
        names = "parity.drift.factor, parity.outcome.floor" if pairs else "parity.outcome.floor"
        words = f"mAP at the {moment} ({maps[0]:.4f}, {maps[1]:.4f})"
        yield words, abs(maps[0] - maps[1]), max(factor * noise, floor), names
        noise = max((labels_apart(exam, a, b, moment) for a, b in pairs), default=0.0)
        limit = max(factor * noise, floor, one_moved(clusters(exam, first, moment)))
        yield f"1 - ARI of clusters at the {moment}", labels_apart(exam, second, first, moment), limit, names
