"""Standard output and error, guarded: no console, pipe or full disk behind them ends in a traceback, or costs a run.

A character that the encoding does not have is written as its escape. Each line is flushed, so that what cannot be
written is noticed at once, and not by the interpreter after the end. Lost output ends a command with one message; lost
messages end nothing, since there is nobody left to tell.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO

from duoreid.core.errors import UserError


class OutputError(UserError):
    """Standard output cannot be written any more."""


class Guarded:
    """A text stream in front of another one. name: what it is called, "" where its loss is not told."""

    def __init__(self, stream: TextIO, name: str = "") -> None:
        self.stream, self.name, self.lost = stream, name, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write, and flush whole lines; OutputError, the first time only, where a stream with a name is lost."""
        if not self.lost:
            try:
                self._write(text)
                if "\n" in text:
                    self.stream.flush()
            except OSError as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Flush; OutputError as in `write`."""
        if not self.lost:
            try:
                self.stream.flush()
            except OSError as error:
                self._lose(error)

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            encoding = self.stream.encoding or "ascii"
            self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def _lose(self, error: OSError) -> None:
        self.lost = True
        if self.name:
            raise OutputError(
                f"{self.name} could not be written: {error.strerror}. Every state saved so far is whole."
            ) from error

    def silence(self) -> None:
        """Let a lost stream's file be the null device: what is left in its buffer is written there at the end."""
        if self.lost:
            with suppress(OSError):  # a stream without a file has nothing that is written later
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self.stream.fileno())
                os.close(null)


@contextmanager
def guarded() -> Iterator[None]:
    """Guard both streams within the block. A stream that is closed, as by `>&-`, is the null device there."""
    if isinstance(sys.stdout, Guarded):
        yield
        return
    before = sys.stdout, sys.stderr
    with ExitStack() as stack:
        output, messages = (one or stack.enter_context(open(os.devnull, "w")) for one in before)
        sys.stdout, sys.stderr = Guarded(output, "standard output"), Guarded(messages)
        mine = sys.stdout, sys.stderr
        try:
            yield
        finally:
            for stream in mine:
                stream.silence()
            sys.stdout, sys.stderr = before
