"""A run that changes its backend in the middle of its adaptation, as from the shell, optimiser included."""

import importlib
import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.commands.command import train as train_command
from duoreid.core.training import snapshot as snapshot
from tests.runs import SMALL, lines, small_data, train
from tests.tolerances import check_close

SHORT = [*SMALL, "--epochs", "1", "--iterations", "4", "--precision", "float64", "--evaluate-batch", "128"]


def stop_in_step(backend, method, count, *argv):
    """Run in this process; SIGTERM comes in the midst of step number `count` of stage 2."""
    entry = importlib.import_module(f"duoreid.backends.{backend}.entry")

    def make(config, *rest):
        learner, calls = entry.BACKEND.make_learner(config, *rest), 0
        verb = learner.step

        def step(*given):
            nonlocal calls
            calls += config.method == method
            if calls == count:
                os.kill(os.getpid(), signal.SIGTERM)
            verb(*given)

        learner.step = step
        return learner

    return train_command(replace(entry.BACKEND, make_learner=make), entry.open_data, [method, *argv])


@pytest.fixture
def straight(method, tmp_path, shallow):
    """A run in torch from beginning to end."""
    folder = tmp_path / "straight"
    assert train("torch", method, "--data", str(small_data()), *SHORT, "--output", str(folder)) == 0
    return folder


@pytest.mark.long
@pytest.mark.parametrize(
    ("method", "giver", "taker"), [("mmt", "torch", "mindspore"), ("baseline", "mindspore", "torch")]
)
def test_the_other_backend_goes_on(straight, method, giver, taker, tmp_path, elsewhere):
    """In float64 the end is that of the straight run, to 1e-9; the record says who did what."""
    run = tmp_path / "run"
    argv = ["--data", str(small_data()), *SHORT, "--start", str(straight), "--output", str(run)]
    assert stop_in_step(giver, method, 2, *argv) == 143
    kept = snapshot.load(run / "last.safetensors")
    assert (kept.position.stage, kept.position.step, int(kept.state["adam.step"])) == (2, 2, 2)
    assert train(taker, "--resume", str(run)) == 0
    state, metadata = checkpoint.load(run / "last.safetensors")
    expected, _ = checkpoint.load(straight / "last.safetensors")
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert state[name].dtype == value.dtype, name
        check_close("parity.float64", state[name], value, what=name)
    since = [(part["backend"], part["since"]) for part in metadata["past"]["backends"]]
    assert since == [(giver, "the start"), (taker, "stage 2, epoch 1, iteration 2")]
    logged = [line for line in lines(run) if line["event"] in ("run", "resumed", "epoch")]
    assert [(line["event"], line["backend"]) for line in logged] == [
        ("run", giver),
        ("resumed", taker),
        ("epoch", taker),
    ]
    means = [
        next(line["losses"] for line in lines(folder) if line.get("stage") == method) for folder in (run, straight)
    ]
    for name, value in means[1].items():
        np.testing.assert_allclose(means[0][name], value, rtol=1e-9, err_msg=name)
