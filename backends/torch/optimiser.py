"""Adam, SGD and the mean teachers' update in torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from duoreid.core.contract.treatment import Treatment, distinct, treatments
from duoreid.core.settings.config import LearnerConfig

BETAS, EPSILON = (0.9, 0.999), 1e-8
MOMENTUM = 0.9


class _Grouped:
    """What both optimisers share: a group of parameters for each treatment.

    Torch's own is made when it is first asked for: it imports torch._dynamo, two seconds that embedding never needs.
    """

    _optimiser: torch.optim.Optimizer

    def __init__(self, parameters: Sequence[Tensor], chosen: Sequence[Treatment]) -> None:
        self.parameters = list(parameters)
        self._treatments, places = distinct(chosen)
        self._groups = [{"params": [], "weight_decay": one.decay} for one in self._treatments]
        for parameter, place in zip(self.parameters, places, strict=True):
            self._groups[place]["params"].append(parameter)

    def step(self, rate: float) -> None:
        """Update the parameters from their gradients and clear those."""
        for one, group in zip(self._treatments, self._optimiser.param_groups, strict=True):
            group["lr"] = rate * one.factor
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)


class Adam(_Grouped):
    """Adam (Kingma and Ba, ICLR 2015) with weight decay added to the gradient."""

    @cached_property
    def _optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self._groups, betas=BETAS, eps=EPSILON, fused=True)

    def moments(self) -> tuple[int, list[Tensor], list[Tensor]]:
        """Return (steps done, first moments, second moments), in the parameters' order."""
        states = [self._optimiser.state.get(parameter, {}) for parameter in self.parameters]
        steps = int(states[0]["step"].item()) if states[0] else 0
        zeros = [torch.zeros_like(parameter) for parameter in self.parameters]
        first = [state.get("exp_avg", zero) for state, zero in zip(states, zeros, strict=True)]
        second = [state.get("exp_avg_sq", zero) for state, zero in zip(states, zeros, strict=True)]
        return steps, first, second

    def load(self, steps: int, first: Sequence[Tensor], second: Sequence[Tensor]) -> None:
        """Continue from given moments."""
        for parameter, mean, square in zip(self.parameters, first, second, strict=True):
            self._optimiser.state[parameter] = {
                "step": torch.tensor(float(steps), dtype=torch.float32, device=parameter.device),
                "exp_avg": _laid_out_as(parameter, mean),
                "exp_avg_sq": _laid_out_as(parameter, square),
            }


class SGD(_Grouped):
    """SGD with Nesterov's momentum (Sutskever et al., ICML 2013) and weight decay added to the gradient."""

    def __init__(self, parameters: Sequence[Tensor], chosen: Sequence[Treatment]) -> None:
        super().__init__(parameters, chosen)
        self._steps = 0

    @cached_property
    def _optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self._groups, lr=0.0, momentum=MOMENTUM, nesterov=True, fused=True)

    def step(self, rate: float) -> None:
        """Update the parameters from their gradients and clear those."""
        super().step(rate)
        self._steps += 1

    def moments(self) -> tuple[int, list[Tensor]]:
        """Return (steps done, momentum), in the parameters' order."""
        states = [self._optimiser.state.get(parameter, {}) for parameter in self.parameters]
        buffers = [state.get("momentum_buffer") for state in states]
        zeros = [torch.zeros_like(parameter) for parameter in self.parameters]
        return self._steps, [zero if value is None else value for value, zero in zip(buffers, zeros, strict=True)]

    def load(self, steps: int, momentum: Sequence[Tensor]) -> None:
        """Continue from a given momentum."""
        self._steps = steps
        for parameter, value in zip(self.parameters, momentum, strict=True):
            self._optimiser.state[parameter] = {"momentum_buffer": _laid_out_as(parameter, value)}


def _laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    """Copy a moment into the parameter's order in memory, in which the fused kernels pair the two."""
    return torch.empty_like(parameter, requires_grad=False).copy_(value)


def make_optimiser(config: LearnerConfig, trained: Sequence[tuple[str, Tensor]]) -> Adam | SGD:
    """Return the configured optimiser of the trained tensors, given with their names ROLE.TENSOR."""
    make, names = {"adam": Adam, "sgd": SGD}[config.optimiser], [name for name, _ in trained]
    return make([parameter for _, parameter in trained], treatments(config, names))


@torch.no_grad()
def update_teachers(teachers: Sequence[Tensor], students: Sequence[Tensor], decay: float) -> None:
    """Move the teachers' parameters: teacher = decay * teacher + (1 - decay) * student (MMT, section 3.2)."""
    torch._foreach_mul_(list(teachers), decay)
    torch._foreach_add_(list(teachers), list(students), alpha=1 - decay)
