"""Whole objectives over the float64 networks, and the optimiser, in NumPy. Nothing here knows of a backend."""

from __future__ import annotations

import numpy as np

from duoreid.core.contract.learner import Batch
from duoreid.core.contract.state import network
from duoreid.core.losses.float64.network import Network, embedding
from duoreid.core.methods.registry import spec_of
from duoreid.core.settings.config import LearnerConfig

State = dict[str, np.ndarray]


def embeddings(config: LearnerConfig, state: State, roles: tuple[str, ...], images: np.ndarray) -> np.ndarray:
    """Return the test-mode embeddings of some networks of a learner's state, (M, N, D)."""
    networks = [Network(config.network, network(state, role)) for role in roles]
    return np.stack([embedding(one(images, train=False)) for one in networks])


Outputs = dict[str, dict[str, np.ndarray]]
"""By role what each network returned, by layer."""


VIEWS = {"student": 0, "student1": 0, "teacher1": 0, "student2": 1, "teacher2": 1}
"""Which view of the batch a network sees."""


class Objective:
    """The losses of one batch as a function of the networks' weights. outputs: what each network returned."""

    def __init__(self, config: LearnerConfig, state: State, batch: Batch) -> None:
        self.config, self.batch, self.classes = config, batch, int(state["classes"])
        chosen = spec_of(config.method).all
        self.networks = {role: Network(config.network, network(state, role)) for role in chosen}
        self.outputs = {role: net(batch.images[VIEWS[role]], train=True) for role, net in self.networks.items()}
        if chosen == ("student",) and len(batch.images) > 1:
            self.networks["student"](batch.images[1], train=True)

    def losses(self) -> dict[str, float]:
        """Return the losses by name."""
        outputs = {role: (layers["features"], layers["classifier"]) for role, layers in self.outputs.items()}
        return spec_of(self.config.method).oracle(self.config, outputs, self.batch, self.classes)

    def slope(self, role: str, name: str, direction: np.ndarray, step: float = 1e-7) -> float:
        """Return the derivative of "total" when one tensor of one student moves along a direction."""
        net, values = self.networks[role], []
        original, kept, buffers = net.state[name], self.outputs[role], dict(net.buffers)
        for sign in (1, -1):
            net.state[name] = original + sign * step * direction
            self.outputs[role] = net(self.batch.images[VIEWS[role]], train=True)
            values.append(self.losses()["total"])
        net.state[name], self.outputs[role], net.buffers = original, kept, buffers
        return (values[0] - values[1]) / (2 * step)


def adam(parameter: np.ndarray, gradients: list[np.ndarray], rates: list[float], weight_decay: float) -> np.ndarray:
    """Apply Adam (Kingma and Ba, ICLR 2015, algorithm 1) with weight decay added to the gradient."""
    parameter = np.asarray(parameter, np.float64)
    first, second = np.zeros_like(parameter), np.zeros_like(parameter)
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        gradient = np.asarray(gradient, np.float64) + weight_decay * parameter
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        mean, square = first / (1 - 0.9**step), second / (1 - 0.999**step)
        parameter = parameter - rate * mean / (np.sqrt(square) + 1e-8)
    return parameter
