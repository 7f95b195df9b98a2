"""Galleries that are damaged, killed while they are added to, shared by two processes, or without locks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from duoreid import Gallery
from duoreid.core.errors import UserError
from duoreid.core.gallery import store
from duoreid.core.gallery.layout import COMMIT, FEATURES, RECORD
from duoreid.core.locking import MARK, NoLocksError
from tests.serving.conftest import PATTERN, picture


def test_a_newer_format_and_a_damaged_folder(gallery, model):
    about = gallery.folder / "gallery.json"
    text = about.read_text()
    about.write_text(text.replace('"format": 1', '"format": 3'))
    with pytest.raises(ValueError, match=r"newer version of duoreid \(format 3"):
        Gallery.open(gallery.folder, model)
    about.write_text(text)
    content = (gallery.folder / FEATURES).read_bytes()
    (gallery.folder / FEATURES).write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"damaged: features.bin has 1,151 bytes of 1,152"):
        Gallery.open(gallery.folder, model)
    (gallery.folder / FEATURES).write_bytes(content[:100] + b"xxxx" + content[104:])
    assert len(Gallery.open(gallery.folder, model).check().damaged) == 1
    (gallery.folder / COMMIT).unlink()
    with pytest.raises(ValueError, match=r"damaged: commit.json is missing"):
        Gallery.open(gallery.folder, model)


def test_what_lies_behind_the_commit_is_overwritten(gallery, model, cameras):
    """As a process leaves it that is killed after the features were written and before the commit."""
    for name in (FEATURES, "rows.bin", "files.bin", "identities.txt"):
        with (gallery.folder / name).open("ab") as file:
            file.write(b"\x07" * 999)
    again = Gallery.open(gallery.folder, model)
    assert len(again) == 12
    again.add(picture(cameras / "c3" / "11.png", 11), identities=["eleven"])
    assert again.check()
    assert again.identities[-1] == "eleven"
    assert (gallery.folder / "rows.bin").stat().st_size == 13 * RECORD.itemsize


def test_a_replaced_row_is_never_there_twice(gallery, model, cameras, monkeypatch):
    """Killed between the commit and the mark of the old row: the commit itself says that the old row is gone."""
    picture(cameras / "c0" / "0.png", 5, noise=9)

    class KilledError(Exception):
        pass

    def killed(*given, **named):
        raise KilledError

    monkeypatch.setattr(store.Writer, "mark", killed)
    with pytest.raises(KilledError):
        gallery.add(cameras, pattern=PATTERN)
    monkeypatch.undo()
    again = Gallery.open(gallery.folder, model)
    assert sorted(again.files) == sorted(map(str, cameras.rglob("*.png")))
    assert again.add(cameras, pattern=PATTERN).decoded == 0
    assert len(Gallery.open(gallery.folder, model)) == 12
    assert json.loads((gallery.folder / COMMIT).read_text())["removed"] == []


CHILD = """
import os, sys
from duoreid import Gallery
from tests.serving.conftest import plain_model
for line in sys.stdin:  # imported once, and forked for each line: no thread runs here
    if not (pid := os.fork()):
        Gallery.open(sys.argv[1], plain_model()).add(sys.argv[2], batch_size=2)
        os._exit(0)
    print(pid, flush=True)
    if line != "beside\\n":
        while True:
            try:
                os.wait()
            except ChildProcessError:
                break
        print("ended", flush=True)
"""


@pytest.fixture
def adding(tmp_path):
    """A process that starts others, each of which adds the folder `many` to the gallery."""
    root = Path(__file__).parents[2]
    words = [sys.executable, "-c", CHILD, str(tmp_path / "gallery"), str(tmp_path / "many")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(root)}, **pipes) as process:
        yield process
        process.stdin.close()


def started(process: subprocess.Popen, word: str = "alone") -> int:
    process.stdin.write(f"{word}\n")
    return int(process.stdout.readline())


def committed(folder: Path) -> int:
    try:
        return json.loads((folder / COMMIT).read_text())["rows"]
    except FileNotFoundError:
        return 0


def test_killed_at_random_moments(tmp_path, model, adding):
    """What was whole stays, nothing is there twice, and the next process goes on."""
    folder, random, grown = tmp_path / "many", np.random.default_rng(0), [0]
    for person in range(200):
        picture(folder / f"{person:03d}.png", person)
    for _ in range(12):
        pid, aim = started(adding), grown[-1] + int(random.integers(1, 20))
        while committed(tmp_path / "gallery") < aim:
            time.sleep(0.0005)
        time.sleep(random.uniform(0, 0.01))  # anywhere in the next batch
        os.kill(pid, signal.SIGKILL)
        assert adding.stdout.readline() == "ended\n"
        gallery = Gallery.open(tmp_path / "gallery", model)
        files = gallery.files
        assert len(set(files)) == len(files) >= aim
        assert gallery.check()
        grown.append(len(files))
    done = gallery.add(folder)
    assert (done.added, done.unchanged) == (200 - grown[-1], grown[-1])
    assert done.added > 0, "no process was killed in the middle"
    assert sorted(gallery.files) == sorted(map(str, folder.iterdir()))
    np.testing.assert_array_equal(gallery.features, model.embed(gallery.files))


def test_two_processes_take_turns(tmp_path, model, adding):
    folder = tmp_path / "many"
    for person in range(60):
        picture(folder / f"{person:02d}.png", person)
    started(adding, "beside")
    started(adding)
    assert adding.stdout.readline() == "ended\n"
    gallery = Gallery.open(tmp_path / "gallery", model)
    assert sorted(gallery.files) == sorted(map(str, folder.iterdir()))
    assert gallery.check()


def test_a_file_system_without_locks(tmp_path, model, cameras, monkeypatch, capsys):
    """A mark stands for the lock while one adds; who finds one is told what it may be."""

    def no_locks(path, *, wait):
        raise NoLocksError("none")

    monkeypatch.setattr(store, "hold", no_locks)
    gallery = Gallery.open(tmp_path / "gallery", model)
    assert gallery.add(cameras).added == 12
    assert not (gallery.folder / MARK).exists()
    assert capsys.readouterr().err.count("has no locks") == 1
    (gallery.folder / MARK).write_text("")
    with pytest.raises(UserError, match=rf"another process adds to .*{MARK} has outlived it"):
        gallery.add(cameras)
    assert len(gallery) == 12
