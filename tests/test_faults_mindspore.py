"""One chain of real faults in whole processes of MindSpore: each ends in one message, and the run goes on.

A process of MindSpore compiles for ten seconds, so the faults follow each other in one run: SIGTERM, a second process
on the folder, a flipped bit, Ctrl-C, a cut file and a full disk. `test_faults` causes these and more in torch, each
alone.
"""

from __future__ import annotations

import resource
import signal
import time

import pytest

from duoreid.core.training import snapshot as snapshot
from tests.runs import SMALL, finish, options_of, small_data, start

MODULE = "backends.mindspore.train"
ENDLESS = ["--pretrain-iterations", "100000", "--save-every", "40"]
INTERRUPTED = (130, 143)
"""Status after Ctrl-C. While MindSpore computes, a handler of its own sends SIGTERM instead."""


def position_of(path):
    return snapshot.load(path).position


def position(folder):
    return position_of(folder / snapshot.LAST)


def moments(folder):
    """Return the times at which the moments in a folder were written."""
    return {path.stat().st_mtime_ns for name in (snapshot.LAST, snapshot.PREVIOUS) if (path := folder / name).exists()}


def interrupt(number, folder, *argv):
    """Start a run and send a signal once it has saved a snapshot within an epoch -> (status, output, errors).
    Before SIGTERM a second process is tried on its folder.
    """
    before = moments(folder)
    process = start(MODULE, *argv)
    until = time.monotonic() + 240
    while not moments(folder) - before:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "no snapshot was ever saved"
        time.sleep(0.1)
    if number == signal.SIGTERM:
        refused, _, told = finish(MODULE, "--resume", str(folder))
        assert refused == 2
        assert f"is in use by process {process.pid} on" in told
    process.send_signal(number)
    printed, errors = process.communicate(timeout=120)
    return process.returncode, printed, errors


def damage(path, kind):
    content = bytearray(path.read_bytes())
    if kind == "flip":
        content[-100] ^= 4
    path.write_bytes({"flip": content, "cut": content[: len(content) // 2]}[kind])


@pytest.mark.long
def test_one_fault_after_the_other(tmp_path):
    folder = tmp_path / "run"
    argv = [
        "source",
        "--data",
        str(small_data()),
        *options_of("source", [*SMALL, *ENDLESS]),
        "--threads",
        "1",
        "--output",
        str(folder),
    ]

    status, printed, errors = interrupt(signal.SIGTERM, folder, *argv)
    assert status == 143, errors
    assert f"go on with --resume {folder}" in printed
    first = position(folder)
    assert first.step > 0

    damage(folder / snapshot.LAST, "flip")
    resume = ["--resume", str(folder)]
    status, printed, errors = interrupt(signal.SIGINT, folder, *resume)
    assert status in INTERRUPTED, errors
    assert "is damaged" in printed
    assert "Going on from previous.safetensors" in printed
    assert position(folder) > first

    damage(folder / snapshot.LAST, "cut")
    whole = folder / snapshot.PREVIOUS
    good, limit = position_of(whole), whole.stat().st_size - 1
    status, printed, errors = finish(
        MODULE, *resume, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    assert status == 2, errors
    assert "Going on from previous.safetensors" in printed
    assert "could not be written: File too large" in errors.splitlines()[-1]
    assert not list(folder.glob(".last*")), "the half-written file is left"
    assert position(folder) == position_of(whole) == good, "the damaged snapshot must not push out the good one"
