"""Signals: at once where nothing is lost, after the iteration where something would be."""

import os
import signal
import threading

import pytest

from duoreid.core.commands.command import guarded, out_of_memory
from duoreid.core.training.stop import Stop, Stopped


def send(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_at_once_outside_a_step(number, status, capsys):
    reached = []

    def action():
        with Stop().installed():
            send(number)
            reached.append("too far")

    assert guarded(action) == status
    assert not reached
    assert number.name in capsys.readouterr().err


def test_deferred_until_it_is_safe():
    stop, reached = Stop(), []

    def steps():
        with stop.installed(), stop.deferred():
            send()
            reached.append(stop.asked)
            stop.check()
            reached.append("too far")

    with pytest.raises(Stopped, match="SIGTERM"):
        steps()
    assert reached == [signal.SIGTERM]


def test_noted_at_the_very_end_it_is_not_forgotten():
    stop = Stop()
    with pytest.raises(Stopped), stop.installed(), stop.deferred():
        send()


def test_a_second_signal_does_not_wait():
    stop, reached = Stop(), []

    def steps():
        with stop.installed(), stop.deferred():
            send()
            reached.append("first")
            send(signal.SIGINT)
            reached.append("too far")

    with pytest.raises(Stopped, match="SIGINT"):
        steps()
    assert reached == ["first"]


def test_an_error_is_not_hidden_by_a_signal():
    stop = Stop()

    def steps():
        with stop.installed(), stop.deferred():
            send()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        steps()


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with Stop().installed():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_another_thread_installs_nothing():
    seen = []

    def work():
        with Stop().installed() as stop:
            seen.append((signal.getsignal(signal.SIGTERM), stop.asked))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(signal.getsignal(signal.SIGTERM), None)]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("shape mismatch"), False),
    ],
)
def test_what_counts_as_memory(error, expected, capsys):
    assert out_of_memory(error) is expected

    def action():
        raise error

    if expected:
        assert guarded(action) == 2
        assert "Lower --evaluate-batch" in capsys.readouterr().err
    else:
        with pytest.raises(RuntimeError):
            guarded(action)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            FileExistsError(17, "File exists", "/data/x"),
            "error: /data/x: File exists. Every state saved so far is whole.",
        ),
        (OSError("no route"), "error: no route"),
        (ValueError("a mistake"), "error: a mistake"),
    ],
)
def test_what_the_system_refuses_is_one_message(error, told, capsys):
    def action():
        raise error

    assert guarded(action) == 2
    assert capsys.readouterr().err.strip() == told
