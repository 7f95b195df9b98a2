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
    """One loss. oracle: in NumPy, and with the name that probes know it by. integers: labels, modalities."""

    oracle: Callable[..., tuple]
    arrays: tuple[np.ndarray, ...]
    integers: tuple[np.ndarray, ...]
    options: dict[str, Any]


def cases(exam: Exam) -> list[Case]:
    """Return the losses of an exam's method."""
    config, draw = exam.learner, rng(0, "parity/losses")
    section, rows = config.section, exam.identities * exam.images
    labels = np.repeat(np.arange(exam.identities), exam.images)
    logits, others = 3 * draw.standard_normal((2, rows, config.capacity))
    width = backbone(exam.network.arch).features
    features, teacher = draw.standard_normal((2, rows, width)) + 2 * draw.random((2, rows, 1))
    live = {"classes": config.classes}
    hard = Case(losses.cross_entropy, (logits,), (labels,), live | {"smoothing": section.smoothing})
    if not exam.cross_modal:
        soft = [
            Case(losses.soft_cross_entropy, (logits, others), (), live),
            Case(losses.soft_softmax_triplet, (features, teacher), (labels,), {}),
        ]
        metric = Case(losses.softmax_triplet, (features,), (labels,), {})
        return [hard, metric, *(soft if exam.spec.teachers else [])]
    seen, margin, form = (labels, np.arange(rows) % 2), {"margin": section.margin}, {"form": section.distillation}
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    metrics = {
        "ranked-list": Case(losses.ranked_list, (unit,), seen, {}),
        "triplet": Case(losses.triplet, (features,), (labels,), margin),
        "centre": Case(losses.centre_triplet, (features,), seen, margin),
    }
    return [
        hard,
        metrics[section.metric],
        Case(distillation, (logits, others), (), live | form),
        Case(losses.jensen_shannon, (logits, others), (), live),
        Case(losses.mutual_learning, (logits, others), (), live | form),
    ]


def distillation(observation: np.ndarray, representation: np.ndarray, **options: Any) -> tuple:
    """Return the loss with the gradients of both inputs, as the others do: none flows into the observation."""
    value, gradient = losses.distillation(observation, representation, **options)
    return value, np.zeros(np.shape(observation)), gradient


def errors(probe: ModuleType, chosen: list[Case], dtype: type) -> dict[str, dict[str, float]]:
    """Return by loss how far a backend's "value" and "gradient" are from the oracle's on the same rounded inputs.

    A value's error is relative to the larger of it and 1, a gradient's to its largest number.
    """
    by_loss = {}
    for oracle, arrays, integers, options in chosen:
        inputs = tuple(array.astype(dtype) for array in arrays)
        true, *exact = oracle(*inputs, *integers, **options)
        value, gradients = probe.gradients_of_loss(oracle.__name__, inputs, integers, **options)
        apart = max(judge.distance(*pair) for pair in zip(gradients, exact, strict=False))
        by_loss[oracle.__name__] = {"value": abs(value - true) / max(abs(true), 1.0), "gradient": apart}
    return by_loss
