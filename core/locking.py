"""Locks between processes, on every system that Python knows; they fall with their process, however that ends.

filelock asks the system for the lock: flock on POSIX, byte ranges on Windows. Some network file systems have none. The
substitute, a file whose existence is the lock, outlives a process that is killed: `hold` never takes it, and who takes
`marked` must say what to do then.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

ABSENT = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP})
"""What systems answer where a file system has no locks."""

UNCLEAR = frozenset({errno.EPERM, errno.EINVAL})
"""What some answer there too, and all answer where a file may not be written at all."""


MARK = "lock.mark"
"""File whose existence is the lock where a file system has none."""


class NoLocksError(Exception):
    """The system, or the file system of a file, has no locks."""


def hold(path: Path, *, wait: bool) -> BaseFileLock | None:
    """Lock a file, made where absent, and return its lock; None where another process has it and `wait` is false.

    NoLocksError where there are no locks; OSError where the file can be neither made nor written.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    if issubclass(FileLock, SoftFileLock):
        raise NoLocksError(f"{path}: Python knows no locks of this system")
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        return None
    except OSError as error:
        if error.errno in ABSENT or (error.errno in UNCLEAR and _writable(path)):
            raise NoLocksError(str(error)) from error
        raise
    return lock


def marked(path: Path) -> BaseFileLock | None:
    """Make a file whose existence is the lock, and return it; None where it exists."""
    from filelock import SoftFileLock, Timeout

    lock = SoftFileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def _writable(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o644))
    except OSError:
        return False
    return True


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a file's lock while the block runs, so that other processes wait their turn.

    Where there are no locks nobody waits: the block must do no harm to another process in the same block.
    """
    try:
        lock = hold(path, wait=True)
    except NoLocksError:
        lock = None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
