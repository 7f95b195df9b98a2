"""Which backend is farther from the truth, in which kind of layer, and why.

Every reason was found by `python -m benchmarks.parity.bisect`, which changes one thing at a time on the same numbers
(order in memory, kernel, order of summation) and prints the errors quoted here.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

import numpy as np

from duoreid.benchmarks.parity.compare import Check

RATIO, LEAST = 2.0, 1e-6
"""What is reported: means of a kind's errors, and single losses and rules above LEAST, further apart than RATIO."""

KINDS = {
    "convolution, 1x1": r"(downsample\.0|layer\d\.\d+\.conv3)$",
    "convolution": r"conv\d$",
    "batch norm": r"(bn\d|bn\d\.BN|downsample\.1|neck|hidden_bn)$",
    "instance norm": r"\.IN$",
    "running mean": r"running_mean$",
    "running variance": r"running_var$",
    "linear": r"(classifier|linear\d|hidden)$",
    "mean over places": r"^features$",
}
"""Kinds of layers by how their names end; the first that fits counts."""

RUNNING_SUM = (
    "torch's kernel for images with channels last takes the statistics of a channel as one running sum over images and "
    "places; with channels first the same numbers err 5 to 20 times less"
)
EXPONENTIAL = "MindSpore's exponential on the CPU errs by 7e-6 of its value in float32, torch's by 6e-8"
SQUARES = (
    "distances of 80 out of squares of 5e3, x x + y y - 2 x y, are 5e-6 off in either backend, by chance of the draw, "
    "and the softmax passes it on: with distances from float64 the error is ten times less"
)
WHY = {
    (
        "convolution",
        "torch",
    ): "with channels last all products of an output enter one running sum: NumPy adding in this "
    "order errs as much, adding 16 channels at a time a quarter of it, as MindSpore's kernel and torch's with channels "
    "first do",
    ("batch norm", "torch"): RUNNING_SUM,
    ("running mean", "torch"): RUNNING_SUM,
    ("mean over places", "torch"): "a running sum over the places, of rounding size: MindSpore's sum goes in pairs",
    ("soft_cross_entropy, gradient", "mindspore"): EXPONENTIAL,
    ("cross_entropy, gradient", "mindspore"): EXPONENTIAL,
    ("jensen_shannon, gradient", "mindspore"): EXPONENTIAL,
    ("softmax_triplet, gradient", "mindspore"): EXPONENTIAL,
    ("soft_softmax_triplet, gradient", "mindspore"): EXPONENTIAL,
    ("softmax_triplet, gradient", "torch"): SQUARES,
    ("soft_softmax_triplet, gradient", "torch"): SQUARES,
    ("adam.second", "mindspore"): "the fused Adam takes 1 - 0.999 in float32, which is 1.3e-5 off",
}
"""Reasons by (kind of layer, loss or rule; backend that errs more), found on the CPU."""


def kind(layer: str) -> str:
    """Return the kind of a layer, or "other"."""
    return next((name for name, pattern in KINDS.items() if re.search(pattern, layer)), "other")


def farther(names: tuple[str, str], checks: Sequence[Check], *, cpu: bool) -> list[str]:
    """Return a line for each kind of layer, loss and rule in which one backend errs more, and why where it is known.

    cpu: both ran on the CPU, for which the reasons are known.
    """
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for check in checks:
        part = check.part.split(", ")
        if not np.isfinite(check.value) or part[-1] != "single":
            continue
        if part[0] == "own":
            mode, layer = check.what.split(", ", 1)
            key = (kind(layer), f"{kind(layer)}, {mode}")
        else:
            key = (check.what, check.what)
        found.setdefault(key, {}).setdefault(check.who, []).append(max(check.value, 1e-9))
    lines = []
    for (name, words), errors in found.items():
        means = [float(np.exp(np.mean(np.log(errors.get(backend, [1e-9]))))) for backend in names]
        layers = any(len(values) > 1 for values in errors.values()) or name in KINDS
        if name == "other" or max(means) <= RATIO * min(means) or not (layers or max(means) > LEAST):
            continue
        far = names[int(np.argmax(means))]
        why = WHY.get((name, far), "") if cpu else ""
        said = f"{words}: {names[0]} {means[0]:.1e}, {names[1]} {means[1]:.1e}{': ' if why else ''}{why}"
        lines += textwrap.wrap(said, 116, initial_indent="  ", subsequent_indent="    ")
    title = "Where one backend errs more than the other by itself (layers: mean over all of a kind):"
    return [title, *lines] if lines else []
