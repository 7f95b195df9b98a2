"""The lock of a run's folder: one process at a time writes there, and the next one is told who does."""

from __future__ import annotations

import os
import re
import secrets
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from duoreid.core.errors import UserError
from duoreid.core.filesystem import tell
from duoreid.core.locking import MARK, NoLocksError, hold, marked

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK, HOLDER = "lock", "lock.holder"
"""Files: of the system's lock; naming who holds it."""


class FolderLock:
    """A folder that this process holds, until `release` or until the process ends."""

    def __init__(self, folder: Path, lock: BaseFileLock, *, new: bool = False) -> None:
        """Write beside the lock, which is held, who holds it; OSError where that cannot be written.

        new: the lock's file was not there before.
        """
        self.folder, self._lock, self._holder, self._new = folder, lock, folder / HOLDER, new
        self._words = f"process {os.getpid()} on {socket.gethostname()}"
        self._mark = f"{self._words}\n{secrets.token_hex(8)}\n"
        try:
            self._holder.write_text(self._mark, encoding="utf-8")
        except OSError:
            lock.release()
            raise

    def check(self) -> None:
        """Raise UserError where the folder is no longer the one that was locked: nothing may be written there.

        It was moved or removed, or its lock was, and another process may have taken it. What the two files say is
        compared, not their numbers on the disk: not every file system keeps those.
        """
        if not self.folder.is_dir():
            raise UserError(
                f"{self.folder} was moved or removed while the run was going, so nothing more is written. Put it back, "
                f"or go on with --resume and the place where it lies now."
            )
        try:
            mine = self._holder.read_text(encoding="utf-8", errors="replace") == self._mark
        except FileNotFoundError:
            mine = False
        if not mine or not Path(self._lock.lock_file).exists():
            raise UserError(
                f"the lock of {self.folder} was removed while the run was going: another run may have begun there, so "
                f"nothing more is written. Go on with --resume {self.folder} if none has."
            )

    def release(self, *, forget: bool = False) -> None:
        """Let another process take the folder. A second call does nothing. forget: remove the lock's file if new."""
        if self._lock.is_locked:
            with suppress(OSError):  # a name that is left behind does no harm: nobody asks for it while nobody holds
                if self._holder.read_text(encoding="utf-8", errors="replace") == self._mark:
                    self._holder.unlink(missing_ok=True)
            self._lock.release()
            if forget and self._new:
                with suppress(OSError):
                    Path(self._lock.lock_file).unlink(missing_ok=True)


def acquire(folder: Path) -> FolderLock:
    """Lock a folder, made where absent, for this process.

    UserError names the process that holds it, or says why the folder cannot be written.
    """
    advice = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        new = not (folder / LOCK).exists()
        try:
            lock = hold(folder / LOCK, wait=False)
        except NoLocksError:
            lock = marked(folder / MARK)
            tell(f"this file system has no locks: {MARK} in {folder} stands for one, and a kill leaves it behind.")
            advice = (
                f" If that process was killed, {folder / MARK} has outlived it, since here are no locks: remove it."
            )
        if lock is not None:
            return FolderLock(folder, lock, new=new)
    except OSError as error:
        raise UserError(
            f"{folder} cannot hold a run: {error.strerror}. Make it writable or choose another --output."
        ) from error
    raise UserError(
        f"{folder} is in use by {_holder(folder)}: two runs would overwrite each other. Wait for it to end, or choose "
        f"another --output.{advice}"
    )


def _holder(folder: Path) -> str:
    """Return who says to hold the folder."""
    try:
        return (folder / HOLDER).read_text(encoding="utf-8", errors="replace").split("\n")[0].strip()[
            :200
        ] or "another process"
    except OSError:
        return "another process"


def running(folder: Path) -> bool:
    """Whether a process holds the folder now.

    Asked is the lock, but only where a holder has named itself: to take a free lock for a moment could refuse a run
    that is about to begin.
    """
    try:
        words = (folder / HOLDER).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    named = re.match(r"process (\d+) on (.*)", words)
    if named and named[2] == socket.gethostname() and os.name != "nt" and not _alive(int(named[1])):
        return False
    if not (folder / LOCK).exists():
        return (folder / MARK).exists()
    try:
        lock = hold(folder / LOCK, wait=False)
    except (NoLocksError, OSError):
        return (folder / MARK).exists()
    if lock is None:
        return True
    lock.release()
    return False


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
