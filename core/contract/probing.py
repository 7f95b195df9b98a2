"""What a backend's probe.py offers to conformance and parity checks: its halves with NumPy on both sides.

A probe is a module with the functions of `Probe`; the precision is that of the arrays that come in. What it takes no
framework to say is here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from duoreid.core.contract.learner import Batch, Learner
from duoreid.core.contract.treatment import Treatment
from duoreid.core.networks.heads import NECK
from duoreid.core.settings.config import LearnerConfig, NetworkConfig

INPUTS = {"neck": "features"}
"""Layers whose input `layers` also returns, and its name: the pooled feature comes out of no layer."""

Arrays = dict[str, np.ndarray]
Decay = float | Sequence[float]
"""Weight decay: of all parameters, or of each."""


class Held(Protocol):
    """Choices of ReLUs and pooled maxima for networks to make, and what their own numbers would have chosen."""

    def enter(self, role: str) -> None:
        """A pass through a network begins."""

    def make(self, before: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Return the choice to make where a network's numbers `before` would choose `chosen`.

        chosen: bool of the shape (B, C, ...) of `before`, what a ReLU lets through; or int64, the places of a window's
        maximum in the flattened (H, W).
        """


class Probe(Protocol):
    """The functions of a backend's probe.py.

    COMPILED: whether a step's gradients come from other code than those of `held_gradients`.
    """

    COMPILED: bool

    def compute_on(self, config: Any) -> None:
        """Choose by a RuntimeConfig where and how the others compute from now on; at first, on the CPU."""

    def make_learner(self, config: LearnerConfig, *, precision: str = "float32", seed: int = 0) -> Learner:
        """Return a learner on the chosen device."""

    def loss(
        self, name: str, inputs: tuple[np.ndarray, ...], labels: np.ndarray | None = None, **options: Any
    ) -> tuple:
        """Return (value, gradient of inputs[0]) of one loss of backends/*/losses.py.

        inputs: the student's array and, for soft losses, the teacher's. labels: integers (B,) for those that take them.
        """

    def gradients_of_loss(
        self, name: str, inputs: tuple[np.ndarray, ...], integers: tuple[np.ndarray, ...] = (), **options: Any
    ) -> tuple[float, list[np.ndarray]]:
        """Return (value, gradient of every input) of one loss of backends/*/losses.py; 0 where none flows.

        integers: labels and modalities (B,), for losses that take them.
        """

    def batch_hard(self, distances: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the miner's (positive, negative) indices, int64 (B,) each."""

    def forward(self, config: NetworkConfig, state: Arrays, images: np.ndarray, *, train: bool) -> Arrays:
        """Run one network on images uint8 (B, H, W, 3).

        Returns features, logits, embedding (test mode only) and, by name, its buffers afterwards.
        """

    def gradients(
        self, config: LearnerConfig, state: Arrays, batch: Batch, *, precision: str = "float32"
    ) -> tuple[dict[str, float], Arrays]:
        """Return the losses of one batch and the gradient of "total" for every trained tensor, by canonical name."""

    def gradients_of(self, learner: Learner, batch: Batch) -> tuple[dict[str, float], Arrays]:
        """As `gradients`, of a learner as it is, on its device; its running statistics move."""

    def held_gradients(self, learner: Learner, batch: Batch, held: Held) -> Arrays:
        """Return the gradients of "total" with choices of ReLUs and pooled maxima that `held` makes.

        One operation after another: of a learner that is not compiled, or without its compilation.
        """

    def layers(
        self, learner: Learner, role: str, images: np.ndarray, *, train: bool, noise: np.ndarray | None = None
    ) -> Arrays:
        """Run one network of a learner and return the output of every layer, by canonical name.

        images: uint8 (B, H, W, 3), seen as they are. noise: uniforms (B, hidden) for MVD's dropout. Beside the layers:
        "image", the normalised images; the inputs that INPUTS names; and the running statistics as they are afterwards
        (they move in training).
        """

    def adam(
        self, parameters: list[np.ndarray], gradients: list[list[np.ndarray]], rates: list[float], weight_decay: Decay
    ) -> list[np.ndarray]:
        """Apply one Adam step for each list of gradients; return the parameters afterwards."""

    def sgd(
        self, parameters: list[np.ndarray], gradients: list[list[np.ndarray]], rates: list[float], weight_decay: Decay
    ) -> list[np.ndarray]:
        """Apply one step of SGD for each list of gradients; return the parameters afterwards."""

    def ema(self, teachers: list[np.ndarray], students: list[np.ndarray], decay: float) -> list[np.ndarray]:
        """Return the teachers' tensors after one update."""


class Device:
    """Where a probe's functions compute: a RuntimeConfig, opened in the precision that each of them needs."""

    def __init__(self, config: Any, open_runtime: Callable[[Any], Any]) -> None:
        self.config, self._open = config, open_runtime

    def choose(self, config: Any) -> None:
        """See Probe.compute_on."""
        self.config = config

    def open(self, precision: str = "float32") -> Any:
        """Return the backend's runtime."""
        return self._open(replace(self.config, precision=precision))


def decaying(weight_decay: Decay, count: int) -> list[Treatment]:
    """Return the treatment of so many parameters at the full rate."""
    return [Treatment(decay=float(decay)) for decay in np.broadcast_to(weight_decay, count)]


def precision_of(state: Mapping[str, np.ndarray]) -> str:
    """Return the precision of one network's tensors."""
    return np.asarray(state[NECK]).dtype.name
