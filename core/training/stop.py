"""Signals that ask to stop: after the running iteration, once its snapshot is kept; at once where nothing is to keep.

Besides SIGTERM and Ctrl-C those are SIGHUP, of a terminal or a connection that is closed, and SIGUSR1, by which Slurm
warns before it ends a job.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ALWAYS, UNLESS_IGNORED = ("SIGTERM", "SIGINT"), ("SIGHUP", "SIGUSR1")
"""Signals by name, since Windows has the first two alone. Ignored is SIGHUP below nohup, which must go on."""


class Stopped(KeyboardInterrupt):
    """A run was asked to stop. status: what the process should exit with, 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class Stop:
    """Turns these signals into `Stopped`. Until `installed` is entered nothing ever asks."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self._deferring = False

    @contextmanager
    def installed(self) -> Iterator[Stop]:
        """Handle the signals within the block. Python lets only the main thread do that: elsewhere nothing happens."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._handle) for number in _signals()}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)  # None: of a handler that is not Python's

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


def _signals() -> list[int]:
    known = [(name, getattr(signal, name)) for name in (*ALWAYS, *UNLESS_IGNORED) if hasattr(signal, name)]
    return [number for name, number in known if name in ALWAYS or signal.getsignal(number) != signal.SIG_IGN]
