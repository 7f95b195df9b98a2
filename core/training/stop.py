"""SIGTERM and Ctrl-C: stop after the running iteration, once its snapshot is kept; at once where nothing is to keep."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A run was asked to stop. status: what the process should exit with, 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class Stop:
    """Turns the two signals into `Stopped`. Until `installed` is entered nothing ever asks."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self._deferring = False

    @contextmanager
    def installed(self) -> Iterator[Stop]:
        """Handle both signals within the block. Python lets only the main thread do that: elsewhere nothing happens."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._deferring and self.asked is None:
            self.asked = number  # a second signal does not wait
            return
        raise Stopped(number)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block a first signal is only noted in `asked`, for `check` to raise."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        self.check()

    def check(self) -> None:
        """Raise Stopped if a signal has been noted."""
        if self.asked is not None:
            raise Stopped(self.asked)
