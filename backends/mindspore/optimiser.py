"""Adam, SGD and the mean teachers' update in MindSpore."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from duoreid.backends.mindspore import onednn
from duoreid.backends.mindspore.layers import DONE, constant, exact, of
from duoreid.core.contract.treatment import Treatment, distinct, treatments
from duoreid.core.settings.config import LearnerConfig

BETAS, EPSILON = (0.9, 0.999), 1e-8
KEEP, TAKE = [exact(beta) for beta in BETAS], [exact(1 - beta) for beta in BETAS]
MOMENTUM = exact(0.9)


def compiled(function: Callable[..., Any], graph: bool) -> Callable[..., Any]:
    """Return the function compiled, or as it is.

    It must return a tensor, DONE if it has nothing to tell.
    """
    if not graph:
        return function
    made = ms.jit(function)

    def call(*tensors: Tensor) -> Any:
        onednn.obey()
        return made(*tensors)

    return call


class _Optimiser:
    """What both optimisers share: one compiled update for all parameters of one treatment, and a count of the steps.

    update: a class of cells that have parameters, and take (numbers, gradients): numbers are 0-d tensors, the rate, the
    weight decay, then the optimiser's own. parameters: in an order of the optimiser's own, in which those of one
    treatment lie side by side.
    """

    def __init__(
        self,
        update: Callable[[ParameterTuple], Update],
        parameters: Sequence[Parameter],
        chosen: Sequence[Treatment],
        graph: bool,
    ) -> None:
        kept, places = distinct(chosen)
        order = sorted(range(len(parameters)), key=places.__getitem__)
        self.steps, self.parameters = 0, ParameterTuple([parameters[index] for index in order])
        self._places = np.argsort(order).tolist()
        self._parts, begin = [], 0
        for place, treatment in enumerate(kept):
            end = begin + places.count(place)
            part = update(ParameterTuple(self.parameters[begin:end]))
            self._parts.append((treatment, part, compiled(_run(part), graph)))
            begin = end

    def _step(self, gradients: Sequence[Tensor], rate: float, *own: float) -> None:
        self.steps += 1
        begin = 0
        for treatment, part, run in self._parts:
            numbers = (rate * treatment.factor, treatment.decay, *own)
            end = begin + len(part.parameters_)
            # One argument each: given a tuple, the compiler takes every new one for another function.
            run(*(Tensor(number, part.dtype) for number in numbers), *gradients[begin:end])
            begin = end

    def _given(self, own: Callable[[Update], Sequence[Parameter]]) -> list[Parameter]:
        """Return something of the updates in the order of the parameters as they were given."""
        ordered = [parameter for _, part, _ in self._parts for parameter in own(part)]
        return [ordered[place] for place in self._places]

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
        """Update the parameters from their gradients, in the order of `parameters`."""
        first, second = (1 - beta ** (self.steps + 1) for beta in BETAS)
        self._step(gradients, rate * math.sqrt(second) / first, EPSILON * math.sqrt(second))

    def moments(self) -> tuple[int, Sequence[Parameter], Sequence[Parameter]]:
        """Return (steps done, first moments, second moments), in the order of the parameters as they were given."""
        return self.steps, self._given(lambda part: part.first), self._given(lambda part: part.second)


class SGD(_Optimiser):
    """SGD with Nesterov's momentum (Sutskever et al., ICML 2013) and weight decay added to the gradient."""

    def __init__(self, parameters: Sequence[Parameter], chosen: Sequence[Treatment], *, graph: bool = True) -> None:
        super().__init__(SGDUpdate, parameters, chosen, graph)

    def step(self, gradients: Sequence[Tensor], rate: float) -> None:
        """Update the parameters from their gradients, in the order of `parameters`."""
        self._step(gradients, rate)

    def moments(self) -> tuple[int, Sequence[Parameter]]:
        """Return (steps done, momentum), in the order of the parameters as they were given."""
        return self.steps, self._given(lambda part: part.momentum)


class Update(nn.Cell):
    """An update of parameters by one function for each.

    A loop over them instead, written out by the compiler, takes it three times as long.
    """

    def __init__(self, parameters: ParameterTuple) -> None:
        super().__init__(auto_prefix=False)
        self.parameters_ = parameters
        self.dtype = parameters[0].dtype
        self.each = ops.HyperMap()


def _run(update: Update) -> Callable[..., Tensor]:
    """Return a function of numbers and gradients, all of them one argument each, to be compiled."""
    own = len(update.parameters_)

    def run(*tensors: Tensor) -> Tensor:
        count = len(tensors) - own
        return ops.depend(DONE, update(tensors[:count], tensors[count:]))

    return run


FUSED = ops.Adam()
adam, adam_double, sgd, follow = (
    ops.MultitypeFuncGraph(name) for name in ("adam", "adam_double", "sgd", "mean_teacher")
)


@adam.register(*["Tensor"] * 7)
def _(rate, decay, epsilon, parameter, first, second, gradient):
    none = constant(0.0, ms.float32)  # the powers of the betas: the rate is corrected already
    corrected = gradient + decay * parameter
    return FUSED(parameter, first, second, none, none, rate, KEEP[0][0], KEEP[1][0], epsilon, corrected)


@adam_double.register(*["Tensor"] * 7)
def _(rate, decay, epsilon, parameter, first, second, gradient):
    corrected = gradient + decay * parameter
    mean = KEEP[0][1] * first + TAKE[0][1] * corrected
    square = KEEP[1][1] * second + TAKE[1][1] * corrected * corrected
    moved = parameter - rate * mean / (ops.sqrt(square) + epsilon)
    return ops.assign(first, mean), ops.assign(second, square), ops.assign(parameter, moved)


class AdamUpdate(Update):
    """The fused operation in float32, the formula in float64, which it lacks."""

    def __init__(self, parameters: ParameterTuple) -> None:
        super().__init__(parameters)
        self.first = parameters.clone(prefix="adam.first", init="zeros")
        self.second = parameters.clone(prefix="adam.second", init="zeros")
        self.formula = adam_double if self.dtype == ms.float64 else adam

    def construct(self, numbers: tuple[Tensor, ...], gradients: tuple[Tensor, ...]) -> tuple:
        """Numbers: rate, weight decay, epsilon."""
        formula = ops.partial(self.formula, numbers[0], numbers[1], numbers[2])
        return self.each(formula, self.parameters_, self.first, self.second, gradients)


@sgd.register(*["Tensor"] * 6)
def _(rate, decay, keep, parameter, momentum, gradient):
    corrected = gradient + decay * parameter
    moved = keep * momentum + corrected
    return ops.assign(momentum, moved), ops.assign(parameter, parameter - rate * (corrected + keep * moved))


class SGDUpdate(Update):
    """Nesterov's momentum."""

    def __init__(self, parameters: ParameterTuple) -> None:
        super().__init__(parameters)
        self.momentum = parameters.clone(prefix="sgd.momentum", init="zeros")

    def construct(self, numbers: tuple[Tensor, ...], gradients: tuple[Tensor, ...]) -> tuple:
        """Numbers: rate, weight decay."""
        formula = ops.partial(sgd, numbers[0], numbers[1], of(MOMENTUM, self.dtype))
        return self.each(formula, self.parameters_, self.momentum, gradients)


@follow.register(*["Tensor"] * 4)
def _(decay, rest, teacher, student):
    return ops.assign(teacher, decay * teacher + rest * student)


class TeacherUpdate(Update):
    """Move the teachers' parameters: teacher = decay * teacher + (1 - decay) * student (MMT, section 3.2)."""

    def __init__(self, teachers: Sequence[Parameter], students: Sequence[Parameter]) -> None:
        super().__init__(ParameterTuple(teachers))
        self.students = ParameterTuple(students)

    def construct(self, decay: Tensor, rest: Tensor) -> tuple:
        return self.each(ops.partial(follow, decay, rest), self.parameters_, self.students)


class MeanTeachers:
    """The mean teachers of students, parameters only."""

    def __init__(self, teachers: Sequence[Parameter], students: Sequence[Parameter], *, graph: bool = True) -> None:
        self.dtype = teachers[0].dtype
        update = TeacherUpdate(teachers, students)

        def run(decay: Tensor, rest: Tensor) -> Tensor:
            return ops.depend(DONE, update(decay, rest))

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
