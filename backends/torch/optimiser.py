"""Adam and the mean teachers' update in torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BETAS, EPSILON = (0.9, 0.999), 1e-8


class Adam:
    """Adam (Kingma and Ba, ICLR 2015) with weight decay added to the gradient; the rate is a tensor, set each step."""

    def __init__(self, parameters: Sequence[Tensor], weight_decay: float) -> None:
        self.parameters = list(parameters)
        device = self.parameters[0].device
        self.rate = torch.zeros((), dtype=self.parameters[0].dtype, device=device)
        self._optimiser = torch.optim.Adam(
            self.parameters, lr=self.rate, betas=BETAS, eps=EPSILON, weight_decay=weight_decay, fused=True
        )

    def step(self, rate: float) -> None:
        """Update the parameters from their gradients and clear those."""
        self.rate.fill_(rate)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

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
                "exp_avg": mean.clone(),
                "exp_avg_sq": square.clone(),
            }


@torch.no_grad()
def update_teachers(teachers: Sequence[Tensor], students: Sequence[Tensor], decay: float) -> None:
    """Move the teachers' parameters: teacher = decay * teacher + (1 - decay) * student (MMT, section 3.2)."""
    torch._foreach_mul_(list(teachers), decay)
    torch._foreach_add_(list(teachers), list(students), alpha=1 - decay)
