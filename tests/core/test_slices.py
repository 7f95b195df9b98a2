"""The length of a thread's turns on a core: set for those that run and those that come, or left where it cannot be."""

import subprocess
import sys

import pytest

from duoreid.core.numeric import slices

THREE = """
import threading
from duoreid.core.numeric.slices import length, set_turns
{before}
start, taken, lengths = threading.Event(), [], []
def show():
    start.wait()
    lengths.append(length())
early = threading.Thread(target=show)
early.start()
system = length()
taken = set_turns(200_000)
late = threading.Thread(target=show)
late.start()
start.set()
early.join()
late.join()
print(system, taken, length(), *lengths)
"""


def lengths(before: str = "") -> list[str]:
    done = subprocess.run([sys.executable, "-c", THREE.format(before=before)], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout.split()


def test_all_threads_take_them_or_none():
    system, taken, *after = lengths()
    assert after == (["200000"] * 3 if taken == "True" else [system] * 3)


def test_a_policy_that_somebody_chose_is_kept():
    system, taken, *after = lengths("import os; os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))")
    assert taken == "False"
    assert after == [system] * 3


@pytest.mark.parametrize(("name", "value"), [("platform", "darwin"), ("machine", "s390x")])
def test_other_systems_are_left_alone(name, value, monkeypatch):
    if name == "platform":
        monkeypatch.setattr(slices.sys, "platform", value)
    else:
        monkeypatch.setattr(slices.platform, "machine", lambda: value)
    assert slices.length() is None
    assert not slices.set_turns()


def test_a_sandbox_that_forbids_it_is_no_error(monkeypatch):
    monkeypatch.setattr(slices, "_call", lambda *arguments: -1)
    assert not slices.set_turns()
