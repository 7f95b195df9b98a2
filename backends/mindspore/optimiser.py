"""Adam and the mean teachers' update in MindSpore."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from backends.mindspore.layers import constant, exact, of

BETAS, EPSILON = (0.9, 0.999), 1e-8
KEEP, TAKE = [exact(beta) for beta in BETAS], [exact(1 - beta) for beta in BETAS]


def compiled(function: Callable[..., Any], graph: bool) -> Callable[..., Any]:
    """Return the function compiled, or as it is."""
    return ms.jit(function) if graph else function


class Adam:
    """Adam (Kingma and Ba, ICLR 2015) with weight decay added to the gradient.

    Both bias corrections enter the rate and the epsilon, on the host in double precision:
    rate m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) = rate' m / (sqrt(v) + eps') with
    rate' = rate sqrt(1 - b2^t) / (1 - b1^t) and eps' = eps sqrt(1 - b2^t). nn.Adam lacks the latter.
    """

    def __init__(self, parameters: Sequence[Parameter], weight_decay: float, *, graph: bool = True) -> None:
        self.steps, self.dtype = 0, parameters[0].dtype
        update = self.update = AdamUpdate(ParameterTuple(parameters), weight_decay)

        def run(rate: Tensor, epsilon: Tensor, *gradients: Tensor) -> None:
            update(gradients, rate, epsilon)

        self._run = compiled(run, graph)

    def step(self, gradients: Sequence[Tensor], rate: float) -> None:
        """Update the parameters from their gradients."""
        self.steps += 1
        first, second = (1 - beta**self.steps for beta in BETAS)
        corrected = rate * math.sqrt(second) / first, EPSILON * math.sqrt(second)
        # One argument each: given a tuple, the compiler takes every new one for another function.
        self._run(*(Tensor(number, self.dtype) for number in corrected), *gradients)

    def moments(self) -> tuple[int, Sequence[Parameter], Sequence[Parameter]]:
        """Return (steps done, first moments, second moments), in the parameters' order."""
        return self.steps, self.update.first, self.update.second

    def load(self, steps: int, first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> None:
        """Continue from given moments."""
        self.steps = steps
        for parameter, value in zip((*self.update.first, *self.update.second), (*first, *second), strict=True):
            load(parameter, value)

    def restart(self) -> None:
        """Forget everything: the next step is the first."""
        zeros = [np.zeros(parameter.shape) for parameter in self.update.first]
        self.load(0, zeros, zeros)


class AdamUpdate(nn.Cell):
    """One update of all parameters: the fused operation in float32, the formula in float64, which it lacks."""

    def __init__(self, parameters: ParameterTuple, weight_decay: float) -> None:
        super().__init__(auto_prefix=False)
        self.parameters_ = parameters
        self.first = parameters.clone(prefix="adam.first", init="zeros")
        self.second = parameters.clone(prefix="adam.second", init="zeros")
        self.dtype = parameters[0].dtype
        self.weight_decay = Tensor(weight_decay, self.dtype)
        self.double = self.dtype == ms.float64
        self.fused = ops.Adam()

    def construct(self, gradients: tuple[Tensor, ...], rate: Tensor, epsilon: Tensor) -> None:
        b1, b2, none = of(KEEP[0], self.dtype), of(KEEP[1], self.dtype), constant(0.0, self.dtype)
        for index in range(len(self.parameters_)):
            parameter, first, second = self.parameters_[index], self.first[index], self.second[index]
            gradient = gradients[index] + self.weight_decay * parameter
            if self.double:
                self.by_hand(parameter, first, second, gradient, rate, epsilon)
            else:
                # The powers of the betas are 0: the rate is corrected already.
                self.fused(parameter, first, second, none, none, rate, b1, b2, epsilon, gradient)

    def by_hand(
        self, parameter: Parameter, first: Parameter, second: Parameter, gradient: Tensor, rate: Tensor, epsilon: Tensor
    ) -> None:
        """Update one parameter and its moments."""
        mean = of(KEEP[0], self.dtype) * first + of(TAKE[0], self.dtype) * gradient
        square = of(KEEP[1], self.dtype) * second + of(TAKE[1], self.dtype) * gradient * gradient
        ops.assign(first, mean)
        ops.assign(second, square)
        ops.assign(parameter, parameter - rate * mean / (ops.sqrt(square) + epsilon))


class TeacherUpdate(nn.Cell):
    """Move the teachers' parameters: teacher = decay * teacher + (1 - decay) * student (MMT, section 3.2)."""

    def __init__(self, teachers: Sequence[Parameter], students: Sequence[Parameter]) -> None:
        super().__init__(auto_prefix=False)
        self.teachers, self.students = ParameterTuple(teachers), ParameterTuple(students)

    def construct(self, decay: Tensor, rest: Tensor) -> None:
        for index in range(len(self.teachers)):
            teacher = self.teachers[index]
            ops.assign(teacher, decay * teacher + rest * self.students[index])


class MeanTeachers:
    """The mean teachers of students, parameters only."""

    def __init__(self, teachers: Sequence[Parameter], students: Sequence[Parameter], *, graph: bool = True) -> None:
        self.dtype = teachers[0].dtype
        update = TeacherUpdate(teachers, students)

        def run(decay: Tensor, rest: Tensor) -> None:
            update(decay, rest)

        self._run = compiled(run, graph)

    def step(self, decay: float) -> None:
        """Update the teachers; decay 0 copies the students."""
        self._run(Tensor(decay, self.dtype), Tensor(1 - decay, self.dtype))


def load(parameter: Parameter, value: np.ndarray) -> None:
    """Give a parameter new numbers in place: `set_data` would detach it from functions compiled before."""
    ops.assign(parameter, Tensor(np.array(value), parameter.dtype))
