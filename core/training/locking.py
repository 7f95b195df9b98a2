"""The lock of a run's folder: one process at a time writes there, and the next one is told who does."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from duoreid.core.errors import UserError
from duoreid.core.locking import NoLocksError, hold

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK, MARK, HOLDER = "lock", "lock.mark", "lock.holder"
"""Files: of the system's lock; whose existence is the lock where a file system has none; naming who holds it."""


class FolderLock:
    """A folder that this process holds, until `release` or until the process ends."""

    def __init__(self, folder: Path, lock: BaseFileLock) -> None:
        """Write beside the lock, which is held, who holds it; OSError where that cannot be written."""
        self.folder, self._lock, self._holder = folder, lock, folder / HOLDER
        try:
            self._holder.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
        except OSError:
            lock.release()
            raise

    def release(self) -> None:
        """Let another process take the folder. A second call does nothing."""
        if self._lock.is_locked:
            with suppress(OSError):  # a name that is left behind does no harm: nobody asks for it while nobody holds
                self._holder.unlink(missing_ok=True)
            self._lock.release()


def acquire(folder: Path) -> FolderLock:
    """Lock a folder, made where absent, for this process.

    UserError names the process that holds it, or says why the folder cannot be written.
    """
    advice = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = hold(folder / LOCK, wait=False)
        except NoLocksError:
            lock = _marked(folder / MARK)
            advice = (
                f" If that process was killed, {folder / MARK} has outlived it, since here are no locks: remove it."
            )
        if lock is not None:
            return FolderLock(folder, lock)
    except OSError as error:
        raise UserError(
            f"{folder} cannot hold a run: {error.strerror}. Make it writable or choose another --output."
        ) from error
    raise UserError(
        f"{folder} is in use by {_holder(folder)}: two runs would overwrite each other. Wait for it to end, or choose "
        f"another --output.{advice}"
    )


def _marked(path: Path) -> BaseFileLock | None:
    """Make a file whose existence is the lock, and return it; None where it exists."""
    from filelock import SoftFileLock, Timeout

    lock = SoftFileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def _holder(folder: Path) -> str:
    """Return who says to hold the folder."""
    try:
        return (folder / HOLDER).read_text(encoding="utf-8", errors="replace").strip()[:200] or "another process"
    except OSError:
        return "another process"
