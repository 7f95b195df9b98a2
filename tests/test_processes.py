"""Jobs of several processes as a user meets them: they stop together, end together, and go on as one process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from duoreid.core.training import snapshot as moment
from tests.runs import ROOT, SMALL, options_of, small_data

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
LONG = ["--pretrain-iterations", "4000", "--save-every", "6", "--loss-every", "2"]


def start(*words):
    """Start a job of two processes from the repository's root."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*LAUNCH, *words], env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def new(folder, *argv):
    return ["--data", str(small_data()), *SMALL, "--threads", "1", "--output", str(folder), *argv]


def worker_of(process, index):
    """Return the process number of a process."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        if f"RANK={index}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            return int(child)
    raise AssertionError(f"no process {index} among {children}")


def wait_for(path, seconds=120):
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path} was never written"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of a run of two processes, of which the second alone was asked to stop, and what it printed."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with start(
        "backends.torch.train",
        "source",
        *options_of("source", new(folder, *LONG, "--batch-norm-group", "2")),
        "--threads",
        "1",
    ) as process:
        wait_for(folder / "last.safetensors")
        os.kill(worker_of(process, 1), signal.SIGTERM)
        printed, errors = process.communicate(timeout=120)
    return folder, process.returncode, printed, errors


def test_a_signal_to_one_process_stops_all(stopped):
    folder, status, printed, errors = stopped
    assert status != 0
    assert printed.count(f"go on with --resume {folder}") == 1
    assert errors.count("stopped by SIGTERM") == 1
    kept = moment.load(folder / "last.safetensors")
    assert kept.position.step > 0
    assert kept.position.step % 2 == 0, "not where losses are read"
    assert kept.progress.losses.done == kept.position.step


def test_a_process_that_dies_ends_the_job(tmp_path):
    folder = tmp_path / "run"
    with start(
        "backends.torch.train", "source", *options_of("source", new(folder, *LONG)), "--threads", "1"
    ) as process:
        wait_for(folder / "last.safetensors")
        os.kill(worker_of(process, 1), signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "process 0 has lost another one" in errors
    assert "Traceback" not in errors.split("process 0 has lost")[0]
