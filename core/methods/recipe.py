"""What the methods' recipes share."""

from __future__ import annotations

from core.augment import Augmentation
from core.config import ScheduleConfig


def augmentation(schedule: ScheduleConfig) -> Augmentation:
    """Return a stage's augmentation."""
    return Augmentation(
        flip=schedule.flip, padding=schedule.padding, erase=schedule.erase, erase_fill=schedule.erase_fill
    )
