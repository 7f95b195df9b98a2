"""File systems that refuse what others know: writing goes on, what is weaker is said once; and leftovers of kills."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time

import pytest

from duoreid.core import filesystem
from duoreid.core.checkpoints import files
from duoreid.core.errors import UserError
from duoreid.core.settings.transfer import MMTRecipe
from duoreid.core.training.record import Record

REFUSALS = [errno.ENOSYS, errno.EPERM, errno.ENOTSUP, errno.EINVAL]
WORDS = {"fsync": "cannot be asked to bring", "replace": "cannot rename", "link": "no hard links"}


@pytest.fixture(autouse=True)
def said_nothing():
    filesystem.tell.cache_clear()


def refusing(code):
    def refuse(*given, **more):
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("code", REFUSALS, ids=errno.errorcode.get)
def test_a_run_is_possible(tmp_path, monkeypatch, capsys, name, code):
    monkeypatch.setattr(os, name, refusing(code))
    record = Record.begin(tmp_path / "run", MMTRecipe(), {})
    record.line("epoch", stage="mmt", epoch=0)
    for _ in range(2):
        record.save("state", {})
        filesystem.stand_for(record.folder / "state.safetensors", record.folder / "other.safetensors")
    record.close()
    assert files.load(tmp_path / "run" / "state.safetensors")[0] == {}
    assert not list((tmp_path / "run").glob(".*"))
    told = capsys.readouterr().err.splitlines()
    assert len(told) == (2 if name == "replace" else 1)  # without renames there is no second name either
    assert WORDS[name] in told[0]


@pytest.mark.parametrize("name", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT], ids=errno.errorcode.get)
def test_a_disk_that_is_full_or_broken_is_no_such_case(tmp_path, monkeypatch, name, code):
    (tmp_path / "file").write_bytes(b"before")
    monkeypatch.setattr(os, name, refusing(code))
    with pytest.raises(UserError, match="could not be written"):
        files.write_atomically(tmp_path / "file", b"after")
    assert (tmp_path / "file").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "open", refusing(errno.EACCES))
    filesystem.folder_to_disk(tmp_path)
    monkeypatch.setattr(os, "open", refusing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        filesystem.folder_to_disk(tmp_path)


def test_what_killed_processes_leave_is_removed(tmp_path):
    """By the next that writes the same file; what a living process writes stays, and other files do."""
    code = "import os; from duoreid.core.filesystem import temporary_name as t; print(t('f.npz')); print(t('export'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    file, folder = (tmp_path / name for name in done.stdout.split())
    file.write_bytes(b"half")
    mine, other = tmp_path / filesystem.temporary_name("f.npz"), tmp_path / ".f.npz.abcd1234-1-00000000"
    for path in (mine, other, tmp_path / ".f.npz.notes", tmp_path / ".g.npz.abcd1234-1-00000000"):
        path.write_bytes(b"kept")
    files.write_atomically(tmp_path / "f.npz", b"whole")
    assert not file.exists()
    assert {mine, other} <= set(tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == 5
    then = time.time() - 2 * filesystem.DAY
    os.utime(other, (then, then))
    folder.mkdir()
    (folder / "network.npz").write_bytes(b"half")
    filesystem.sweep(tmp_path, "f.npz")
    filesystem.sweep(tmp_path, "export")
    assert not other.exists()
    assert not folder.exists()
    assert mine.exists()
