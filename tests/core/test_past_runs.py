"""`duoreid runs` and `duoreid compare`: what they read from folders of runs, worked out by hand."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from duoreid.cli import main
from duoreid.core.checkpoints import files
from duoreid.core.commands import compare
from duoreid.core.training import past
from duoreid.core.training.locking import acquire
from tests.core.test_locking import HOLD
from tests.runs import ROOT


def result(epoch: int, network: str, score: float) -> dict:
    metrics = {"mean_ap": score, "rank1": score / 2, "rank5": 0.5, "rank10": 0.75, "rank20": 1.0, "mean_inp": 0.25}
    return {"event": "test", "seconds": 5.0 * epoch, "network": f"epoch {epoch}, {network}", "search": "all", **metrics}


def make(folder: Path, scores: list[tuple[float, float]], *, seed=1, rate=0.5, finished=True) -> Path:
    """Write a run of two teachers, tested after every epoch of its last stage."""
    folder.mkdir(parents=True)
    settings = {"method": "mmt", "adapt": {"rate": rate}, "run": {"seed": seed, "output": str(folder)}}
    (folder / "config.json").write_text(json.dumps(settings | {"backend": {"backend": "torch"}}))
    lines = [
        {"event": "run", "seconds": 0.0},
        {"event": "epoch", "seconds": 1.0, "stage": "stage 1, network 1", "epoch": 0},
        {**result(1, "network 1", 0.125), "network": "source only, network 1"},
    ]
    for epoch, (one, two) in enumerate(scores, 1):
        lines.append({"event": "epoch", "seconds": 5.0 * epoch, "stage": "mmt", "epoch": epoch - 1})
        lines += [result(epoch, "teacher 1", one), result(epoch, "teacher 2", two)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if finished:
        (folder / "summary.json").write_text("{}")
    return folder


@pytest.fixture
def runs(tmp_path):
    """Two seeds of one setting, and one run of another."""
    make(tmp_path / "a", [(0.25, 0.25), (0.5, 0.25)])
    make(tmp_path / "b", [(0.25, 0.25), (0.5, 0.75)], seed=2)
    make(tmp_path / "c", [(0.125, 0.125)], rate=0.25, finished=False)
    return tmp_path


def test_the_last_results_are_means_over_what_was_tested_together(runs):
    run = past.read(runs / "b")
    assert [epoch for epoch, _ in run.tests()] == [1, 2]
    assert run.metrics()["mean_ap"] == 0.625
    assert run.metrics()["rank1"] == 0.3125
    assert run.seconds == 10.0


def test_before_the_last_stage_the_source_counts(tmp_path):
    assert past.read(make(tmp_path / "run", [])).metrics()["mean_ap"] == 0.125


def test_trials_of_several_models_come_from_the_summary(runs):
    searches = [{"mean": dict.fromkeys(past.METRICS.values(), value)} for value in (0.25, 0.75)]
    (runs / "a" / "summary.json").write_text(json.dumps({"searches": searches}))
    assert past.read(runs / "a").metrics()["mean_ap"] == 0.5


def test_runs_that_differ_in_their_seed_are_one(runs, capsys):
    assert main(["compare", *(str(runs / name) for name in "abc"), "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["settings"] == {"adapt.rate": [0.5, 0.25]}
    one, two = table["groups"]
    assert (one["name"], one["seeds"]) == ("a", [1, 2])
    assert one["metrics"]["mean_ap"] == [0.5, pytest.approx(np.std([0.375, 0.625], ddof=1))]
    assert two["metrics"]["mean_ap"] == [0.125, None]
    assert two["states"] == ["stopped at the start"]
    assert (one["seconds"], two["seconds"]) == (10.0, 5.0)


def test_the_tables(runs, capsys):
    assert main(["compare", *(str(runs / name) for name in "abc")]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "settings that differ a c"
    assert "adapt.rate 0.5 0.25" in lines
    assert any(line.startswith("a 50.0 ± 17.7 25.0 ± 8.8") and " 2 10" in line for line in lines)
    assert any(line.startswith("c 12.5 6.2") and line.endswith("1 5 stopped at the start") for line in lines)


def test_runs_of_one_name_are_told_apart_by_their_folders(runs, capsys):
    shutil.copytree(runs / "c", runs / "other" / "a")
    assert main(["compare", str(runs / "a"), str(runs / "other" / "a")]) == 0
    first, *_ = capsys.readouterr().out.splitlines()
    assert " ".join(first.split()) == f"settings that differ {runs.name}/a other/a"


def test_the_plot(runs):
    file = runs / "plot.png"
    assert main(["compare", str(runs / "a"), str(runs / "c"), "--plot", str(file)]) == 0
    assert file.read_bytes().startswith(b"\x89PNG")


def test_a_plot_of_an_unknown_kind(runs, capsys):
    assert main(["compare", str(runs / "a"), str(runs / "c"), "--plot", str(runs / "plot.xyz")]) == 2
    assert "plot.xyz could not be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a"], "two runs or more"),
        (["a", "a/../a"], "two runs or more"),
        (["a", "nowhere"], "holds no run: its config.json cannot be read"),
    ],
)
def test_what_cannot_be_compared(runs, capsys, words, told):
    assert main(["compare", *(str(runs / word) for word in words)]) == 2
    assert told in capsys.readouterr().err


def test_the_list_of_runs(runs, capsys):
    """The newest first; a config.json that is no run's is passed over, and one that is damaged is told."""
    for name, age in (("a", 7200), ("b", 90), ("c", 200000)):
        then = time.time() - age
        os.utime(runs / name / "metrics.jsonl", (then, then))
    (runs / "other").mkdir()
    (runs / "other" / "config.json").write_text('{"model": "of another program"}')
    (runs / "broken").mkdir()
    (runs / "broken" / "config.json").write_text("{")
    state = {"x": np.zeros(1, np.float32)}
    position = {"stage": 2, "network": 0, "epoch": 4, "step": 7}
    files.save(runs / "c" / "last.safetensors", state, {"position": position})
    assert main(["runs", str(runs)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[2:]]
    assert "unreadable" in lines[0]
    assert lines[1:] == [
        f"{runs / 'b'} mmt torch finished 62.5 2 min",
        f"{runs / 'a'} mmt torch finished 37.5 2 h",
        f"{runs / 'c'} mmt torch stopped at stage 2, epoch 5, iteration 7 12.5 2 d",
    ]


def test_no_runs(tmp_path, capsys):
    assert main(["runs", str(tmp_path)]) == 0
    assert f"no runs in {tmp_path}" in capsys.readouterr().out
    assert main(["runs", str(tmp_path / "nowhere")]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_a_run_that_is_going_on_and_one_that_was_killed(runs):
    process = subprocess.Popen([sys.executable, "-c", HOLD, runs / "c"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout.readline() == "held\n"
            assert past.read(runs / "c").state() == "running"
        finally:
            process.send_signal(signal.SIGKILL)
    before = sorted(path.name for path in (runs / "c").iterdir())
    assert past.read(runs / "c").state() == "stopped at the start"
    assert sorted(path.name for path in (runs / "c").iterdir()) == before
    lock = acquire(runs / "c")  # to look has left no lock behind
    assert past.running(runs / "c")
    lock.release()
    assert not past.running(runs / "c")


def test_a_damaged_last_snapshot(runs):
    (runs / "c" / "last.safetensors").write_bytes(b"nothing")
    assert past.read(runs / "c").state() == "stopped at an unreadable last.safetensors"


def test_lines_that_are_not_whole(runs):
    path = runs / "a" / "metrics.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"event": "te')
    assert past.read(runs / "a").metrics()["mean_ap"] == 0.375
    path.write_text('{"event": "te\n' + whole)
    with pytest.raises(ValueError, match="line 1 is no JSON"):
        past.read(runs / "a")
    path.write_text("[1]\n" + whole)
    with pytest.raises(ValueError, match="line 1 is none that a run has written"):
        past.read(runs / "a")


def test_settings_that_change_no_result_are_left_aside(runs):
    one, two = past.read(runs / "a"), past.read(runs / "b")
    assert compare.decisive(one) == compare.decisive(two)
