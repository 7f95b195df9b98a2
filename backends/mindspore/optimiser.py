"""Adam, SGD and the mean teachers' update in MindSpore."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from duoreid.backends.mindspore.layers import DONE, constant, exact, of
from duoreid.core.contract.treatment import Treatment, distinct, treatments
from duoreid.core.settings.config import LearnerConfig

BETAS, EPSILON = (0.9, 0.999), 1e-8
KEEP, TAKE = [exact(beta) for beta in BETAS], [exact(1 - beta) for beta in BETAS]
MOMENTUM = exact(0.9)


PART = 200
"""Parameters that one compiled function updates. Its loop nests the compiler's calls two deeper for each, four where it
holds a choice, and at a depth of 1000 the compiler gives up. MVD with ResNet-50 trains 522 tensors."""


def compiled(function: Callable[..., Any], graph: bool) -> Callable[..., Any]:
    """Return the function compiled, or as it is.

    It must return a tensor, DONE if it has nothing to tell.
    """
    return ms.jit(function) if graph else function


class _Optimiser:
    """What both optimisers share: compiled updates of all parameters, PART at a time, and a count of the steps.

    update: a cell (begin, end, numbers, gradients) -> None for the parameters from begin to end and their gradients,
    numbers being 0-d tensors: the rate, the weight decay, then the optimiser's own. It has the parameters in an order
    of its own, `update.parameters_`, in which those of one treatment lie side by side: so no compiled loop has to look
    up numbers for each, which costs the compiler a tenth.
    """

    def __init__(
        self,
        make_update: Callable[[ParameterTuple], Any],
        parameters: Sequence[Parameter],
        chosen: Sequence[Treatment],
        graph: bool,
    ) -> None:
        kept, places = distinct(chosen)
        order = sorted(range(len(parameters)), key=places.__getitem__)
        self.steps, self.update = 0, make_update(ParameterTuple([parameters[index] for index in order]))
        self._places = np.argsort(order).tolist()
        self._parts, begin = [], 0
        for place, treatment in enumerate(kept):
            last = begin + places.count(place)
            for first in range(begin, last, PART):
                end = min(first + PART, last)
                self._parts.append((first, end, treatment, compiled(self._part(first, end), graph)))
            begin = last

    def _part(self, begin: int, end: int) -> Callable[..., Tensor]:
        update = self.update

        def run(*tensors: Tensor) -> Tensor:
            count = len(tensors) - (end - begin)
            update(begin, end, tensors[:count], tensors[count:])
            return DONE

        return run

    def _step(self, gradients: Sequence[Tensor], rate: float, *own: float) -> None:
        self.steps += 1
        for begin, end, treatment, run in self._parts:
            numbers = (rate * treatment.factor, treatment.decay, *own)
            # One argument each: given a tuple, the compiler takes every new one for another function.
            run(*(Tensor(number, self.update.dtype) for number in numbers), *gradients[begin:end])

    def _given(self, own: Sequence[Parameter]) -> list[Parameter]:
        """Return what stands in the update's order in that of the parameters as they were given."""
        return [own[place] for place in self._places]

    def load(self, steps: int, *moments: Sequence[np.ndarray]) -> None:
        """Continue from given moments."""
        self.steps = steps
        for own, values in zip(self.moments()[1:], moments, strict=True):
            for parameter, value in zip(own, values, strict=True):
                load(parameter, value)

    def restart(self) -> None:
        """Forget everything: the next step is the first."""
        self.load(0, *([np.zeros(parameter.shape) for parameter in own] for own in self.moments()[1:]))


class Adam(_Optimiser):
    """Adam (Kingma and Ba, ICLR 2015) with weight decay added to the gradient.

    Both bias corrections enter the rate and the epsilon, on the host in double precision:
    rate m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) = rate' m / (sqrt(v) + eps') with
    rate' = rate sqrt(1 - b2^t) / (1 - b1^t) and eps' = eps sqrt(1 - b2^t). nn.Adam lacks the latter.
    """

    def __init__(self, parameters: Sequence[Parameter], chosen: Sequence[Treatment], *, graph: bool = True) -> None:
        super().__init__(AdamUpdate, parameters, chosen, graph)

    def step(self, gradients: Sequence[Tensor], rate: float) -> None:
        """Update the parameters from their gradients, in the order of `update.parameters_`."""
        first, second = (1 - beta ** (self.steps + 1) for beta in BETAS)
        self._step(gradients, rate * math.sqrt(second) / first, EPSILON * math.sqrt(second))

    def moments(self) -> tuple[int, Sequence[Parameter], Sequence[Parameter]]:
        """Return (steps done, first moments, second moments), in the order of the parameters as they were given."""
        return self.steps, self._given(self.update.first), self._given(self.update.second)


class SGD(_Optimiser):
    """SGD with Nesterov's momentum (Sutskever et al., ICML 2013) and weight decay added to the gradient."""

    def __init__(self, parameters: Sequence[Parameter], chosen: Sequence[Treatment], *, graph: bool = True) -> None:
        super().__init__(SGDUpdate, parameters, chosen, graph)

    def step(self, gradients: Sequence[Tensor], rate: float) -> None:
        """Update the parameters from their gradients, in the order of `update.parameters_`."""
        self._step(gradients, rate)

    def moments(self) -> tuple[int, Sequence[Parameter]]:
        """Return (steps done, momentum), in the order of the parameters as they were given."""
        return self.steps, self._given(self.update.momentum)


class AdamUpdate(nn.Cell):
    """One update of all parameters: the fused operation in float32, the formula in float64, which it lacks."""

    def __init__(self, parameters: ParameterTuple) -> None:
        super().__init__(auto_prefix=False)
        self.parameters_ = parameters
        self.first = parameters.clone(prefix="adam.first", init="zeros")
        self.second = parameters.clone(prefix="adam.second", init="zeros")
        self.dtype = parameters[0].dtype
        self.double = self.dtype == ms.float64
        self.fused = ops.Adam()

    def construct(self, begin: int, end: int, numbers: tuple[Tensor, ...], gradients: tuple[Tensor, ...]) -> None:
        """Numbers: rate, weight decay, epsilon."""
        # Everything in the loops themselves: a call, or a choice inside, costs the compiler half as much again.
        rate, decay, epsilon = numbers
        b1, b2 = of(KEEP[0], self.dtype), of(KEEP[1], self.dtype)
        if self.double:
            rest1, rest2 = of(TAKE[0], self.dtype), of(TAKE[1], self.dtype)
            for index in range(begin, end):
                parameter, first, second = self.parameters_[index], self.first[index], self.second[index]
                gradient = gradients[index - begin] + decay * parameter
                mean = b1 * first + rest1 * gradient
                square = b2 * second + rest2 * gradient * gradient
                ops.assign(first, mean)
                ops.assign(second, square)
                ops.assign(parameter, parameter - rate * mean / (ops.sqrt(square) + epsilon))
        else:
            none = constant(0.0, self.dtype)
            for index in range(begin, end):
                parameter, first, second = self.parameters_[index], self.first[index], self.second[index]
                gradient = gradients[index - begin] + decay * parameter
                # The powers of the betas are 0: the rate is corrected already.
                self.fused(parameter, first, second, none, none, rate, b1, b2, epsilon, gradient)


class SGDUpdate(nn.Cell):
    """One update of all parameters."""

    def __init__(self, parameters: ParameterTuple) -> None:
        super().__init__(auto_prefix=False)
        self.parameters_ = parameters
        self.momentum = parameters.clone(prefix="sgd.momentum", init="zeros")
        self.dtype = parameters[0].dtype

    def construct(self, begin: int, end: int, numbers: tuple[Tensor, ...], gradients: tuple[Tensor, ...]) -> None:
        """Numbers: rate, weight decay."""
        rate, decay = numbers
        keep = of(MOMENTUM, self.dtype)
        for index in range(begin, end):
            parameter, momentum = self.parameters_[index], self.momentum[index]
            gradient = gradients[index - begin] + decay * parameter
            moved = keep * momentum + gradient
            ops.assign(momentum, moved)
            ops.assign(parameter, parameter - rate * (gradient + keep * moved))


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

        def run(decay: Tensor, rest: Tensor) -> Tensor:
            update(decay, rest)
            return DONE

        self._run = compiled(run, graph)

    def step(self, decay: float) -> None:
        """Update the teachers; decay 0 copies the students."""
        self._run(Tensor(decay, self.dtype), Tensor(1 - decay, self.dtype))


def make_optimiser(config: LearnerConfig, trained: Sequence[Parameter], *, graph: bool = True) -> Adam | SGD:
    """Return the configured optimiser of the trained parameters, whose names are ROLE.TENSOR."""
    chosen = treatments(config, [parameter.name for parameter in trained])
    return {"adam": Adam, "sgd": SGD}[config.optimiser](trained, chosen, graph=graph)


def load(parameter: Parameter, value: np.ndarray) -> None:
    """Give a parameter new numbers in place: `set_data` would detach it from functions compiled before."""
    ops.assign(parameter, Tensor(np.array(value), parameter.dtype))
