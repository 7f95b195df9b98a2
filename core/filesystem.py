"""What writing needs of a file system, where it may be missing: cluster, network and mounted ones answer in many ways.

A run goes on where one of these is refused; what is weaker then is said once.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import socket
import sys
import time
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path

REFUSED = frozenset(
    {errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EMLINK}
)
"""What systems answer where a file system does not know an operation. A full or broken disk is none of them."""

DAY = 86400.0


@cache
def tell(weaker: str) -> None:
    """Say once what is weaker here."""
    print(f"note: {weaker}", file=sys.stderr)


def to_disk(handle: int) -> None:
    """Bring an open file, or folder, to the disk, where that is known."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        tell("this file system cannot be asked to bring files to the disk: a power cut may cost the last save.")


def folder_to_disk(folder: Path) -> None:
    """Bring the names in a folder to the disk, where that is known; Windows has no handle of a folder."""
    if os.name == "nt":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno not in REFUSED | {errno.EACCES, errno.EISDIR}:
            raise
        return
    try:
        to_disk(handle)
    finally:
        os.close(handle)


def replace(old: Path, new: Path) -> None:
    """Rename a file over another; where renaming is not known, copy it there."""
    try:
        os.replace(old, new)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        shutil.copyfile(old, new)  # what is really forbidden is refused here as well
        old.unlink()
        tell("this file system cannot rename files: one that is killed while it is written is damaged.")


def stand_for(file: Path, name: Path) -> None:
    """Let a name stand for a file too, whatever it stood for before; nothing changes where there are no hard links."""
    link = name.parent / f".{name.name}.link"
    if not file.exists():
        return
    try:
        link.unlink(missing_ok=True)
        os.link(file, link)
        os.replace(link, name)
        link.unlink(missing_ok=True)  # POSIX: a rename onto another name of the same file does nothing
    except OSError:
        with suppress(OSError):
            link.unlink(missing_ok=True)
        tell(f"this file system has no hard links: {name.name} is not kept beside {file.name}.")


# -- what processes leave that are killed ---------------------------------------------------------------------------


def temporary_name(stem: str) -> str:
    """Return a new name for a file that is not yet whole; it says which process of which machine writes it."""
    return f".{stem}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"


def sweep(folder: Path, stem: str) -> None:
    """Remove what killed processes have left under `temporary_name(stem)`, files and folders.

    Left are those of a process of this machine that has ended, and those of any other that are a day old.
    """
    with suppress(OSError):  # nothing depends on it
        for path in folder.glob(f".{stem}.*-*-*"):
            machine, process, _ = path.name[len(stem) + 2 :].rsplit("-", 2)
            if process.isdigit() and _ended(machine, int(process), path):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _ended(machine: str, process: int, path: Path) -> bool:
    if machine == _machine() and os.name != "nt":  # Windows would end the process that it is asked for
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False
    return time.time() - path.stat().st_mtime > DAY


@cache
def _machine() -> str:
    return blake2b(socket.gethostname().encode(), digest_size=4).hexdigest()
