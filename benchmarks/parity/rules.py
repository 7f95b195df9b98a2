"""What a step does to the weights, judged in NumPy and float64: Adam, the mean teachers, new classifiers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from duoreid.core.contract.state import FIRST, SECOND
from duoreid.core.contract.treatment import treatments
from duoreid.core.methods.registry import spec_of
from duoreid.core.random import rng
from duoreid.core.settings.config import LearnerConfig

BETAS, EPSILON = (0.9, 0.999), 1e-8
STEPS, RATE, EMA = 7, 0.1, 0.9
"""Steps done before the judged one, its rate (large, so that rounding of the weights does not hide the update) and the
mean teachers' decay."""

LEAST = 1e-4
"""Of the whole gradient's norm: nothing is relative to less. A bias whose effect the next norm removes has no
gradient; computed twice, on a device whose kernels sum in any order, two different remains of rounding are left."""

State = Mapping[str, np.ndarray]


def with_moments(state: State, seed: int) -> dict[str, np.ndarray]:
    """Return the state with moments from 1e-8 to 1e-3 of a gradient, where Adam's epsilon shows, after 7 steps."""
    moved = dict(state)
    for name in state:
        if name.startswith(SECOND):
            draw = rng(seed, f"moments/{name}")
            root = 10 ** draw.uniform(-8, -3, np.shape(state[name]))
            moved[name] = (root**2).astype(np.float32)
            first = FIRST + name.removeprefix(SECOND)
            moved[first] = (root * draw.uniform(-1, 1, root.shape)).astype(np.float32)
    return moved | {"adam.step": np.int64(STEPS)}


def step_errors(config: LearnerConfig, before: State, gradients: State, after: State) -> dict[str, dict[str, float]]:
    """Return by rule and tensor how far a step at RATE and EMA strays from the formulas, given its own gradients.

    adam.first: b1 m + (1 - b1) (g + decay w), with the g from outside the step. adam.second: b2 v + (1 - b2) g'^2 with
    the g' that adam.first shows. Relative to the largest g' (or to LEAST of the whole gradient) and to the largest
    g'^2. adam: the update from these moments (Kingma and Ba, ICLR 2015, algorithm 1), relative to the rate times the
    larger of it and 1. ema: decay teacher + (1 - decay) student, relative to the largest weight.
    """
    found: dict[str, dict[str, float]] = {"adam.first": {}, "adam.second": {}, "adam": {}, "ema": {}}
    least = LEAST * np.sqrt(sum(float(np.sum(np.square(value, dtype=np.float64))) for value in gradients.values()))
    trained = [name.removeprefix(FIRST) for name in before if name.startswith(FIRST)]
    for tensor, treatment in zip(trained, treatments(config, trained), strict=True):
        old, new = ({key: np.asarray(state[key], np.float64) for key in _keys(tensor)} for state in (before, after))
        first, second = FIRST + tensor, SECOND + tensor
        gradient = (new[first] - BETAS[0] * old[first]) / (1 - BETAS[0])
        decayed = np.asarray(gradients[tensor], np.float64) + treatment.decay * old[tensor]
        found["adam.first"][tensor] = float(np.abs(gradient - decayed).max() / max(np.abs(decayed).max(), least))
        square = BETAS[1] * old[second] + (1 - BETAS[1]) * gradient**2
        found["adam.second"][tensor] = float(np.abs(new[second] - square).max() / square.max())
        mean, root = new[first] / (1 - BETAS[0] ** (STEPS + 1)), np.sqrt(new[second] / (1 - BETAS[1] ** (STEPS + 1)))
        update = mean / (root + EPSILON)
        moved = (old[tensor] - new[tensor]) / (RATE * treatment.factor)
        found["adam"][tensor] = float((np.abs(moved - update) / np.maximum(np.abs(update), 1)).max())
    for teacher, student in zip(spec_of(config.method).teachers, spec_of(config.method).students, strict=False):
        for name in (n for n in before if n.startswith(f"{teacher}.") and ".running_" not in n):
            other = np.asarray(after[f"{student}.{name.removeprefix(f'{teacher}.')}"], np.float64)
            expected = EMA * np.asarray(before[name], np.float64) + (1 - EMA) * other
            found["ema"][name] = float(np.abs(after[name] - expected).max() / np.abs(expected).max())
    return {rule: errors for rule, errors in found.items() if errors}


def _keys(tensor: str) -> tuple[str, str, str]:
    return tensor, FIRST + tensor, SECOND + tensor


def relabel_errors(config: LearnerConfig, centroids: np.ndarray, after: State) -> dict[str, dict[str, float]]:
    """Return by classifier how far its rows are from the L2-normalised centroids (K, D), zeros behind them."""
    rows = np.asarray(centroids, np.float64)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = {}
    for role in spec_of(config.method).all:
        name = f"{role}.classifier.weight"
        expected = np.zeros(after[name].shape)
        expected[: len(rows)] = rows
        found[name] = float(np.abs(after[name] - expected).max())
    return {"relabel": found}
