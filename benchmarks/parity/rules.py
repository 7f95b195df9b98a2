"""What a step does to the weights, judged in NumPy and float64: Adam, SGD, the mean teachers, new classifiers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from duoreid.core.contract.state import MOMENTS, SECOND, step_name
from duoreid.core.contract.treatment import treatments
from duoreid.core.methods.registry import spec_of
from duoreid.core.random import rng
from duoreid.core.settings.config import LearnerConfig

BETAS, EPSILON, KEPT = (0.9, 0.999), 1e-8, 0.9
"""Of Adam; and the share of its momentum that SGD keeps."""

STEPS, RATES, EMA = 7, {"adam": 0.1, "sgd": 10.0}, 0.9
"""Steps done before the judged one, its rate (large, so that rounding of the weights does not hide the update) and the
mean teachers' decay."""

LEAST = 1e-4
"""Of the whole gradient's norm: nothing is relative to less. A bias whose effect the next norm removes has no
gradient; computed twice, on a device whose kernels sum in any order, two different remains of rounding are left."""

State = Mapping[str, np.ndarray]
Errors = dict[str, dict[str, float]]
"""By rule and tensor."""

Moments = list[np.ndarray]
"""What the optimiser keeps of one tensor."""


def with_moments(config: LearnerConfig, state: State, seed: int) -> dict[str, np.ndarray]:
    """Return the state after 7 steps, with moments from 1e-8 to 1e-3 of a gradient, where Adam's epsilon shows."""
    moved, (first, *second) = dict(state), MOMENTS[config.optimiser]
    for tensor in (name.removeprefix(first) for name in state if name.startswith(first)):
        draw = rng(seed, f"moments/{SECOND}{tensor}")
        root = 10 ** draw.uniform(-8, -3, np.shape(state[tensor]))
        moved |= {f"{prefix}{tensor}": (root**2).astype(np.float32) for prefix in second}
        moved[first + tensor] = (root * draw.uniform(-1, 1, root.shape)).astype(np.float32)
    return moved | {step_name(config): np.int64(STEPS)}


def step_errors(config: LearnerConfig, before: State, gradients: State, after: State) -> Errors:
    """Return by rule and tensor how far a step at RATES and EMA strays from the formulas, given its own gradients.

    See `_adam` and `_sgd`. ema: decay teacher + (1 - decay) student, relative to the largest weight.
    """
    errors: Errors = {}
    least = LEAST * np.sqrt(sum(float(np.sum(np.square(value, dtype=np.float64))) for value in gradients.values()))
    trained = [name for name in before if name in gradients]
    rule, prefixes = {"adam": _adam, "sgd": _sgd}[config.optimiser], ("", *MOMENTS[config.optimiser])
    for tensor, treatment in zip(trained, treatments(config, trained), strict=True):
        old, new = (
            [np.asarray(state[prefix + tensor], np.float64) for prefix in prefixes] for state in (before, after)
        )
        decayed = np.asarray(gradients[tensor], np.float64) + treatment.decay * old[0]
        moved = (old[0] - new[0]) / (RATES[config.optimiser] * treatment.factor)
        for name, error in rule(old[1:], new[1:], decayed, moved, least).items():
            errors.setdefault(name, {})[tensor] = error
    for teacher, student in zip(spec_of(config.method).teachers, spec_of(config.method).students, strict=False):
        for name in (n for n in before if n.startswith(f"{teacher}.") and ".running_" not in n):
            other = np.asarray(after[f"{student}.{name.removeprefix(f'{teacher}.')}"], np.float64)
            expected = EMA * np.asarray(before[name], np.float64) + (1 - EMA) * other
            errors.setdefault("ema", {})[name] = float(np.abs(after[name] - expected).max() / np.abs(expected).max())
    return errors


def _adam(old: Moments, new: Moments, decayed: np.ndarray, moved: np.ndarray, least: float) -> dict[str, float]:
    """Judge Adam (Kingma and Ba, ICLR 2015, algorithm 1). decayed: g + decay w. moved: what left w, over the rate.

    adam.first: b1 m + (1 - b1) (g + decay w), with the g from outside the step. adam.second: b2 v + (1 - b2) g'^2 with
    the g' that adam.first shows. Relative to the largest g' (or to LEAST of the whole gradient) and to the largest
    g'^2. adam: the update from these moments, relative to the rate times the larger of it and 1.
    """
    gradient = (new[0] - BETAS[0] * old[0]) / (1 - BETAS[0])
    square = BETAS[1] * old[1] + (1 - BETAS[1]) * gradient**2
    mean, root = new[0] / (1 - BETAS[0] ** (STEPS + 1)), np.sqrt(new[1] / (1 - BETAS[1] ** (STEPS + 1)))
    update = mean / (root + EPSILON)
    return {
        "adam.first": float(np.abs(gradient - decayed).max() / max(np.abs(decayed).max(), least)),
        "adam.second": float(np.abs(new[1] - square).max() / square.max()),
        "adam": float((np.abs(moved - update) / np.maximum(np.abs(update), 1)).max()),
    }


def _sgd(old: Moments, new: Moments, decayed: np.ndarray, moved: np.ndarray, least: float) -> dict[str, float]:
    """Judge SGD with Nesterov's momentum (Sutskever et al., ICML 2013); the arguments are those of `_adam`.

    sgd.momentum: kept b + (g + decay w). sgd: the update, g' + kept b' with the g' that sgd.momentum shows. Relative to
    their largest numbers, or to LEAST of the whole gradient.
    """
    gradient = new[0] - KEPT * old[0]
    update = gradient + KEPT * new[0]
    return {
        "sgd.momentum": float(np.abs(gradient - decayed).max() / max(np.abs(decayed).max(), least)),
        "sgd": float(np.abs(moved - update).max() / max(np.abs(update).max(), least)),
    }


def relabel_errors(config: LearnerConfig, centroids: np.ndarray, after: State) -> Errors:
    """Return by classifier how far its rows are from the L2-normalised centroids (K, D), zeros behind them."""
    rows = np.asarray(centroids, np.float64)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    errors = {}
    for role in spec_of(config.method).all:
        name = f"{role}.classifier.weight"
        expected = np.zeros(after[name].shape)
        expected[: len(rows)] = rows
        errors[name] = float(np.abs(after[name] - expected).max())
    return {"relabel": errors}
