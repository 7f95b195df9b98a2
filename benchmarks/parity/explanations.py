"""Which backend is farther from the truth, in which kind of layer, and why."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from benchmarks.parity.compare import Check

RATIO = 2.0
"""Geometric means of two backends' own errors further apart than this are reported."""

KINDS = {
    "convolution, 1x1": r"downsample\.0$",
    "convolution": r"conv\d$",
    "batch norm": r"(bn\d|bn\d\.BN|downsample\.1|neck|hidden_bn)$",
    "instance norm": r"\.IN$",
    "running mean": r"running_mean$",
    "running variance": r"running_var$",
    "linear": r"(classifier|linear\d|hidden)$",
    "mean over places": r"^features$",
}
"""Kinds of layers by how their names end; the first that fits counts."""

WHY: dict[tuple[str, str, str], str] = {}


def kind(layer: str) -> str:
    """Return the kind of a layer, or "other"."""
    return next((name for name, pattern in KINDS.items() if re.search(pattern, layer)), "other")


def farther(names: tuple[str, str], checks: Sequence[Check]) -> list[str]:
    """Return a line for each kind of layer whose own errors differ between the backends, and why where it is known."""
    lines = []
    for mode in ("test", "train"):
        errors: dict[str, dict[str, list[float]]] = {}
        for check in checks:
            if check.part == "own, single" and check.what.startswith(f"{mode}, ") and np.isfinite(check.value):
                of = errors.setdefault(kind(check.what.removeprefix(f"{mode}, ")), {})
                of.setdefault(check.who, []).append(max(check.value, 1e-9))
        for name, found in errors.items():
            if name == "other" or len(found) < 2:
                continue
            means = [float(np.exp(np.mean(np.log(found[backend])))) for backend in names]
            if max(means) > RATIO * min(means):
                far, near = names if means[0] > means[1] else names[::-1]
                why = WHY.get((name, mode, far), WHY.get((name, "", far), "not looked into"))
                lines.append(f"  {name} in {mode}: {far} {max(means):.1e}, {near} {min(means):.1e}: {why}")
    return (
        ["Where one backend errs more than the other by itself, on average over such layers:", *lines] if lines else []
    )
