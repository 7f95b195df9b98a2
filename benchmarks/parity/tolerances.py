"""Every tolerance of a report of parity, with its reason: one table, so that none is loosened unseen.

Those of the tests alone are in tests/tolerances.py.
"""

from __future__ import annotations

from typing import NamedTuple


class Tolerance(NamedTuple):
    """How far two arrays may lie apart, and why that far."""

    value: float
    reason: str


TOLERANCES = {
    "parity.embedding.float32": Tolerance(1e-5, "test mode has no statistics to amplify noise: measured below 4e-6"),
    "parity.losses.float32": Tolerance(1e-4, "train mode divides by deviations of a batch of 8: measured below 1e-5"),
    "parity.gradient.floor": Tolerance(1e-5, "of a tensor's L2 norm: no one is held to the other's luck of rounding"),
    "parity.gradient.first": Tolerance(
        30.0,
        "as many times the second backend's error: torch's kernels for channels last, there and back. Measured 21 in "
        "one tensor of MVD with ResNet-50-IBN-a, 2.6e-4, which is 1.1e-5 with channels first, as in MindSpore",
    ),
    "parity.gradient.compiled": Tolerance(
        1e-5, "of a tensor's L2 norm: the same kernels, joined by the compiler: measured 4e-6 in MVD with ResNet-18"
    ),
    "parity.factor": Tolerance(3.0, "as many times the first backend's distance from float64: rounding of two kinds"),
    "parity.factor.first": Tolerance(20.0, "as many times the second's: torch's batch norm over channels last errs so"),
    "parity.own.float32": Tolerance(
        1e-5, "sums of 4608 products carry 2.5e-6, running sums of statistics 3e-6 in torch"
    ),
    "parity.own.float64": Tolerance(1e-13, "the same sums and means from 1e-16: measured below 5e-15"),
    "parity.loss.float32": Tolerance(
        3e-5, "of a gradient's largest number: exponentials carry 2.3e-6, distances of 80 out of squares of 5e3 1.3e-5"
    ),
    "parity.loss.float32.transport": Tolerance(1e-3, "Sinkhorn divides by epsilon = 0.01: rounding counts 100-fold"),
    "parity.loss.float64": Tolerance(1e-12, "the same formulas in double precision: measured below 2e-15"),
    "parity.loss.float64.transport": Tolerance(1e-10, "Sinkhorn's 100-fold rounding, of double precision"),
    "parity.rule.float32": Tolerance(
        1e-4, "moments in float32 carry 1.4e-5 of the largest second moment in MindSpore's kernel, updates 7e-7"
    ),
    "parity.rule.float64": Tolerance(1e-12, "a few roundings of double precision: measured below 2e-15"),
    "parity.layer.test": Tolerance(1e-5, "test mode has no statistics to amplify noise: measured below 4e-6"),
    "parity.layer.train": Tolerance(1e-5, "of a layer's L2 norm, where the other backend happens to err less"),
    "parity.double": Tolerance(1e-8, "100 steps in float64: rounding of 1e-16, amplified by batch norm and by Adam"),
    "parity.double.factor": Tolerance(
        3.0, "as many times what noise of 2e-16 on the weights does to a backend: measured 0.6 to 1.0, MMT, ResNet-18"
    ),
    "parity.outcome.floor": Tolerance(
        0.05, "of mAP and 1 - ARI: near ties of a few dozen people; of 1 - ARI at least what one moved picture makes"
    ),
    "parity.drift.floor": Tolerance(1e-5, "float32 rounding of one step, where the disturbed runs happen to err less"),
    "parity.drift.factor": Tolerance(3.0, "as many times the widest of torch's runs from weights with 1e-7 of noise"),
}


def tolerance(name: str) -> float:
    """Return one entry's value."""
    return TOLERANCES[name].value
