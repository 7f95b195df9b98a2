"""How far two backends' gradients in single precision may lie from those in double precision."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from duoreid.benchmarks.parity.sampling import relative, together
from tests.tolerances import tolerance


def distance(gradient: np.ndarray, true: np.ndarray) -> float:
    """L2 distance relative to the true gradient's norm."""
    return float(np.linalg.norm(gradient - true) / np.linalg.norm(true))


def apart(gradients: Mapping[str, np.ndarray], true: Mapping[str, np.ndarray]) -> float:
    """L2 distance of whole gradients by tensor, relative to the true one's norm."""
    return relative(together(gradients, true), together(true, true))


def check_as_close_as_torch(
    true: Mapping[str, np.ndarray], torch: Mapping[str, np.ndarray], mindspore: Mapping[str, np.ndarray]
) -> None:
    """Raise AssertionError where MindSpore's gradients are farther from the truth than torch's allow.

    By the whole gradient and tensor by tensor, all by name.
    """
    factor, floor = tolerance("parity.gradient.factor"), tolerance("parity.gradient.floor")
    flat = [np.concatenate([gradients[name].ravel() for name in true]) for gradients in (true, torch, mindspore)]
    assert 0 < distance(flat[1], flat[0]) < 1e-3, "torch itself is too far off to be a measure"
    assert distance(flat[2], flat[0]) <= max(factor * distance(flat[1], flat[0]), floor)
    wrong = {}
    for name, value in true.items():
        own, others = distance(mindspore[name], value), distance(torch[name], value)
        if not own <= max(factor * others, floor):
            wrong[name] = f"{own:.2g} against torch's {others:.2g}"
    assert not wrong, wrong
