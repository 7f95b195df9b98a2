"""Traps of MindSpore that this backend avoids: silent ones, each seen to be real.

Where one of these tests fails, MindSpore has changed and a rule of the backend can go. They say nothing of the backend
itself, and are long.
"""

import ast
import inspect

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops
from mindspore.graph import api

from duoreid.backends.mindspore import layers, optimiser
from duoreid.backends.mindspore.runtime import RuntimeConfig, open_runtime

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", autouse=True)
def _cpu():
    open_runtime(RuntimeConfig(device="cpu"))


def test_trap_arithmetic_on_numbers_is_single_precision_when_compiled():
    take = layers.exact(1 - 0.9)

    @ms.jit
    def inside(x):
        return x * (1 - 0.9)

    @ms.jit
    def outside(x):
        return x * layers.of(take, x.dtype)

    one = Tensor(np.ones(1))
    assert outside(one).asnumpy()[0] == 1 - 0.9
    assert abs(inside(one).asnumpy()[0] - (1 - 0.9)) > 1e-9


def test_trap_the_gradient_of_pad_is_wrong_on_the_second_call():
    x = np.arange(64.0).reshape(1, 1, 8, 8)

    def total(x):
        return (ops.unfold(ops.pad(x, (1, 1, 1, 1), value=0.0), 3, stride=2) ** 2).sum()

    gradient = ms.jit(ms.grad(total))
    first = gradient(Tensor(x)).asnumpy().copy()
    again = [gradient(Tensor(x)).asnumpy().copy() for _ in range(3)]
    assert any(not np.array_equal(first, other) for other in again)


def test_trap_a_double_that_is_read_assigned_and_read_again_is_rounded():
    third = np.full(3, 1 / 3)
    parameter, half = Parameter(Tensor(third), name="third"), Tensor(np.full(3, 0.5))

    @ms.jit
    def once():
        ops.assign(parameter, half * parameter)
        return half

    @ms.jit
    def twice():
        ops.assign(parameter, half * parameter)
        ops.assign(parameter, half * parameter)
        return half

    once()
    np.testing.assert_array_equal(parameter.asnumpy(), third / 2)
    optimiser.load(parameter, third)
    twice()
    assert np.abs(parameter.asnumpy() - third / 4).max() > 1e-10


def test_trap_a_tuple_is_compiled_anew_for_each_of_its_contents():
    @ms.jit
    def tuple_sum(values):
        return values[0] + values[1]

    @ms.jit
    def plain_sum(*values):
        return values[0] + values[1]

    def compilations(function, packed):
        before = len(api.ms_compile_cache)
        for step in range(3):
            values = tuple(Tensor(np.full(2, step + k, np.float32)) for k in range(2))
            total = function(values) if packed else function(*values)
            np.testing.assert_array_equal(total.asnumpy(), [2 * step + 1] * 2)
        return len(api.ms_compile_cache) - before

    assert compilations(tuple_sum, True) == 3
    assert compilations(plain_sum, False) == 1


class _Added(nn.Cell):
    """x -> x + 2 * 300, in a loop with a choice inside of it or outside."""

    def __init__(self, inside):
        super().__init__()
        self.inside, self.twice, self.values = inside, True, tuple(range(300))

    def construct(self, x):
        if self.inside:
            for index in range(len(self.values)):
                if self.twice:
                    x = self.added(x, index)
        else:
            for index in range(len(self.values)):
                x = self.added(x, index)
        return x

    def added(self, x, index):
        return x + 2 + self.values[index] * 0


def test_trap_a_choice_inside_of_a_loop_nests_the_compiler_s_calls(elsewhere):
    """Adam over the tensors of two ResNet-50s met it. The loops over tensors hold no choice, and go in parts."""

    def run(inside):
        network = _Added(inside)

        @ms.jit
        def added(x):
            return network(x)

        return added(Tensor(np.zeros(2, np.float32))).asnumpy()

    np.testing.assert_array_equal(run(False), [600, 600])
    with pytest.raises(RuntimeError, match="function call depth"):
        run(True)
    loops = [node for node in ast.walk(ast.parse(inspect.getsource(optimiser))) if isinstance(node, ast.For)]
    assert len(loops) > 3
    assert not [loop.lineno for loop in loops if any(isinstance(node, ast.If) for node in ast.walk(loop))]


def test_trap_relu_swallows_nan_and_ours_does_not():
    x = Tensor(np.array([np.nan, -1.0, 2.0, -np.inf, np.inf, 0.0], np.float32))
    assert ops.relu(x).asnumpy()[0] == 0
    np.testing.assert_array_equal(layers.relu(x).asnumpy(), [np.nan, 0, 2, 0, np.inf, 0])
    slope = ms.grad(lambda x: layers.relu(x).sum())(Tensor(np.array([-1.0, 0.0, 3.0], np.float32)))
    np.testing.assert_array_equal(slope.asnumpy(), [0, 0, 1])


def test_trap_the_slope_of_leaky_relu_at_zero_and_ours():
    """torch's, and that of the formula, is 0.1."""
    zero = Tensor(np.zeros(1, np.float32))
    assert ms.grad(lambda x: ops.leaky_relu(x, 0.1).sum())(zero).asnumpy()[0] != np.float32(0.1)
    assert ms.grad(lambda x: layers.leaky_relu(x).sum())(zero).asnumpy()[0] == np.float32(0.1)
    assert np.isnan(layers.leaky_relu(Tensor(np.array([np.nan], np.float32))).asnumpy()).all()
