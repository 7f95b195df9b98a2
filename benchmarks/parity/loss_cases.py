"""The losses by themselves: inputs as large as a batch's, and each loss and gradient in NumPy and float64."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from duoreid.benchmarks.parity.exam import Exam
from duoreid.core import losses
from duoreid.core.losses.float64 import network as judge
from duoreid.core.networks.backbones import backbone
from duoreid.core.random import rng


class Case(NamedTuple):
    """arrays: float inputs, of which those with a gradient are compared. integers: labels, modalities."""

    oracle: Callable[..., tuple]
    arrays: tuple[np.ndarray, ...]
    integers: tuple[np.ndarray, ...]
    options: dict[str, Any]


def cases(exam: Exam) -> dict[str, Case]:
    """Return the losses of an exam's method by name."""
    config, draw = exam.learner, rng(0, "parity/losses")
    rows, width = exam.identities * exam.images, backbone(exam.network.arch).features
    labels = np.repeat(np.arange(exam.identities), exam.images)
    logits, others = 3 * draw.standard_normal((2, rows, config.capacity))
    features, teacher = draw.standard_normal((2, rows, width)) + 2 * draw.random((2, rows, 1))
    live = {"classes": config.classes}
    smoothing = {"smoothing": config.section.smoothing}
    hard = {"cross_entropy": Case(losses.cross_entropy, (logits,), (labels,), live | smoothing)}
    if not exam.cross_modal:
        hard["softmax_triplet"] = Case(losses.softmax_triplet, (features,), (labels,), {})
        if exam.roles.teachers:
            hard["soft_cross_entropy"] = Case(losses.soft_cross_entropy, (logits, others), (), live)
            hard["soft_softmax_triplet"] = Case(losses.soft_softmax_triplet, (features, teacher), (labels,), {})
        return hard
    modalities, margin = np.arange(rows) % 2, {"margin": getattr(config.section, "margin", 0.0)}
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    name, metric = {
        "ranked-list": ("ranked_list", Case(losses.ranked_list, (unit,), (labels, modalities), {})),
        "triplet": ("triplet", Case(losses.triplet, (features,), (labels,), margin)),
        "centre": ("centre_triplet", Case(losses.centre_triplet, (features,), (labels, modalities), margin)),
    }[config.section.metric]
    return hard | {
        name: metric,
        "distillation": Case(_distillation, (logits, others), (), live | {"form": config.section.distillation}),
        "jensen_shannon": Case(losses.jensen_shannon, (logits, others), (), live),
        "mutual_learning": Case(losses.mutual_learning, (logits, others), (), live),
    }


def _distillation(observation: np.ndarray, representation: np.ndarray, **options: Any) -> tuple:
    """Return the loss with the gradients of both inputs, as the others do: none flows into the observation."""
    value, gradient = losses.distillation(observation, representation, **options)
    return value, np.zeros(np.shape(observation)), gradient


def errors(probe: ModuleType, chosen: dict[str, Case], dtype: type) -> dict[str, dict[str, float]]:
    """Return by loss how far a backend's "value" and "gradient" are from the oracle's on the same rounded inputs.

    A value's error is relative to the larger of it and 1, a gradient's to its largest number.
    """
    found = {}
    for name, case in chosen.items():
        arrays = tuple(array.astype(dtype) for array in case.arrays)
        true, *true_gradients = case.oracle(*arrays, *case.integers, **case.options)
        value, gradients = value_and_gradients(probe, name, arrays, case)
        apart = [judge.distance(gradient, exact) for gradient, exact in zip(gradients, true_gradients, strict=False)]
        found[name] = {"value": abs(value - true) / max(abs(true), 1.0), "gradient": max(apart)}
    return found


def value_and_gradients(
    probe: ModuleType, name: str, arrays: tuple[np.ndarray, ...], case: Case
) -> tuple[float, list[np.ndarray]]:
    """Return a loss and the gradients of its inputs; of the first alone where a backend's probe knows no more."""
    if len(case.integers) > 1 or name in ("distillation", "jensen_shannon", "mutual_learning"):
        return probe.gradients_of_loss(name, arrays, case.integers, **case.options)
    value, gradient = probe.loss(name, arrays, case.integers[0] if case.integers else None, **case.options)
    return value, [gradient]
