"""Training, testing and searching need no module that only POSIX has: Windows has none of them."""

import subprocess
import sys

import pytest

from tests.runs import ROOT, SMALL, small_data

ABSENT = ("fcntl", "grp", "pwd", "resource", "termios", "syslog", "tty", "pty")
"""Modules of the standard library that https://docs.python.org lists as available on Unix alone."""

WITHOUT = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

for name in {ABSENT!r}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Absent())
"""
COMMAND = """
from duoreid.cli import main

status = main()
assert not set(sys.modules) & set(ABSENT), set(sys.modules) & set(ABSENT)
assert "search" not in sys.argv or not set(sys.modules) & {"scipy", "faiss", "torch._dynamo"}
sys.exit(status)
"""


def python(code: str, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", f"{WITHOUT}ABSENT = {ABSENT!r}\n{code}", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_modules_are_absent():
    done = python("import fcntl")
    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'fcntl'" in done.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run without them: images decoded into a cache, both stages, and snapshots."""
    folder, cache = tmp_path_factory.mktemp("without") / "run", tmp_path_factory.mktemp("cache")
    words = ["--data", str(small_data()), *SMALL, "--epochs", "1", "--threads", "1", "--output", str(folder)]
    done = python(COMMAND, "train", "--backend", "torch", *words, "--cache-folder", str(cache))
    assert done.returncode == 0, done.stderr
    assert "epoch 1, teacher 2" in done.stdout
    assert (folder / "last.safetensors").is_file()
    assert list(cache.iterdir())
    return folder


def test_a_second_process_is_told_who_holds_a_run(run):
    code = (
        "from pathlib import Path; from duoreid.core.training.locking import acquire\n"
        f"held = acquire(Path({str(run)!r}))\n"
        "try: acquire(held.folder)\n"
        "except ValueError as error: print(error)\n"
    )
    again = python(code)
    assert "is in use by process" in again.stdout, again.stderr


def test_an_evaluation_without_them(run):
    done = python(COMMAND, "evaluate", "--backend", "torch", str(run), "--data", str(small_data()), "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert "mAP" in done.stdout


def test_a_search_without_them(run, tmp_path):
    """Nor does it load what only training, clustering and re-ranking need: that took two thirds of its time."""
    pictures = small_data() / "synthetic-b" / "bounding_box_test"
    words = ["--query", str(min(pictures.glob("*.jpg"))), "--gallery", str(tmp_path / "kept"), "--add", str(pictures)]
    done = python(COMMAND, "search", str(run), *words, "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert "(the query itself)" in done.stdout
    assert not (tmp_path / "kept" / "lock.mark").exists()


def test_a_synthetic_set_is_made_without_them(tmp_path):
    code = "from duoreid.datasets.synthetic import generate; generate('synthetic-a', sys.argv[1], size='tiny')"
    done = python(code, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "synthetic-a" / "manifest.json").is_file()
