"""Gradients of a torch learner with given choices of ReLUs and pooled maxima."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from duoreid.backends.torch import layers, probe
from duoreid.benchmarks.parity.choices import Held
from duoreid.core.contract.learner import Batch
from duoreid.core.losses.float64 import operations

COMPILED = False
"""Whether a step's gradients come from other code than these."""


def gradients(learner: Any, batch: Batch, held: Held) -> dict[str, np.ndarray]:
    """Return the gradients of "total" by trained tensor, of a learner that is not compiled."""
    with _holding(learner.networks, held):
        return probe.gradients_of(learner, batch)[1]


@contextmanager
def _holding(networks: dict[str, Any], held: Held) -> Iterator[None]:
    """Replace ReLUs and pooling until the block ends."""

    def made(x: torch.Tensor, choose: Callable[[np.ndarray], np.ndarray]) -> torch.Tensor:
        before = (x.detach().float() if x.dtype == torch.bfloat16 else x.detach()).cpu().numpy()
        return torch.from_numpy(held.make(before, choose(before))).to(x.device)

    def leaky_relu(x: torch.Tensor, slope: float) -> torch.Tensor:
        return torch.where(made(x, lambda before: before > 0), x, slope * x)

    def max_pool(pool: layers.MaxPool, x: torch.Tensor) -> torch.Tensor:
        places = made(x, partial(operations.max_places, uneven=pool.uneven))
        return x.flatten(2).gather(2, places.flatten(2)).view(places.shape)

    def entering(role: str) -> Any:
        return lambda *_: held.enter(role)

    hooks = [network.register_forward_pre_hook(entering(role)) for role, network in networks.items()]
    before = F.relu, F.leaky_relu, layers.MaxPool.forward
    F.relu, F.leaky_relu, layers.MaxPool.forward = (lambda x: leaky_relu(x, 0.0)), leaky_relu, max_pool
    try:
        yield
    finally:
        F.relu, F.leaky_relu, layers.MaxPool.forward = before
        for hook in hooks:
            hook.remove()
