"""Locks between processes: who holds one is named, a killed process holds none, file systems without locks."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest

from duoreid.core.errors import UserError
from duoreid.core.locking import NoLocksError, alone, hold
from duoreid.core.training.locking import HOLDER, MARK, acquire

ROOT = Path(__file__).parent.parent.parent
HOLD = """
import sys, time; from pathlib import Path
from duoreid.core.training.locking import acquire
held = acquire(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""
NO_LOCKS = [OSError(code, os.strerror(code)) for code in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)]


def holder(folder: Path) -> subprocess.Popen:
    """Start a process that holds a folder, and wait until it does."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_another_process_is_named_and_holds_nothing_once_it_is_killed(tmp_path):
    with holder(tmp_path / "run") as process:
        try:
            with pytest.raises(UserError, match=rf"in use by process {process.pid} on .*another --output\.$"):
                acquire(tmp_path / "run")
            assert hold(tmp_path / "run" / "lock", wait=False) is None
        finally:
            process.send_signal(signal.SIGKILL)
    assert (tmp_path / "run" / HOLDER).read_text().startswith(f"process {process.pid} on ")
    lock = acquire(tmp_path / "run")
    assert (tmp_path / "run" / HOLDER).read_text().startswith(f"process {os.getpid()} on ")
    lock.release()


def test_a_released_folder_can_be_taken_and_a_second_release_does_nothing(tmp_path):
    first = acquire(tmp_path)
    first.release()
    second = acquire(tmp_path)
    first.release()
    with pytest.raises(UserError, match=f"in use by process {os.getpid()} on"):
        acquire(tmp_path)
    second.release()
    assert not (tmp_path / HOLDER).exists()


def test_a_name_that_cannot_be_written_leaves_no_lock(tmp_path):
    (tmp_path / HOLDER).mkdir()
    with pytest.raises(UserError, match="cannot hold a run: Is a directory"):
        acquire(tmp_path)
    (tmp_path / HOLDER).rmdir()
    acquire(tmp_path).release()


@pytest.mark.parametrize("answer", NO_LOCKS, ids=str)
def test_a_file_system_without_locks(tmp_path, monkeypatch, answer):
    def refuse(self, timeout=None):
        raise answer

    monkeypatch.setattr(filelock, "FileLock", type("Refusing", (filelock.FileLock,), {"acquire": refuse}))
    with pytest.raises(NoLocksError):
        hold(tmp_path / "file", wait=True)
    with alone(tmp_path / "file"), alone(tmp_path / "file"):
        pass
    lock = acquire(tmp_path)
    with pytest.raises(UserError, match=rf"in use by process {os.getpid()} on .*{MARK} has outlived it"):
        acquire(tmp_path)
    lock.release()
    acquire(tmp_path).release()


def test_a_system_without_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(filelock, "FileLock", filelock.SoftFileLock)
    (tmp_path / "lock").touch()  # left by a process that had locks
    with pytest.raises(NoLocksError), alone(tmp_path / "lock"):
        hold(tmp_path / "lock", wait=True)
    lock = acquire(tmp_path)
    with pytest.raises(UserError, match=rf"in use by process {os.getpid()} on .*{MARK} has outlived it"):
        acquire(tmp_path)
    lock.release()


def test_other_refusals_are_told(tmp_path, monkeypatch):
    def refuse(self, timeout=None):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(filelock, "FileLock", type("Refusing", (filelock.FileLock,), {"acquire": refuse}))
    with pytest.raises(UserError, match="cannot hold a run: Input/output error"):
        acquire(tmp_path)
    with pytest.raises(OSError, match="Input/output error"), alone(tmp_path / "file"):
        raise AssertionError("the block runs without its lock")


def test_alone_waits_for_the_other(tmp_path):
    with holder(tmp_path) as process:
        began = time.perf_counter()
        killer = subprocess.Popen([sys.executable, "-c", f"import os, time; time.sleep(1); os.kill({process.pid}, 9)"])
        with alone(tmp_path / "lock"):
            waited = time.perf_counter() - began
            assert hold(tmp_path / "lock", wait=False) is None
        killer.wait()
    assert waited > 0.9
    lock = hold(tmp_path / "lock", wait=False)
    assert lock is not None
    lock.release()
