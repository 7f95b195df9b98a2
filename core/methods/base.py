"""What the loop asks of a method's host half."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from duoreid.core.contract.learner import Batch, Learner
from duoreid.core.settings.config import LearnerConfig, ScheduleConfig


@dataclass(frozen=True)
class Labelling:
    """What an epoch trains on. labels: int32 (N,), class of each row, -1 for rows that are left out.

    facts: numbers about it worth a report (clusters, outliers, agreement with hidden identities, seconds).
    """

    labels: np.ndarray
    classes: int
    facts: dict[str, float] = field(default_factory=dict)


class Host(Protocol):
    """The host half of a method: what to train on, in which order, at which rates."""

    name: str
    schedule: ScheduleConfig

    def learner_config(self) -> LearnerConfig:
        """Return what a backend needs to build the learner."""
        ...

    def label(self, learner: Learner, epoch: int) -> Labelling:
        """Return the labels of one epoch; methods that cluster embed and relabel here."""
        ...

    def sample(self, labelling: Labelling, epoch: int) -> np.ndarray:
        """Return the rows of every batch of an epoch, int64 (iterations, B)."""
        ...

    def batch(self, labelling: Labelling, rows: np.ndarray, epoch: int, step: int) -> Batch:
        """Assemble one batch; called from several threads, and a function of its arguments alone."""
        ...

    def rates(self, epoch: int, step: int) -> tuple[float, float]:
        """Return (learning rate, decay of the mean teachers) of one iteration."""
        ...

    def memory(self) -> dict[str, Any]:
        """Return what the method must remember across epochs, ready for JSON."""
        ...

    def remember(self, memory: dict[str, Any]) -> None:
        """Take back what `memory` returned."""
        ...
