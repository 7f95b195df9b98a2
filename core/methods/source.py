"""Stage 1: supervised training on the source, batch norm adapted to the target (MMT, section 3.1 and D2)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from duoreid.core.contract.learner import Batch, Learner
from duoreid.core.data import TrainingSet
from duoreid.core.errors import UserError
from duoreid.core.methods.augmentation import augment
from duoreid.core.methods.base import Labelling
from duoreid.core.methods.recipe import augmentation, rows_of_batches
from duoreid.core.methods.sampling import shuffled_batches
from duoreid.core.methods.schedules import warmup_multistep
from duoreid.core.numeric.sharing import ALONE, Processes
from duoreid.core.random import rng
from duoreid.core.settings.config import LearnerConfig
from duoreid.core.settings.transfer import SourceRecipe


@lru_cache(maxsize=2)
def _shuffled(images: int, count: int, iterations: int, seed: int, epoch: int) -> np.ndarray:
    """Rows of the target for each iteration of an epoch, drawn once for all threads that assemble its batches."""
    return shuffled_batches(np.arange(images), count, iterations, seed=seed, epoch=epoch, purpose="sampling/target")


class Source:
    """Host half of `source`, and of stage 1 of other methods.

    data: the training sets "source" and, where batch norm is adapted to it, "target". seed: of this network.
    """

    name = "source"

    def __init__(
        self,
        config: SourceRecipe,
        data: Mapping[str, TrainingSet],
        *,
        seed: int | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.config, self.seed = config, config.run.seed if seed is None else seed
        self.schedule = config.pretrain
        source = data["source"]
        self.source, self.target = source, data["target"] if self.schedule.adapt_batch_norm else None
        known = source.split.identities >= 0
        if not known.any():
            raise UserError(f"{source.name} has no labelled training image: stage 1 needs a labelled --source.")
        names, labels = np.unique(source.split.identities[known], return_inverse=True)
        self.labels = np.full(len(source.split), -1, np.int32)
        self.labels[known] = labels
        self.classes = len(names)
        self.augmentation = augmentation(config.pretrain)

    def learner_config(self) -> LearnerConfig:
        """Both hard losses at weight 1, one classifier row an identity."""
        return LearnerConfig(
            method=self.name,
            section=self.schedule,
            network=self.config.network,
            capacity=self.classes,
            classes=self.classes,
            height=self.config.data.height,
            width=self.config.data.width,
            weight_decay=self.schedule.weight_decay,
        )

    def label(self, learner: Learner, epoch: int) -> Labelling:
        """The source's own identities."""
        return Labelling(self.labels, self.classes)

    def sample(self, labelling: Labelling, epoch: int) -> np.ndarray:
        """P x K rows of the source."""
        cameras = self.source.split.cameras
        return rows_of_batches(self.schedule, labelling, cameras, seed=self.seed, epoch=epoch)

    def batch(self, labelling: Labelling, rows: np.ndarray, epoch: int, step: int) -> Batch:
        """View 0: the source's rows; view 1, where batch norm is adapted: as many images of the target."""
        views = [augment(self.source.images[rows], self.augmentation, rng(self.seed, "augment/source", epoch, step))]
        if self.target is not None:
            images = self.target.images[self._target_plan(len(rows), epoch)[step]]
            views.append(augment(images, self.augmentation, rng(self.seed, "augment/target", epoch, step)))
        return Batch(np.stack(views), labelling.labels[rows])

    def _target_plan(self, count: int, epoch: int) -> np.ndarray:
        return _shuffled(len(self.target.split), count, self.schedule.iterations, self.seed, epoch)

    def rates(self, epoch: int, step: int) -> tuple[float, float]:
        """Linear warm-up, then a step at each milestone; no teachers."""
        schedule = self.schedule
        rate = warmup_multistep(
            epoch,
            rate=schedule.rate,
            warmup_epochs=schedule.warmup_epochs,
            warmup_factor=schedule.warmup_factor,
            milestones=schedule.milestones,
            gamma=schedule.gamma,
            ahead=schedule.schedule_ahead,
        )
        return rate, 0.0

    def memory(self) -> dict[str, Any]:
        """Nothing: every epoch follows from its number."""
        return {}

    def remember(self, memory: dict[str, Any]) -> None:
        """Take nothing back."""
