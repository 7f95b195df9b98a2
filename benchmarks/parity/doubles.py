"""Training in float64, one backend against the other: equal to rounding, or as far apart as rounding drives one alone.

The same algorithms leave rounding of 1e-16 apart. Training amplifies it, a deep network with small batches by a factor
of ten every few steps, and so it does with noise of this size on the weights of a single backend. So the two may be as
far apart as 1e-8, or a few times as far as such runs from their own backend's after as many steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from duoreid.benchmarks.parity import judge
from duoreid.benchmarks.parity.halves import Arrays
from duoreid.benchmarks.parity.tolerances import TOLERANCES
from duoreid.benchmarks.parity.trajectories import Row, marks, noisy


def trained(first: Arrays, second: Arrays) -> bool:
    """Return whether both have trained."""
    return "curve/total" in first and "curve/total" in second


def losses_apart(found: Arrays, base: Arrays) -> np.ndarray:
    """How far any loss has been from the base's up to each step, relative to its largest value."""
    rows = []
    for name in [name for name in base if name.startswith("curve/")]:
        true, other = base[name], found.get(name, np.full(0, np.nan))
        fits = other.shape == true.shape
        rows.append(np.abs(other - true) / np.abs(true).max() if fits else np.full(true.shape, np.inf))
    return np.maximum.accumulate(np.max(rows, axis=0))


def weights_apart(found: Arrays, base: Arrays) -> dict[int, float]:
    """By step at which they were looked at, the largest distance of a tensor, relative to its largest number."""
    names = {step: [name for name in base if name.startswith(f"weights/{step}/")] for step in marks(base)}
    return {step: max(judge.distance(found.get(n), base[n]) for n in chosen) for step, chosen in names.items()}


def embeddings_apart(found: Arrays, base: Arrays) -> float:
    """Largest distance of the embeddings at the end."""
    return judge.distance(found.get("embedding/end"), base["embedding/end"])


def _runs(first: Arrays, second: Arrays) -> list[tuple[Arrays, Arrays]]:
    """Return (run, base) that rounding alone sets apart."""
    return [(run, base) for base in (first, second) for run in noisy(base)]


def distances(first: Arrays, second: Arrays) -> Iterator[Row]:
    """Yield how far the second is from the first, with limits: losses and weights by step, embeddings at the end."""
    if not trained(first, second):
        return
    runs = _runs(first, second)
    factor, floor = (TOLERANCES[name].value for name in ("parity.double.factor", "parity.double"))
    names = "parity.double, parity.double.factor" if runs else "parity.double"

    def limit(noise: list[float]) -> float:
        return max([floor, *(factor * float(value) for value in noise)])

    apart, noise = losses_apart(second, first), [losses_apart(*pair) for pair in runs]
    for step in marks(first):
        bound = limit([one[step - 1] for one in noise])
        yield f"losses up to step {step}", float(apart[step - 1]), bound, names
    noise = [weights_apart(*pair) for pair in runs]
    for step, value in weights_apart(second, first).items():
        bound = limit([one[step] for one in noise])
        yield f"weights, teachers and statistics after step {step}", value, bound, names
    bound = limit([embeddings_apart(*pair) for pair in runs])
    yield "embeddings at the end", embeddings_apart(second, first), bound, names


def farthest(found: Arrays, base: Arrays) -> float:
    """Return the largest distance of losses, weights and embeddings."""
    apart = [losses_apart(found, base)[-1], *weights_apart(found, base).values(), embeddings_apart(found, base)]
    return float(np.max(apart))


def equal(first: Arrays, second: Arrays) -> int:
    """Return up to which step all losses, and the weights wherever they were looked at, are equal to 1e-8."""
    floor = TOLERANCES["parity.double"].value
    within = losses_apart(second, first) <= floor
    steps = len(within) if within.all() else int(np.argmin(within))
    wrong = [step for step, value in weights_apart(second, first).items() if not value <= floor]
    return min([steps, *(max([0, *(m for m in marks(first) if m < step)]) for step in wrong)])


def summary(first: Arrays, second: Arrays) -> dict[str, Any]:
    """Return what a report says in short: see report.summary."""
    noise = [farthest(*pair) for pair in _runs(first, second)]
    return {
        "steps": len(first["curve/total"]),
        "apart": farthest(second, first),
        "equal": equal(first, second),
        "noise": max(noise, default=None),
    }
