"""Comparisons of a backend with the oracle, as functions: the tests call them, and so do the tests of these tests."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from duoreid.core import losses
from tests.conformance.examples import FeatureCase, LogitCase
from tests.tolerances import check_close

LOSSES = {
    "cross_entropy": (LogitCase, {"smoothing": 0.1}),
    "soft_cross_entropy": (LogitCase, {}),
    "softmax_triplet": (FeatureCase, {}),
    "soft_softmax_triplet": (FeatureCase, {}),
}
"""Each loss with the kind of its inputs and its options."""


def inputs_of(name: str, case: LogitCase | FeatureCase, dtype: type) -> tuple[tuple, np.ndarray | None, dict]:
    """Return (arrays, labels or None, options) of a loss on a case."""
    student = (case.logits if isinstance(case, LogitCase) else case.features).astype(dtype)
    arrays = (student, case.teacher.astype(dtype)) if name.startswith("soft_") else (student,)
    options = {"classes": case.classes} if isinstance(case, LogitCase) else {}
    return arrays, None if name == "soft_cross_entropy" else case.labels, options


def oracle(name: str, arrays: tuple, labels: np.ndarray | None, options: dict) -> tuple[float, np.ndarray]:
    """Return the oracle's value and gradient."""
    return getattr(losses, name)(*arrays, *(() if labels is None else (labels,)), **options)


def compare_loss(
    probe: ModuleType, name: str, case: LogitCase | FeatureCase, dtype: type, expected: Any = oracle, **options: Any
) -> None:
    """Raise AssertionError where a backend's loss or gradient is not the oracle's on the same rounded inputs."""
    arrays, labels, case_options = inputs_of(name, case, dtype)
    options = case_options | options
    value, gradient = probe.loss(name, arrays, labels, **options)
    true_value, true_gradient = expected(name, arrays, labels, options)
    kind = f"loss.{np.dtype(dtype).name}" + (".cancelling" if getattr(case, "cancelling", False) else "")
    # The value is a mean of differences of inputs: their size, not its own, sets its rounding.
    size = max(abs(true_value), float(np.abs(arrays[0]).max()))
    check_close(kind, value, true_value, scale=size, what=f"{name}, value")
    # The gradient is a mean of differences of probabilities, which may cancel: their size is 1 / B.
    size = max(float(np.abs(true_gradient).max()), 0.1 / len(arrays[0]))
    check_close(kind, gradient, true_gradient, scale=size, what=f"{name}, gradient")
    if gradient.dtype != dtype:
        raise AssertionError(f"{name}: the gradient came as {gradient.dtype} for inputs of {np.dtype(dtype)}")
