"""The narrow waist: six verbs, and only NumPy arrays cross it.

Everything that is not a network, a loss or an optimiser is written once in `core`; everything on the device is
written natively in a backend, behind `Learner`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np


class Batch(NamedTuple):
    """One training step's input.

    images: uint8 (V, B, H, W, 3), V views of the same B rows. source: (source, target) where batch norm is
        adapted; baseline: one view; mmt: two augmentations; mvd: visible, infrared.
    labels: int32 (B,), class indices below the number of live classes.
    noise: float32 uniforms in [0, 1) for dropout, where a network has any, else None.
    """

    images: np.ndarray
    labels: np.ndarray
    noise: np.ndarray | None = None


class Learner(Protocol):
    """Networks, losses and the optimiser of one method on one device."""

    def embed(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """Chunks uint8 (b, H, W, 3) -> L2-normalised float32 (M, N, D), one row of N for each of M networks."""
        ...

    def relabel(self, centroids: np.ndarray) -> None:
        """Set all classifiers to L2-normalised centroids float32 (K, D) and start the optimiser afresh."""
        ...

    def step(self, batch: Batch, rate: float, ema: float) -> None:
        """Do one update. Nothing is read back from the device."""
        ...

    def losses(self) -> dict[str, float]:
        """Return the means of all losses since the last call. The only synchronisation with the device."""
        ...

    def export_state(self) -> dict[str, np.ndarray]:
        """Return canonical names and layouts, optimiser included, as copies."""
        ...

    def import_state(self, state: dict[str, np.ndarray]) -> None:
        """Replace everything by a state that `export_state` of any backend returned."""
        ...


MakeLearner = Callable[[Any, Any, int], Learner]
"""(config, runtime, seed) -> Learner: what a backend injects into the shared command line."""
