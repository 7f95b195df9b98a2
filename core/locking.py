"""Locks between processes, on every system that Python knows; they fall with their process, however that ends.

filelock asks the system for the lock (flock on POSIX, byte ranges on Windows). Some network file systems have none.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

ABSENT = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP})
"""What systems answer where a file system has no locks."""


class NoLocksError(Exception):
    """The file system of a file has no locks."""


def hold(path: Path, *, wait: bool) -> BaseFileLock | None:
    """Lock a file, made where absent, and return its lock; None where another process has it and `wait` is false.

    NoLocksError where the file system has no locks; OSError where the file can be neither made nor written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        return None
    except NotImplementedError as error:  # how older releases of filelock say it
        raise NoLocksError(str(error)) from error
    except OSError as error:
        if error.errno in ABSENT:
            raise NoLocksError(str(error)) from error
        raise
    return lock


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a file's lock while the block runs, so that other processes wait their turn.

    Where the file system has no locks nobody waits: the block must do no harm to another process in the same block.
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
