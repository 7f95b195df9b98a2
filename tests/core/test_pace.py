"""What a run says of its speed, the time that is left and its memory."""

from types import SimpleNamespace

import pytest

from duoreid.core.training import memory, pace
from duoreid.core.training.loop import EpochReport


def test_the_rate_is_that_of_training_and_the_rest_that_of_all(monkeypatch):
    """640 images in 10 s of training; two epochs have taken 60 s with labels, saves and tests, and three are left."""
    now = [1000.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    clock = pace.Pace()
    clock.begin()
    now[0] += 60
    clock.epochs = 1
    report = EpochReport(1, label_seconds=5.0, train_seconds=10.0, images=640)
    assert clock.after("mmt", report, 5) == "64 images/s · about 90 s left in mmt"
    assert clock.after("mmt", EpochReport(4, train_seconds=10.0, images=640), 5) == "64 images/s"


def test_a_stage_that_is_taken_up_again_counts_from_there(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    clock = pace.Pace()
    now[0] = 500.0
    clock.begin()
    now[0] = 510.0
    assert clock.after("mmt", EpochReport(7), 10).endswith("about 20 s left in mmt")


@pytest.mark.parametrize(("seconds", "told"), [(0.4, "0 s"), (150, "2 min"), (6000, "1 h 40 min")])
def test_times_in_words(seconds, told):
    assert pace.in_words(seconds) == told


def test_memory(monkeypatch, tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmRSS:\t 1500000 kB\n")
    monkeypatch.setattr(memory, "STATUS", status)
    assert memory.in_words(SimpleNamespace(memory=lambda: 2_340_000_000)) == (
        " · 1.5 GB of memory · 2.3 GB on the device"
    )
    assert memory.in_words(SimpleNamespace(memory=lambda: None)) == " · 1.5 GB of memory"
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")  # no Linux
    assert memory.in_words(object()) == ""
