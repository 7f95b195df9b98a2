"""Standard output and error behind a guard: any encoding, pipes that break, disks that are full."""

import errno
import io
import os
import subprocess
import sys

import pytest

from duoreid.core.commands import streams
from duoreid.core.commands.command import guarded
from tests.runs import ROOT

TEXT = "mAP 12.3 ± 0.4 · José 行人 \udcff\n"


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "shift_jis", "koi8-r", "gb2312", "utf-8"])
def test_any_encoding(encoding, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding=encoding))

    def action():
        sys.stdout.write(TEXT)
        sys.stderr.write(TEXT)

    assert guarded(action) == 0
    assert raw.getvalue() == 2 * TEXT.encode(encoding, "backslashreplace")


def test_lost_output_ends_a_command_with_one_message(monkeypatch, capsys):
    stream = io.StringIO()
    stream.write = full
    monkeypatch.setattr(sys, "stdout", stream)
    reached = []

    def action():
        try:
            print("one")
        finally:
            print("another")  # nobody can read it: it is left out, and is no second error
            reached.append("here")

    assert guarded(action) == 2
    assert reached == ["here"]
    told = "error: standard output could not be written: No space left on device. Every state saved so far is whole."
    assert capsys.readouterr().err.strip() == told
    assert sys.stdout is stream


def test_output_that_is_lost_at_its_end(monkeypatch, capsys):
    stream = io.StringIO()
    stream.flush = full
    monkeypatch.setattr(sys, "stdout", stream)
    assert guarded(lambda: print("no line end", end="")) == 2
    assert "standard output could not be written" in capsys.readouterr().err


def test_lost_messages_end_nothing(monkeypatch, capsys):
    stream = io.StringIO()
    stream.write = full
    monkeypatch.setattr(sys, "stderr", stream)
    assert guarded(lambda: print("a warning", file=sys.stderr) or print("the result")) == 0
    assert capsys.readouterr().out == "the result\n"


def test_what_else_a_stream_can_is_the_same(monkeypatch):
    with streams.guarded():
        outer = sys.stdout
        with streams.guarded():
            assert sys.stdout is outer
        assert sys.stdout.isatty() == outer.stream.isatty()
        assert sys.stdout.encoding == outer.stream.encoding
    assert sys.stdout is outer.stream


def command(words: str, **options) -> subprocess.CompletedProcess:
    line = f"{sys.executable} -m {words}"
    return subprocess.run(["bash", "-c", line], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False, **options)


@pytest.mark.parametrize("words", ["duoreid --help", "duoreid train --help-all", "datasets.doctor --help"])
def test_commands_into_a_full_disk(words):
    """Without a guard the interpreter itself fails, with status 120, after the command has returned 0."""
    done = command(f"{words} > /dev/full")
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "error: standard output could not be written: No space left on device. Every state saved so far is whole."
    )


def test_commands_without_any_output():
    done = command("duoreid --help >&-")
    assert (done.returncode, done.stderr) == (0, "")
