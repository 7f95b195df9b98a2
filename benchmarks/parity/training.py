"""Whole runs against each other: losses, weights, embeddings, retrieval and clusters beside what rounding alone does.

Many steps amplify rounding, in float32 by chaos (docs/parity.md). So the measure is a backend against itself: runs from
weights with noise of the size of their rounding, 1e-7 or 2e-16, and in float32 its run in float64. When a ReLU first
switches is chance, and few runs show few of its moments: in float32 the other backend may be, at a step, as far as the
widest of these is after twice as many.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from duoreid.benchmarks.parity.comparison import BOTH, Check, Curve, beyond, check, times
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

ByStep = dict[int, float]
"""What lies between the two, by the number of steps done."""


def noisy(arrays: Arrays) -> list[Arrays]:
    """Return the runs of a record that started from disturbed weights."""
    return [under(arrays, f"{key}/") for key in sorted({n.split("/")[0] for n in arrays if n.startswith("noise")})]


def steps_of(run: Arrays) -> int:
    """Return how many steps a run has had, 0 for none."""
    return len(run.get("curve/total", ()))


def marks(run: Arrays) -> list[int]:
    """Return the steps at which the weights were looked at."""
    return sorted({int(name.split("/")[1]) for name in run if name.startswith("weights/")} - {0})


def rounding(first: Arrays, second: Arrays, double: Arrays) -> list[tuple[Arrays, Arrays]]:
    """Return pairs that rounding alone sets apart: disturbed runs and their own, the first and its float64, if any."""
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
    statistics = partial(weights_drift, exam, statistics=True)
    measures = {"losses": losses_apart, "weights": partial(weights_drift, exam), "statistics": statistics}
    for name, measure in (measures | {"embeddings": embeddings_apart}).items():
        apart, alone = measure(second, first), [measure(*pair) for pair in runs]
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
    measures = {
        "losses": partial(losses_apart, exact=True),
        "weights": exact_weights_apart,
        "embeddings": exact_embeddings_apart,
    }
    for name, measure in measures.items():
        apart, alone = measure(second, first), [measure(*pair) for pair in rounding(first, second, {})]
        yield Curve(name, "double", BOTH, apart)
        for step in [step for step in marks(first) if step in apart]:
            limit = times(max((one[step] for one in alone), default=None), "parity.double.factor", "parity.double")
            yield check("training", name, BOTH, apart[step], limit, precision="double", step=step)


def equal(first: Arrays, second: Arrays) -> int:
    """Return up to which step all losses, and the weights wherever they were looked at, are equal to 1e-8."""
    floor = tolerance("parity.double")
    wrong = [step - 1 for step, value in losses_apart(second, first, exact=True).items() if not value <= floor]
    for step in [step for step, value in exact_weights_apart(second, first).items() if not value <= floor]:
        wrong.append(max([0, *(mark for mark in marks(first) if mark < step)]))
    return min([steps_of(first), *wrong])


def losses_apart(run: Arrays, base: Arrays, *, exact: bool = False) -> ByStep:
    """How far any loss has been from the base's up to each step, relative to the base's first total.

    exact: relative to each loss's own largest value instead.
    """
    rows = []
    for name, true in under(base, "curve/").items():
        scale = np.abs(true).max() if exact else abs(base["curve/total"][0])
        other = run.get(f"curve/{name}")
        fits = np.shape(other) == true.shape
        rows.append(np.abs(other - true) / scale if fits else np.full(true.shape, np.inf))
    return {step: float(value) for step, value in enumerate(np.maximum.accumulate(np.max(rows, axis=0)), start=1)}


def weights_drift(exam: Exam, run: Arrays, base: Arrays, *, statistics: bool = False) -> ByStep:
    """L2 distance of the weights (or of the running statistics) relative to how far the base has moved."""
    shapes, start = expected_shapes(exam.learner), under(base, "weights/0/")
    names = [name for name in start if (".running_" in name) == statistics]
    kept = np.concatenate([np.full(start[n].size, np.sqrt(np.prod(shapes[n]) / start[n].size)) for n in names])

    def at(run: Arrays, step: int) -> np.ndarray:
        return together(run, [f"weights/{step}/{name}" for name in names]) * kept

    def between(run: Arrays, step: int, since: int) -> float:
        return float(np.linalg.norm(at(run, step) - at(base, since)))

    return {step: between(run, step, step) / between(base, step, 0) for step in marks(base)}


def exact_weights_apart(run: Arrays, base: Arrays) -> ByStep:
    """Largest distance of a tensor, teachers and statistics too, relative to its largest number."""
    names = {step: [name for name in base if name.startswith(f"weights/{step}/")] for step in marks(base)}
    return {step: max(judge.distance(run.get(n), base[n]) for n in chosen) for step, chosen in names.items()}


def embeddings_apart(run: Arrays, base: Arrays) -> ByStep:
    """Root mean square of the L2 distances between embeddings at the end."""
    apart = ((run["embedding/end"] - base["embedding/end"]) ** 2).sum(-1)
    return {steps_of(base): float(np.sqrt(apart.mean()))}


def exact_embeddings_apart(run: Arrays, base: Arrays) -> ByStep:
    """Largest distance of the embeddings at the end."""
    return {steps_of(base): judge.distance(run.get("embedding/end"), base["embedding/end"])}


class Outcome(NamedTuple):
    """What embeddings of the test people are good for. mean_ap: of retrieval. labels: k-means' clusters."""

    mean_ap: float
    labels: np.ndarray


def outcome(exam: Exam, embedding: np.ndarray) -> Outcome:
    """Search the test people for each other by their embeddings (M, N, D), and cluster them."""
    features, chosen = average(embedding), exam.queries
    people, cameras = exam.test.split.identities, chosen.astype(np.int32)
    sides = [values[rows] for values in (features, people, cameras) for rows in (chosen, ~chosen)]
    return Outcome(rank(*sides, max_rank=1).mean_ap, kmeans(features, exam.people, seed=exam.seed).labels)


def outcomes(exam: Exam, first: Arrays, second: Arrays, double: Arrays) -> Iterator[Check]:
    """Yield differences in mAP and in clusters before and after training, with what rounding sets apart then."""
    judged = [(first, double)] if "embedding/start" in double else []
    measures = {
        "mAP": lambda one, other: abs(one.mean_ap - other.mean_ap),
        "clusters": lambda one, other: 1.0 - agreement(one.labels, other.labels).adjusted_rand,
    }
    for step, moment, pairs in ((0, "start", judged), (steps_of(first), "end", rounding(first, second, double))):
        made = {id(run): run for pair in [(first, second), *pairs] for run in pair}
        made = {key: outcome(exam, run[f"embedding/{moment}"]) for key, run in made.items()}
        one, other = made[id(first)], made[id(second)]
        least = {"mAP": 0.0, "clusters": one_moved(one.labels)}
        notes = {"mAP": f"{one.mean_ap:.4f} and {other.mean_ap:.4f}", "clusters": ""}
        for name, measure in measures.items():
            noise = max((measure(made[id(run)], made[id(base)]) for run, base in pairs), default=None)
            limit = times(noise, "parity.drift.factor", "parity.outcome.floor")
            limit = limit._replace(value=max(limit.value, least[name]))
            yield check("training", name, BOTH, measure(other, one), limit, step=step, note=notes[name])


def one_moved(labels: np.ndarray) -> float:
    """1 - adjusted Rand index when one picture, whichever counts most, goes to another cluster."""
    distances = [0.0]
    for index in range(len(labels)):
        moved = labels.copy()
        moved[index] = (labels[index] + 1) % (labels.max() + 1)
        distances.append(1.0 - agreement(moved, labels).adjusted_rand)
    return max(distances)
