"""How each backend is compared with NumPy over MVD: in which configurations, in which precision, from which moments.

Every configuration costs MindSpore a compilation, in float64 a long one: its whole steps are compared here in float32,
in two configurations that together have everything, of which one is long. tests/parity holds its float64 to torch's.
"""

from __future__ import annotations

import numpy as np
import pytest

from duoreid.core.contract.state import FIRST, MOMENTUM, SECOND, expected_shapes
from duoreid.core.contract.treatment import treatments
from duoreid.core.random import rng
from tests.conformance.examples_mvd import CONFIGS
from tests.tolerances import check_close

RATE = 1e-3
PRECISION = {"torch": "float64", "mindspore": "float32"}
COMPILED = {"full": (), "all the others": pytest.mark.long}
"""What MindSpore compiles: a minute for the second. Shorter: tests/golden holds MindSpore, without compiling, to the
losses, gradients and statistics of the port, which has most of these settings; test_mvd_losses.py and test_mvd_step.py
hold the other losses and SGD."""


def variants(*names):
    """Parametrize by backend and configuration: torch takes those named, MindSpore what is compiled of them."""
    chosen = [("torch", name) for name in names]
    chosen += [pytest.param("mindspore", name, marks=marks) for name, marks in COMPILED.items() if name in names]
    return pytest.mark.parametrize(("backend", "name"), chosen)


VARIANTS = variants(*CONFIGS)


def close(backend, kind, *values, **options):
    """check_close by the tolerance of the precision in which the backend was run."""
    check_close(f"{kind}.{PRECISION[backend]}", *values, **options)


def draw(*shape, step=0, scale=1.0):
    """Return normal numbers, others for each step."""
    return scale * rng(0, "conformance of MVD", 0, step).standard_normal(shape)


def trained_of(config):
    """Return the names of the tensors that the optimiser moves."""
    prefix = FIRST if config.optimiser == "adam" else MOMENTUM
    return [name.removeprefix(prefix) for name in expected_shapes(config) if name.startswith(prefix)]


def as_float64(state):
    """Return a state in float64."""
    return {name: value.astype(np.float64) for name, value in state.items()}


def moved(config, before, after, tensor, step):
    """Where the optimiser's step number `step` puts a tensor, given its moments before and after."""
    rate = RATE * treatments(config, [tensor])[0].factor
    if config.optimiser == "adam":
        mean, square = after[FIRST + tensor] / (1 - 0.9**step), after[SECOND + tensor] / (1 - 0.999**step)
        return before[tensor] - rate * mean / (np.sqrt(square) + 1e-8)
    new, old = after[MOMENTUM + tensor], before[MOMENTUM + tensor]
    return before[tensor] - rate * (new - 0.9 * old + 0.9 * new)
