"""What the methods' recipes share."""

from __future__ import annotations

import numpy as np

from duoreid.core.methods.augmentation import Augmentation
from duoreid.core.methods.base import Labelling
from duoreid.core.methods.sampling import SAMPLERS
from duoreid.core.settings.config import ScheduleConfig
from duoreid.core.settings.transfer import ClusterConfig, PretrainConfig


def augmentation(schedule: ScheduleConfig) -> Augmentation:
    """Return a stage's augmentation."""
    return Augmentation(
        flip=schedule.flip, padding=schedule.padding, erase=schedule.erase, erase_fill=schedule.erase_fill
    )


def rows_of_batches(
    schedule: PretrainConfig | ClusterConfig, labelling: Labelling, cameras: np.ndarray, *, seed: int, epoch: int
) -> np.ndarray:
    """Return the P x K rows of every batch of an epoch, int64 (iterations, P * K); see core/methods/sampling.py."""
    return SAMPLERS[schedule.sampler](
        labelling.labels,
        cameras,
        identities=schedule.identities,
        images=schedule.images,
        iterations=schedule.iterations,
        seed=seed,
        epoch=epoch,
    )
