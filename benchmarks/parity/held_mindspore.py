"""Gradients of a MindSpore learner with given choices of ReLUs and pooled maxima: one operation after another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from duoreid.backends.mindspore import layers, probe
from duoreid.benchmarks.parity.choices import Held
from duoreid.core.contract.learner import Batch
from duoreid.core.losses.float64 import operations

COMPILED = True
"""Whether a step's gradients come from other code than these."""


def gradients(learner: Any, batch: Batch, held: Held) -> dict[str, np.ndarray]:
    """Return the gradients of "total" by trained tensor, of the learner's cells without compilation."""
    with _holding(learner, held):
        return probe.gradients_of(learner, batch)[1]


@contextmanager
def _holding(learner: Any, held: Held) -> Iterator[None]:
    """Replace the compiled losses by the cells themselves, and ReLUs and pooling, until the block ends."""

    def made(x: Tensor, chosen: Tensor) -> Tensor:
        return Tensor(held.make(x.asnumpy(), chosen.asnumpy()))

    def relu(x: Tensor) -> Tensor:
        return ops.where(made(x, x > 0), x, ops.zeros_like(x))

    def leaky_relu(x: Tensor) -> Tensor:
        return ops.where(made(x, x > 0), x, layers.of(layers.SLOPE, x.dtype) * x)

    def max_pool2d(pool: layers.MaxPool2d, x: Tensor) -> Tensor:
        places = made(x, Tensor(operations.max_places(x.asnumpy(), uneven=pool.uneven)))
        flat = ops.gather_elements(x.reshape((*x.shape[:2], -1)), 2, places.reshape((*x.shape[:2], -1)))
        return flat.reshape(places.shape)

    def entering(role: str) -> Any:
        return lambda *_: held.enter(role)

    method, parameters = learner.method, learner.optimiser.update.parameters_
    hooks = [learner.network(role).register_forward_pre_hook(entering(role)) for role in learner.spec.all]
    before = layers.relu, layers.leaky_relu, layers.MaxPool2d.construct, learner._losses_and_gradients
    layers.relu, layers.leaky_relu, layers.MaxPool2d.construct = relu, leaky_relu, max_pool2d
    learner._losses_and_gradients = ms.value_and_grad(method, None, parameters, has_aux=True)
    try:
        yield
    finally:
        layers.relu, layers.leaky_relu, layers.MaxPool2d.construct, learner._losses_and_gradients = before
        for hook in hooks:
            hook.remove()
