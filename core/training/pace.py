"""How fast a run goes, and how long its stage still takes, in words."""

from __future__ import annotations

import time

from duoreid.core.training.loop import EpochReport


class Pace:
    """Times the epochs of a stage from its beginning in this process: labels, iterations, saves and tests."""

    def __init__(self) -> None:
        self.began, self.epochs = time.monotonic(), 0

    def begin(self) -> None:
        """Note that the epochs of a stage begin, or go on."""
        self.began, self.epochs = time.monotonic(), 0

    def after(self, stage: str, epoch: EpochReport, epochs: int) -> str:
        """Return images a second in the epoch, and what is left of the stage's `epochs`, at the pace so far."""
        self.epochs += 1
        rate = epoch.images / epoch.train_seconds if epoch.train_seconds else 0.0
        words = f"{rate:.0f} images/s"
        left = epochs - epoch.epoch - 1
        if left:
            spent = (time.monotonic() - self.began) / self.epochs
            words += f" · about {in_words(left * spent)} left in {stage}"
        return words


def in_words(seconds: float) -> str:
    """Return a time as people say it.

    >>> in_words(59), in_words(600), in_words(9000)
    ('59 s', '10 min', '2 h 30 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
