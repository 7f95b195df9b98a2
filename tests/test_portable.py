"""Training needs no module that only POSIX has: Windows has none of them."""

import subprocess
import sys

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
TRAIN = """
from duoreid.backends.torch.entry import BACKEND, open_data
from duoreid.core.commands.command import train

status = train(BACKEND, open_data)
assert not set(sys.modules) & set(ABSENT), set(sys.modules) & set(ABSENT)
sys.exit(status)
"""


def python(code: str, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", f"{WITHOUT}ABSENT = {ABSENT!r}\n{code}", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_modules_are_absent():
    done = python("import fcntl")
    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'fcntl'" in done.stderr


def test_a_run_without_them(tmp_path):
    """Images decoded into a cache, both stages, snapshots, and a second process that is told who holds the folder."""
    folder = tmp_path / "run"
    words = ["--data", str(small_data()), *SMALL, "--epochs", "1", "--threads", "1", "--output", str(folder)]
    done = python(TRAIN, *words, "--cache-folder", str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert "epoch 1, teacher 2" in done.stdout
    assert (folder / "last.safetensors").is_file()
    assert list((tmp_path / "cache").iterdir())
    code = (
        "from pathlib import Path; from duoreid.core.training.locking import acquire\n"
        f"held = acquire(Path({str(folder)!r}))\n"
        "try: acquire(held.folder)\n"
        "except ValueError as error: print(error)\n"
    )
    again = python(code)
    assert "is in use by process" in again.stdout, again.stderr


def test_a_synthetic_set_is_made_without_them(tmp_path):
    code = "from duoreid.datasets.synthetic import generate; generate('synthetic-a', sys.argv[1], size='tiny')"
    done = python(code, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "synthetic-a" / "manifest.json").is_file()
