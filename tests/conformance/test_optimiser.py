"""Adam and the mean teachers' update against NumPy in float64."""

from functools import cache

import numpy as np
import pytest

from duoreid.core.random import rng
from tests.conformance.reference import adam
from tests.tolerances import check_close

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
RATES = [3.5e-4 * (1 + step % 3) for step in range(20)]
DECAY = 5e-4


def problem(dtype):
    """Two tensors; gradients from 1e-8 to 1e2 by column, of changing sign, and one column of zeros."""
    draw = rng(0, "adam")
    shapes = [(3, 12), (4, 1, 12)]
    sizes = np.concatenate([10.0 ** np.arange(-8, 3), [0.0]])
    parameters = [np.zeros(shapes[0], dtype), draw.standard_normal(shapes[1]).astype(dtype)]
    gradients = [[(draw.standard_normal(shape) * sizes).astype(dtype) for shape in shapes] for _ in RATES]
    return parameters, gradients


@cache
def updated(probe, dtype):
    return probe.adam(*problem(dtype), RATES, DECAY)


def compare_adam(probe, dtype, reference=adam):
    parameters, gradients = problem(dtype)
    moved = updated(probe, dtype)
    for index, parameter in enumerate(parameters):
        expected = reference(parameter, [step[index] for step in gradients], RATES, DECAY)
        assert np.abs(expected - parameter).max() > 1e-3
        name = f"adam.{np.dtype(dtype).name}"
        # A parameter of size 1 is itself rounded at each of the 20 steps.
        rounding = 20 * np.finfo(dtype).eps * np.abs(parameter).max() / 1e-4
        check_close(name, moved[index], expected, scale=sum(RATES) + rounding, what=f"tensor {index}")


@DTYPES
def test_adam_20_steps(probe, dtype):
    compare_adam(probe, dtype)


@DTYPES
def test_each_tensor_has_a_decay_of_its_own(probe, dtype):
    parameters, gradients = problem(dtype)
    moved = probe.adam(parameters, gradients, RATES, [0.0, DECAY])
    decayed, plain = updated(probe, dtype), probe.adam(parameters, gradients, RATES, 0.0)
    for result, own, other in zip(moved, (plain[0], decayed[1]), (decayed[0], plain[1]), strict=True):
        np.testing.assert_array_equal(result, own)
        assert (own != other).any()


def test_adam_leaves_its_inputs(probe):
    parameters, gradients = problem(np.float32)
    copies = [parameter.copy() for parameter in parameters]
    probe.adam(parameters, gradients, RATES, DECAY)
    for parameter, copy in zip(parameters, copies, strict=True):
        np.testing.assert_array_equal(parameter, copy)


def uncorrected_epsilon(parameter, gradients, rates, weight_decay):
    """Adam whose epsilon is added before the bias correction: what MindSpore's own optimiser computes."""
    parameter = np.asarray(parameter, np.float64)
    first, second = np.zeros_like(parameter), np.zeros_like(parameter)
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        gradient = gradient + weight_decay * parameter
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        scale = rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        parameter = parameter - scale * first / (np.sqrt(second) + 1e-8)
    return parameter


def decoupled_decay(parameter, gradients, rates, weight_decay):
    """AdamW."""
    moved = adam(parameter, gradients, rates, 0.0)
    return moved - sum(rates) * weight_decay * parameter


def no_decay(parameter, gradients, rates, weight_decay):
    return adam(parameter, gradients, rates, 0.0)


def ascent(parameter, gradients, rates, weight_decay):
    return adam(parameter, [-gradient for gradient in gradients], rates, weight_decay)


@pytest.mark.parametrize("wrong", [uncorrected_epsilon, decoupled_decay, no_decay, ascent])
def test_the_comparison_rejects_another_optimiser(probe, wrong):
    """In float32, whose tolerance is the wider one."""
    with pytest.raises(AssertionError, match="differs by"):
        compare_adam(probe, np.float32, wrong)


@DTYPES
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_mean_teacher(probe, decay, dtype):
    draw = rng(0, "ema")
    shapes = [(5, 3), (7,), (2, 3, 3, 3)]
    teachers, students = ([draw.standard_normal(shape).astype(dtype) for shape in shapes] for _ in range(2))
    moved = probe.ema(teachers, students, decay)
    for result, teacher, student in zip(moved, teachers, students, strict=True):
        expected = decay * teacher.astype(float) + (1 - decay) * student.astype(float)
        check_close(f"ema.{np.dtype(dtype).name}", result, expected)
        if decay == 0:
            np.testing.assert_array_equal(result, student)
        with pytest.raises(AssertionError, match="differs by"):
            check_close(f"ema.{np.dtype(dtype).name}", result, (1 - decay) * teacher + (decay - 1e-4) * student)
