"""What the methods' recipes share."""

from __future__ import annotations

from duoreid.core.methods.augmentation import Augmentation
from duoreid.core.settings.config import ScheduleConfig


def augmentation(schedule: ScheduleConfig) -> Augmentation:
    """Return a stage's augmentation."""
    return Augmentation(
        flip=schedule.flip, padding=schedule.padding, erase=schedule.erase, erase_fill=schedule.erase_fill
    )
