"""Loggers beside metrics.jsonl: they see its numbers, and nothing that they do reaches the run."""

import sys
import threading
import time
from types import SimpleNamespace

import pytest

from duoreid.core.errors import UserError
from duoreid.core.settings.transfer import MMTRecipe
from duoreid.core.training import logs
from duoreid.core.training.logs import KINDS, Log, check_installed, opened
from duoreid.core.training.record import Record

LOSSES = {"stage": "mmt", "epoch": 0, "step": 2, "iteration": 2, "rate": 0.5, "ema": 0.9, "losses": {"total": 1.5}}
EPOCH = {"stage": "mmt", "epoch": 0, "facts": {"clusters": 7.0}, "label_seconds": 1.0, "train_seconds": 2.0}
TEST = {"network": "epoch 1, teacher 1", "search": "all", "mean_ap": 0.25, "rank1": 0.5, "mean_inp": 0.125}


def feed(log):
    log.line("run", {"backend": "torch"})
    for event, values in (("losses", LOSSES), ("epoch", EPOCH), ("test", TEST)):
        log.line(event, values)
    log.close()


class Writer:
    def __init__(self):
        self.seen, self.closed = [], False

    def write(self, values, step):
        self.seen.append((values, step))

    def close(self):
        self.closed = True


def test_every_number_comes_in_order():
    writer = Writer()
    feed(Log(lambda: writer, "test"))
    assert writer.seen == [
        ({"mmt/total": 1.5, "mmt/rate": 0.5}, 2),
        ({"mmt/clusters": 7.0, "mmt/seconds": 3.0}, 1),
        ({"test/teacher 1/mean_ap": 0.25, "test/teacher 1/rank1": 0.5, "test/teacher 1/mean_inp": 0.125}, 1),
    ]
    assert writer.closed


def test_a_run_without_results_makes_no_writer():
    made = []
    log = Log(lambda: made.append(1), "test")
    log.line("run", {})
    log.close()
    assert made == []


@pytest.mark.parametrize("where", ["make", "write", "close"])
def test_one_that_fails_is_told_once(where, capsys):
    class Failing(Writer):
        def write(self, values, step):
            if where == "write":
                raise ConnectionError("no server")

        def close(self):
            if where == "close":
                raise ConnectionError("no server")

    def make():
        if where == "make":
            raise ConnectionError("no server")
        return Failing()

    feed(Log(make, "test"))
    told = "warning: --log test has failed and is left out from here on (ConnectionError: no server)."
    assert capsys.readouterr().err.strip() == f"{told} metrics.jsonl has everything."


def test_one_that_hangs_costs_no_time(monkeypatch):
    monkeypatch.setattr(logs, "PATIENCE", 0.1)
    hanging = threading.Event()
    began = time.perf_counter()
    feed(Log(lambda: hanging.wait() and Writer(), "test"))
    assert time.perf_counter() - began < 5
    hanging.set()


def test_tensorboard_files_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "PATIENCE", 1000)
    feed(opened("tensorboard", tmp_path, {}))
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert file.name.startswith("events.out.tfevents")
    assert b"mmt/total" in file.read_bytes()
    assert b"test/teacher_1/mean_ap" in file.read_bytes()


def test_wandb_is_called_as_it_expects(tmp_path, monkeypatch):
    calls = []
    axes = []
    run = SimpleNamespace(
        log=calls.append,
        finish=lambda: calls.append("finished"),
        define_metric=lambda name, step_metric: axes.append((name, step_metric)),
    )
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **given: calls.append(given) or run))
    feed(opened("wandb", tmp_path, {"method": "mmt"}))
    assert calls[0] == {"project": "duoreid", "name": tmp_path.name, "dir": str(tmp_path), "config": {"method": "mmt"}}
    assert calls[1] == {"mmt/total": 1.5, "mmt/rate": 0.5, "iteration or epoch": 2}
    assert axes == [("*", "iteration or epoch")]
    assert calls[-1] == "finished"


def test_mlflow_is_called_as_it_expects(tmp_path, monkeypatch):
    calls = []
    names = ("start_run", "log_dict", "log_metrics", "end_run")
    library = {name: lambda *given, _name=name, **more: calls.append((_name, given, more)) for name in names}
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(**library))
    feed(opened("mlflow", tmp_path, {"method": "mmt"}))
    assert [call[0] for call in calls] == ["start_run", "log_dict", *["log_metrics"] * 3, "end_run"]
    assert calls[2] == ("log_metrics", ({"mmt/total": 1.5, "mmt/rate": 0.5},), {"step": 2})


def test_none_is_none(tmp_path):
    assert opened("none", tmp_path, {}) is None
    check_installed("none")


@pytest.mark.parametrize("name", KINDS)
def test_a_missing_library_is_told_at_the_start(name, monkeypatch):
    monkeypatch.setattr(logs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"--log {name} needs .* pip install 'duoreid\[{name}\]'"):
        check_installed(name)


def test_a_record_hands_its_lines_over(tmp_path):
    writer = Writer()
    record = Record.begin(tmp_path / "run", MMTRecipe(), {})
    record.log = Log(lambda: writer, "test")
    record.line("losses", **LOSSES)
    record.close()
    assert [step for _, step in writer.seen] == [2]
    assert writer.closed
