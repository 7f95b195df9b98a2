"""Stage 2: training on the target from pseudo-labels, as `baseline` (one network) or `mmt` (two and their teachers)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from duoreid.core.contract.learner import Batch, Learner
from duoreid.core.data import TrainingSet
from duoreid.core.methods.augmentation import augment
from duoreid.core.methods.base import Labelling
from duoreid.core.methods.pseudo_labels import labelling
from duoreid.core.methods.recipe import augmentation, rows_of_batches
from duoreid.core.methods.schedules import ema_decay
from duoreid.core.numeric.sharing import ALONE, Processes
from duoreid.core.random import rng
from duoreid.core.settings.config import LearnerConfig
from duoreid.core.settings.transfer import AdaptConfig, BaselineRecipe
from duoreid.core.tracklets import embed, of_images, of_tracklets


class Adaptation:
    """Host half of `baseline` and `mmt`: they differ in their networks and in the views that these see.

    data: the training sets, of which it reads "target". views: how many augmentations of a batch; one for each student.
    """

    def __init__(
        self,
        config: BaselineRecipe,
        data: Mapping[str, TrainingSet],
        *,
        views: int,
        seed: int | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.name, self.processes = config.method, processes
        self.config, self.seed = config, config.run.seed if seed is None else seed
        self.target, self.schedule, self.views = data["target"], config.adapt, views
        self.augmentation = augmentation(config.adapt)
        self._memory: dict[str, Any] = {}

    def learner_config(self) -> LearnerConfig:
        """A classifier row for each cluster."""
        adapt = self.schedule
        capacity = adapt.clusters if adapt.clustering == "kmeans" else max(64, self.target.split.units // 8)
        return LearnerConfig(
            method=self.name,
            section=adapt,
            network=self.config.network,
            capacity=capacity,
            classes=min(capacity, adapt.clusters),
            height=self.config.data.height,
            width=self.config.data.width,
            weight_decay=adapt.weight_decay,
        )

    def label(self, learner: Learner, epoch: int) -> Labelling:
        """Embed the target with the mean teachers, cluster, and give every network the centroids as classifier.

        Where the target comes in tracklets, these are clustered: their images share a label.
        """
        target = self.target
        features = embed(learner, target.images, self.config.run.evaluate_batch, target.split.tracklets)
        identities, memory = of_tracklets(target.split, target.split.identities), dict(self._memory)
        clustered, centroids = labelling(
            features, identities, self.schedule, seed=self.seed, epoch=epoch, memory=memory, processes=self.processes
        )
        self._memory = memory
        learner.relabel(centroids)
        return Labelling(of_images(target.split, clustered.labels), clustered.classes, clustered.facts)

    def sample(self, labelling: Labelling, epoch: int) -> np.ndarray:
        """P x K rows of the target, outliers left out."""
        cameras = self.target.split.cameras
        return rows_of_batches(self.schedule, labelling, cameras, seed=self.seed, epoch=epoch)

    def batch(self, labelling: Labelling, rows: np.ndarray, epoch: int, step: int) -> Batch:
        """One augmentation of the same rows for each student (D12)."""
        images = self.target.images[rows]
        views = [
            augment(images, self.augmentation, rng(self.seed, f"augment/{view}", epoch, step))
            for view in range(self.views)
        ]
        return Batch(np.stack(views), labelling.labels[rows])

    def rates(self, epoch: int, step: int) -> tuple[float, float]:
        """A constant rate; the teachers' decay counts iterations over all epochs from 0 (MMT, section 3.2)."""
        done = epoch * self.schedule.iterations + step
        limit = self.schedule.ema_limit if isinstance(self.schedule, AdaptConfig) else 0.0  # no teachers
        return self.schedule.rate, ema_decay(done, limit)

    def memory(self) -> dict[str, Any]:
        """The eps that DBSCAN's first epoch fixed."""
        return dict(self._memory)

    def remember(self, memory: dict[str, Any]) -> None:
        """Take back what `memory` returned."""
        self._memory = dict(memory)
