"""Processes that draw: from whatever script they are asked for, and gone with whoever has asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from duoreid.core.errors import UserError
from duoreid.datasets.synthetic import crew
from duoreid.datasets.synthetic.layouts import plan
from tests.runs import ROOT, signals_as_usual

SCRIPT = """
from duoreid.datasets.synthetic import generate
print(generate("synthetic-b", {folder!r}, size="tiny", workers=2, progress=False))
"""


def marked(mark: str) -> list[int]:
    """Return the processes that have inherited a mark in their environment."""
    processes = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark.encode() in (folder / "environ").read_bytes():
                processes.append(int(folder.name))
        except OSError:  # it has just ended, or is another user's
            continue
    return processes


def wait_until(condition, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("given", ["a file", "standard input"])
def test_a_script_without_a_guard(tmp_path, given):
    """`multiprocessing` would run the script again in each process, and wait for ever."""
    code = SCRIPT.format(folder=str(tmp_path))
    file = tmp_path / "script.py"
    file.write_text(code)
    words, text = ([str(file)], None) if given == "a file" else (["-"], code)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *words], input=text, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "synthetic-b")
    assert (tmp_path / "synthetic-b" / "manifest.json").is_file()


def seconds_of_a_start() -> float:
    """Return what starting Python takes now: some 0.02 s, and seconds where many others wait for the processor."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-I", "-S", "-c", "pass"], check=True)
    return time.monotonic() - began


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)]
)
def test_a_signal_leaves_nothing_running(tmp_path, number, status):
    mark = f"DUOREID_MARK={os.getpid()}-{number}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), **dict([mark.split("=")])}
    words = ["-m", "datasets.synthetic", "synthetic-a", str(tmp_path), "--size", "market", "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=signals_as_usual,
    )
    with process:
        drawn = tmp_path / ".synthetic-a.partial"
        assert wait_until(lambda: len(list(drawn.rglob("*.jpg"))) > 2, 120)
        assert len(marked(mark)) == 3
        patience = max(2, 20 * seconds_of_a_start())
        began = time.monotonic()
        process.send_signal(number)
        assert wait_until(lambda: not marked(mark), 10 + patience), "processes are left"
        seconds = time.monotonic() - began
        _, errors = process.communicate(timeout=10)
    assert process.returncode == status
    assert seconds < patience
    if number != signal.SIGKILL:
        assert f"stopped by {number.name}" in errors.splitlines()[-1]
        assert "Traceback" not in errors
    assert not (tmp_path / "synthetic-a").exists()


def tasks() -> list[tuple]:
    items = plan("synthetic-a", "tiny", 0).items[:4]
    return [items[:2], items[2:]]


def test_a_folder_that_cannot_be_written(tmp_path):
    """No folder for the images has been made: the error of the process that draws is the writer's."""
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: .*jpg"):
        list(crew.drawn("synthetic-a", tasks(), tmp_path, 0, 2))


def test_what_else_fails_is_told(tmp_path):
    with pytest.raises(UserError, match=r"has ended with status 1: .* or its error stands above"):
        list(crew.drawn("no such domain", tasks(), tmp_path, 0, 1))


def test_a_process_that_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(crew, "SERVE", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(UserError, match="has ended with status -9: it was killed"):
        list(crew.drawn("synthetic-a", tasks(), tmp_path, 0, 1))
