"""Whole runs against each other: losses, weights, embeddings, retrieval and clusters beside what rounding alone does.

Many steps in float32 are chaotic under Adam: a ReLU or a mined pair that switches by rounding sends a run onto another
branch. So the measure is a backend against itself: runs from weights with relative noise of 1e-7, a float32's rounding,
and its run in float64. When the first switch comes is chance, and few runs show few of its moments: the other backend
may be, at a step, as far as the widest of these is after twice as many.

The same algorithms in float64 leave rounding of 1e-16 apart. Training amplifies it, a deep network with small batches
by a factor of ten every few steps, and so it does with noise of this size on the weights of a single backend. So the
two may be as far apart as 1e-8, or a few times as far as such runs from their own backend's after as many steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from duoreid.benchmarks.parity.comparison import BOTH, Check, Curve, beyond, check, fixed, times
from duoreid.benchmarks.parity.exam import Exam
from duoreid.benchmarks.parity.sampling import Arrays, together, under
from duoreid.benchmarks.parity.tolerances import tolerance
from duoreid.core.agreement import agreement
from duoreid.core.contract.state import expected_shapes
from duoreid.core.kmeans import kmeans
from duoreid.core.losses.float64 import network as judge
from duoreid.core.methods.pseudo_labels import average
from duoreid.core.ranking import rank

LATER = 2
"""After so many times as many steps the disturbed runs set the limit in float32."""

Pair = tuple[Arrays, Arrays]
"""A run, and the one that it is measured from."""

ByStep = dict[int, float]
"""What lies between the two by the number of steps done."""


def noisy(arrays: Arrays) -> list[Arrays]:
    """Return the runs of a record that started from disturbed weights."""
    return [under(arrays, f"{key}/") for key in sorted({n.split("/")[0] for n in arrays if n.startswith("noise")})]


def steps_of(run: Arrays) -> int:
    """Return how many steps a run has had, 0 for none."""
    return len(run.get("curve/total", ()))


def marks(run: Arrays) -> list[int]:
    """Return the steps at which the weights were looked at."""
    return sorted({int(name.split("/")[1]) for name in run if name.startswith("weights/")} - {0})


def rounding(first: Arrays, second: Arrays, double: Arrays) -> list[Pair]:
    """Return what rounding alone sets apart: disturbed runs, and the first backend beside its float64, {} for none."""
    runs = [(one, base) for base in (first, second) for one in noisy(base)]
    return [*runs, (first, double)] if steps_of(double) == steps_of(first) > 0 else runs


def in_single(exam: Exam, first: Arrays, second: Arrays, double: Arrays) -> Iterator[Check | Curve]:
    """Yield every distance of the second run from the first: at most so many times what rounding does, and a floor.

    double: the first backend's record in float64, {} for none. No checks where there is neither a disturbed run nor a
    float64 one of as many steps: then nothing says how far rounding alone leads. Nothing where one did not train.
    """
    if not (steps_of(first) and steps_of(second)):
        return
    runs = rounding(first, second, double)
    for name, measure in SINGLE.items():
        apart, alone = measure(exam, second, first), [measure(exam, *pair) for pair in runs]
        yield from (Curve(name, "single", BOTH, apart), *(Curve(name, "rounding", "", one) for one in alone))
        for step in [step for step in marks(first) if step in apart and runs]:
            noise = float(np.max([far for one in alone for at, far in one.items() if at <= LATER * step]))
            limit = beyond(noise, "parity.drift.factor", "parity.drift.floor")
            yield check("training", name, BOTH, apart[step], limit, step=step)
    if runs:
        yield from outcomes(exam, first, second, double)


def in_double(first: Arrays, second: Arrays) -> Iterator[Check | Curve]:
    """Yield how far the second is from the first in float64, with limits: losses and weights by step, embeddings."""
    if not (steps_of(first) and steps_of(second)):
        return
    runs = rounding(first, second, {})
    for name, measure in DOUBLE.items():
        apart, alone = measure(second, first), [measure(*pair) for pair in runs]
        yield Curve(name, "double", BOTH, apart)
        for step in [step for step in marks(first) if step in apart]:
            noise = max((one[step] for one in alone), default=None)
            limit = fixed("parity.double") if noise is None else times(noise, "parity.double.factor", "parity.double")
            yield check("training", name, BOTH, apart[step], limit, precision="double", step=step)


def equal(first: Arrays, second: Arrays) -> int:
    """Return up to which step all losses, and the weights wherever they were looked at, are equal to 1e-8."""
    floor = tolerance("parity.double")
    wrong = [step - 1 for step, value in exact_losses_apart(second, first).items() if not value <= floor]
    for step in [step for step, value in exact_weights_apart(second, first).items() if not value <= floor]:
        wrong.append(max([0, *(mark for mark in marks(first) if mark < step)]))
    return min([steps_of(first), *wrong])


def losses_apart(exam: Exam, found: Arrays, base: Arrays) -> ByStep:
    """How far any loss has been from the base's up to each step, relative to the base's first total."""
    apart = np.max([np.abs(found[f"curve/{name}"] - true) for name, true in under(base, "curve/").items()], axis=0)
    return _up_to(apart / abs(base["curve/total"][0]))


def _up_to(apart: np.ndarray) -> ByStep:
    return {step: float(value) for step, value in enumerate(np.maximum.accumulate(apart), start=1)}


def weights_drift(exam: Exam, found: Arrays, base: Arrays, *, statistics: bool = False) -> ByStep:
    """L2 distance of the weights (or of the running statistics) relative to how far the base has moved."""
    shapes, steps = expected_shapes(exam.learner), marks(base)
    start = under(base, "weights/0/")
    names = [name for name in start if (".running_" in name) == statistics]
    kept = np.concatenate([np.full(start[n].size, np.sqrt(np.prod(shapes[n]) / start[n].size)) for n in names])

    def at(run: Arrays, step: int) -> np.ndarray:
        return together(run, [f"weights/{step}/{name}" for name in names]) * kept

    moved = {step: float(np.linalg.norm(at(base, step) - at(base, 0))) for step in steps}
    return {step: float(np.linalg.norm(at(found, step) - at(base, step))) / moved[step] for step in steps}


def embeddings_apart(exam: Exam, found: Arrays, base: Arrays) -> ByStep:
    """Root mean square of the L2 distances between embeddings at the end."""
    apart = float(np.sqrt(((found["embedding/end"] - base["embedding/end"]) ** 2).sum(-1).mean()))
    return {steps_of(base): apart}


SINGLE = {
    "losses": losses_apart,
    "weights": weights_drift,
    "statistics": partial(weights_drift, statistics=True),
    "embeddings": embeddings_apart,
}


class Outcome:
    """What embeddings of the test people are good for. mean_ap: of retrieval. labels: k-means' clusters."""

    def __init__(self, exam: Exam, embedding: np.ndarray) -> None:
        features, chosen = average(embedding), exam.queries
        people, cameras = exam.test.split.identities, chosen.astype(np.int32)
        sides = [values[rows] for values in (features, people, cameras) for rows in (chosen, ~chosen)]
        self.mean_ap = rank(*sides, max_rank=1).mean_ap
        self.labels = kmeans(features, exam.people, seed=exam.seed).labels

    def labels_apart(self, other: Outcome) -> float:
        """1 - adjusted Rand index of the clusters of two."""
        return 1.0 - agreement(self.labels, other.labels).adjusted_rand


def outcomes(exam: Exam, first: Arrays, second: Arrays, double: Arrays) -> Iterator[Check]:
    """Yield differences in mAP and in clusters before and after training, with what rounding sets apart then."""
    judged = [(first, double)] if "embedding/start" in double else []
    factor, floor = "parity.drift.factor", "parity.outcome.floor"
    for step, moment, pairs in ((0, "start", judged), (steps_of(first), "end", rounding(first, second, double))):
        made = {id(run): run for pair in [(first, second), *pairs] for run in pair}
        made = {key: Outcome(exam, run[f"embedding/{moment}"]) for key, run in made.items()}
        one, other = made[id(first)], made[id(second)]
        alone = [(made[id(run)], made[id(base)]) for run, base in pairs]
        noise = max((abs(a.mean_ap - b.mean_ap) for a, b in alone), default=None)
        limit = fixed(floor) if noise is None else times(noise, factor, floor)
        note = f"{one.mean_ap:.4f} and {other.mean_ap:.4f}"
        yield check("training", "mAP", BOTH, abs(one.mean_ap - other.mean_ap), limit, step=step, note=note)
        noise = max((a.labels_apart(b) for a, b in alone), default=None)
        limit = fixed(floor) if noise is None else times(noise, factor, floor)
        limit = limit._replace(value=max(limit.value, one_moved(one.labels)))
        yield check("training", "clusters", BOTH, other.labels_apart(one), limit, step=step)


def one_moved(labels: np.ndarray) -> float:
    """1 - adjusted Rand index when one picture, whichever counts most, goes to another cluster."""
    found = [0.0]
    for index in range(len(labels)):
        moved = labels.copy()
        moved[index] = (labels[index] + 1) % (labels.max() + 1)
        found.append(1.0 - agreement(moved, labels).adjusted_rand)
    return max(found)


def exact_losses_apart(found: Arrays, base: Arrays) -> ByStep:
    """How far any loss has been from the base's up to each step, relative to its largest value."""
    rows = []
    for name, true in under(base, "curve/").items():
        other = found.get(f"curve/{name}", np.full(0, np.nan))
        fits = other.shape == true.shape
        rows.append(np.abs(other - true) / np.abs(true).max() if fits else np.full(true.shape, np.inf))
    return _up_to(np.max(rows, axis=0))


def exact_weights_apart(found: Arrays, base: Arrays) -> ByStep:
    """Largest distance of a tensor, teachers and statistics too, relative to its largest number."""
    names = {step: [name for name in base if name.startswith(f"weights/{step}/")] for step in marks(base)}
    return {step: max(judge.distance(found.get(n), base[n]) for n in chosen) for step, chosen in names.items()}


def exact_embeddings_apart(found: Arrays, base: Arrays) -> ByStep:
    """Largest distance of the embeddings at the end."""
    return {steps_of(base): judge.distance(found.get("embedding/end"), base["embedding/end"])}


DOUBLE = {"losses": exact_losses_apart, "weights": exact_weights_apart, "embeddings": exact_embeddings_apart}
