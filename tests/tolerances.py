"""Every tolerance of the conformance and parity tests, with its reason: one table, so that none is loosened unseen.

A tolerance is relative to the largest absolute value expected in the array (or to a scale that the test names). Those
that a report of parity is judged by, too, are in benchmarks/parity/tolerances.py; `tolerance` looks in both.
"""

from __future__ import annotations

import numpy as np

from duoreid.benchmarks.parity.tolerances import TOLERANCES as OF_REPORTS
from duoreid.benchmarks.parity.tolerances import Tolerance

OWN = {
    # One backend against the float64 oracle.
    "loss.float32": Tolerance(3e-6, "a softmax of float32 carries about 1.6e-6 in MindSpore, 5e-7 in torch"),
    "loss.float64": Tolerance(1e-12, "sums of at most a few hundred terms of size 1, in double precision"),
    "loss.float32.cancelling": Tolerance(
        2e-3, "|x|^2 + |y|^2 - 2xy of near-equal features loses eps |x|^2 / d^2, here up to 1e-3, before the root"
    ),
    "loss.float64.cancelling": Tolerance(1e-10, "the same loss of digits, from eps of double precision"),
    "loss.float32.transport": Tolerance(
        1e-4,
        "Sinkhorn divides costs by epsilon = 0.01, so that rounding of 1e-7 counts 100-fold: measured 1.6e-5 in torch",
    ),
    "loss.float64.transport": Tolerance(1e-10, "the same from eps of double precision"),
    "mvd.ten_steps.float32": Tolerance(
        3e-3, "of the total; ten steps through batch norm over 16 rows and mined pairs: measured 5e-4 in torch"
    ),
    "network.test.float32": Tolerance(1e-5, "single operations differ by up to 9e-7, a dozen layers deep: torch 4e-7"),
    "network.train.float32": Tolerance(1e-4, "batch norm over few values amplifies rounding: measured 3e-6 in torch"),
    "network.test.float32.deep": Tolerance(
        1e-4, "50 layers with instance norm over as few as 8 values: measured 1.4e-5"
    ),
    "network.float64": Tolerance(1e-11, "a dozen layers in double precision: measured below 1e-14 in torch"),
    "network.float64.deep": Tolerance(
        1e-7, "50 layers with batch norm over as few as 4 values amplify rounding 1e6 times: measured 2e-9 in torch"
    ),
    "adam.float32": Tolerance(1e-4, "of the summed rates: float32 moments carry 3e-5 of an update at any gradient"),
    "adam.float64": Tolerance(1e-11, "of the summed rates: bias correction 1 - 0.999^t loses three digits at first"),
    "ema.float32": Tolerance(2.5e-7, "two roundings of float32"),
    "ema.float64": Tolerance(5e-16, "two roundings of float64"),
    "step.losses.float64": Tolerance(1e-11, "the network's own tolerance, through losses of slope about 1"),
    "step.parameters.float64": Tolerance(1e-11, "one update from the same gradients, in double precision"),
    "step.parameters.float32": Tolerance(
        1e-6, "of the largest weight: the rounding of a weight, and of the moments that the step is taken from"
    ),
    "step.losses.float32": Tolerance(1e-4, "the network's tolerance in training, through losses of slope about 1"),
    "norm.kernel.float32": Tolerance(3e-6, "sums of some hundred values of size 1 in float32: measured 9e-7"),
    "norm.kernel.bfloat16": Tolerance(
        8e-3, "of the largest value, rounded once to 8 bits: 1 / 256; Triton's interpreter cuts off, 1 / 128"
    ),
    "norm.kernel.float32.far": Tolerance(
        3e-4, "1,000 deviations from zero, where float32 has lost three digits: measured 3e-5, torch 1.2e-4"
    ),
    "gradient.along": Tolerance(
        2e-5, "central differences with step 1e-7: rounding of 1e-8, and ReLUs that switch within the step, 1e-6"
    ),
    "gradient.along.float32": Tolerance(
        2e-3, "gradients in float32 through batch norm over few rows: measured 2e-4 in MindSpore"
    ),
    "gradient.across": Tolerance(
        1e-2, "of 1/sqrt(n) of the gradient, which is what a random direction sees of it: the same noise, magnified"
    ),
    "embed.chunks.float32": Tolerance(2e-6, "a batch of another size may choose another kernel for the same sums"),
    # One backend against the other.
    "parity.gradient.factor": Tolerance(3.0, "as many times torch's own float32 error, against float64 gradients"),
    "parity.float64": Tolerance(1e-9, "20 steps in double precision: rounding of 1e-16 grows by Adam and batch norm"),
    "processes.float64": Tolerance(
        1e-9, "the same sums in another order, in double precision: measured 2e-12 in 3 steps"
    ),
    "processes.float32": Tolerance(
        5e-4,
        "of 2 steps against double precision; measured 3e-5 against one process in float32, batch norm over 4 rows",
    ),
    # Beside the public codes' own numbers; tests/golden and benchmarks/golden.
    "golden.mmt.loss.float32.relative": Tolerance(1e-5, "of the value: softmax in float32, measured 5e-7"),
    "golden.mmt.loss.float32.absolute": Tolerance(1e-6, "of values and gradients of size 1: measured 4e-8"),
    "golden.mmt.loss.float64.relative": Tolerance(1e-12, "of the value, in double precision: measured 6e-15"),
    "golden.mmt.loss.float64.absolute": Tolerance(1e-12, "of gradients in double precision: measured below 1e-15"),
    "golden.mmt.jaccard": Tolerance(1e-5, "the public code stores distances and weights in float32: measured 9e-7"),
    "golden.mmt.eps": Tolerance(1e-5, "relative: a mean of float32 distances, measured 9e-7"),
    "golden.mmt.features": Tolerance(1e-6, "a mean of float32 features, and its rounding: measured 6e-8"),
    "golden.mmt.centroids": Tolerance(1e-6, "means in float32 there, in float64 here: measured 5e-8"),
    "golden.mmt.inertia": Tolerance(1e-5, "relative: sums of float32 squares"),
    "golden.mmt.distances": Tolerance(2e-6, "|x|^2 + |y|^2 - 2xy in float32, of up to 4: two or three roundings"),
    "golden.mmt.scores": Tolerance(1e-12, "means of the same ranks, in double precision: measured 1e-16"),
    "golden.mmt.trainer.loss": Tolerance(1e-10, "three steps of ResNet-50 in double precision: measured 8e-13"),
    "golden.mmt.trainer.weights": Tolerance(1e-10, "of a tensor's norm, after three or four steps: measured 3e-12"),
    "golden.mmt.trainer.gradient": Tolerance(1e-10, "of a tensor's norm, of the first step: measured 6e-14"),
    "golden.mmt.trainer.embedding": Tolerance(1e-12, "of unit features, before any step: measured 2e-15"),
    "golden.mmt.rerank": Tolerance(1e-5, "float32 distances and encodings: measured 3e-7"),
    "golden.mvd.features": Tolerance(1e-6, "of unit features in float32: the public code itself, 8e-8 from float64"),
    "golden.mvd.similarity": Tolerance(2e-6, "sums of 8192 products of such features"),
    "golden.mvd.term.float64": Tolerance(
        1e-8, "of the term: ResNet-50 with batch norm over 16 rows, ten digits stored"
    ),
    "golden.mvd.term.float32": Tolerance(2e-5, "of the term: the public code itself in float32, 3e-6 from float64"),
    "golden.mvd.transport.float64": Tolerance(1e-7, "of CML, whose marginals are float32 constants in the public code"),
    "golden.mvd.transport.float32": Tolerance(2e-5, "of CML, as of the other terms"),
    "golden.mvd.port.features": Tolerance(2e-6, "of unit features in float32, as the port computes"),
    "golden.mvd.gradient.float64": Tolerance(
        1e-6, "of a gradient's norm, ten digits stored; CML's constants are float32"
    ),
    "golden.mvd.gradient.float32": Tolerance(1e-2, "of its norm: the public code itself in float32, 99 % under 2.6e-3"),
    "golden.mvd.gradient.dot.float32": Tolerance(5e-2, "of its norm: the public codes themselves, 99 % under 1.6e-2"),
    "golden.mvd.gradient.gamma.float32": Tolerance(
        0.3, "of the norm of an attention's one number: the code itself, 0.1"
    ),
    "golden.mvd.running.float64": Tolerance(1e-8, "of a statistic's dot product, ten digits of which are stored"),
    "golden.mvd.running.float32": Tolerance(5e-4, "the public code itself in float32, 3e-5 from float64"),
}
"""Of the tests alone."""

TOLERANCES = OF_REPORTS | OWN


def tolerance(name: str) -> float:
    """Return one entry's value."""
    return TOLERANCES[name].value


def check_close(name: str, actual: object, expected: object, *, scale: float | None = None, what: str = "") -> None:
    """Raise AssertionError where |actual - expected| exceeds tolerance times scale (default: max |expected|).

    Shapes must be equal and everything finite: a comparison with NaN in it never passes.
    """
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    if actual.shape != expected.shape:
        raise AssertionError(f"{what or name}: shape {actual.shape}, expected {expected.shape}")
    if not (np.isfinite(actual).all() and np.isfinite(expected).all()):
        raise AssertionError(f"{what or name}: not everything is finite")
    scale = float(np.abs(expected).max(initial=0.0)) if scale is None else scale
    distance = float(np.abs(actual - expected).max(initial=0.0))
    if distance > tolerance(name) * scale:
        raise AssertionError(
            f"{what or name}: differs by {distance:.3g} at scale {scale:.3g}; tolerance {name} is {tolerance(name):g} "
            f"({TOLERANCES[name].reason})"
        )
