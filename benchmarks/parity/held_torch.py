"""Gradients of a torch learner with given choices of ReLUs and pooled maxima."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from duoreid.backends.torch import probe
from duoreid.backends.torch.layers import plain
from duoreid.benchmarks.parity.choices import Held
from duoreid.core.contract.learner import Batch

COMPILED = False
"""Whether a step's gradients come from other code than these."""


def gradients(learner: Any, batch: Batch, held: Held) -> dict[str, np.ndarray]:
    """Return the gradients of "total" by trained tensor, of a learner that is not compiled."""
    with _holding(learner.networks, held):
        return probe.gradients_of(learner, batch)[1]


@contextmanager
def _holding(networks: dict[str, Any], held: Held) -> Iterator[None]:
    """Replace F.relu, F.leaky_relu and F.max_pool2d until the block ends."""

    def made(x: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        before = x.detach().float() if x.dtype == torch.bfloat16 else x.detach()
        return torch.from_numpy(held.make(before.cpu().numpy(), chosen.cpu().numpy())).to(x.device)

    def leaky_relu(x: torch.Tensor, slope: float) -> torch.Tensor:
        return torch.where(made(x, x.detach() > 0), x, slope * x)

    def max_pool2d(x: torch.Tensor, *window: int) -> torch.Tensor:
        places = made(x, pool(x, *window, return_indices=True)[1].detach())
        return x.flatten(2).gather(2, places.flatten(2)).view(places.shape)

    def entering(role: str) -> Any:
        return lambda *_: held.enter(role)

    hooks = [network.register_forward_pre_hook(entering(role)) for role, network in networks.items()]
    before, pool = (F.relu, F.leaky_relu, F.max_pool2d), F.max_pool2d
    F.relu, F.leaky_relu, F.max_pool2d = (lambda x: leaky_relu(x, 0.0)), leaky_relu, max_pool2d
    try:
        with plain(networks.values()):
            yield
    finally:
        F.relu, F.leaky_relu, F.max_pool2d = before
        for hook in hooks:
            hook.remove()
