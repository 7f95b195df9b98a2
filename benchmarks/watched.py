"""A learner and images under watch: how long a loop waits for a batch, and how long CUDA has nothing to do."""

from __future__ import annotations

import time
from typing import Any, Protocol

import numpy as np

from duoreid.core.contract.learner import Batch, Learner
from duoreid.core.data import Images


class Device(Protocol):
    """What a device says of the steps that it was given."""

    def begin(self) -> None:
        """Note that a step is about to be given."""

    def end(self) -> None:
        """Note that it was given."""

    def busy(self) -> float | None:
        """Return the share of time in which it had a step to do, None where that is not known; forget all steps."""


class Unknown:
    """A device that says nothing: on the CPU the loop itself computes."""

    def begin(self) -> None:
        """See Device."""

    def end(self) -> None:
        """See Device."""

    def busy(self) -> None:
        """See Device."""
        return


class Cuda:
    """CUDA events around each step: between the end of one and the beginning of the next the device has nothing to do.

    An event's time is that at which the device comes to it: where Python is ahead, the beginning follows at once.
    """

    def __init__(self) -> None:
        self.events: list[Any] = []

    def _note(self) -> None:
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self.events.append(event)

    begin = end = _note

    def busy(self) -> float | None:
        """See Device."""
        import torch

        torch.cuda.synchronize()
        events, self.events = self.events, []
        if len(events) < 2:
            return None
        steps = sum(begin.elapsed_time(end) for begin, end in zip(events[::2], events[1::2], strict=True))
        return min(1.0, steps / events[0].elapsed_time(events[-1]))


class Watched:
    """A learner that is stepped; the rest of the verbs pass through.

    waited: seconds between a step's end and the next one's beginning, without the reading of losses.
    """

    def __init__(self, learner: Learner, device: Device) -> None:
        self.learner, self.device = learner, device
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.waited, self.steps = 0.0, 0
        self._last = time.perf_counter()
        self.device.busy()

    def step(self, batch: Batch, rate: float, ema: float) -> None:
        """Step, between two looks at the clock."""
        self.waited += time.perf_counter() - self._last
        self.device.begin()
        self.learner.step(batch, rate, ema)
        self.device.end()
        self.steps += 1
        self._last = time.perf_counter()

    def losses(self) -> dict[str, float]:
        """Read the losses, which waits for the device."""
        values = self.learner.losses()
        self._last = time.perf_counter()
        return values

    def __getattr__(self, name: str) -> Any:
        return getattr(self.learner, name)


class Read:
    """Images whose reading is timed: `seconds`."""

    def __init__(self, images: Images) -> None:
        self.images, self.shape, self.seconds = images, images.shape, 0.0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        began = time.perf_counter()
        pixels = self.images[rows]
        self.seconds += time.perf_counter() - began
        return pixels
