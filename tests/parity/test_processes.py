"""Processes that share each batch are one process with batch-norm groups: losses, weights, statistics, embedding.

torchrun and msrun start two processes; each forwards half of the rows. The reference is torch in one process, in double
precision, for both backends.
"""

import json
import os
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import learner_of
from tests.runs import ROOT
from tests.shared_out import case, run
from tests.tolerances import check_close

STEPS = 2
HALF = 4
"""Rows of a batch that each of two processes sees."""

LAUNCHERS = {
    "torch": ["torchrun", "--standalone", "--nproc-per-node", "2", "-m"],
    "mindspore": [
        *("msrun", "--worker_num", "2", "--local_worker_num", "2", "--master_addr", "127.0.0.1"),
        *("--master_port", "PORT", "--join", "True", "--log_dir", "log", "python", "-m"),
    ],
}

SPECS = {
    "torch": ["source/0/float64", "baseline/2/float64", "mmt/0/float64", "mvd/4/float64"],
    "mindspore": ["source/0/float32"],
}


def free_port() -> str:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    """A function: backend -> folder of what the processes wrote, run once each."""

    @cache
    def launch(backend: str) -> Path:
        folder = tmp_path_factory.mktemp(backend)
        binaries = str(Path(sys.executable).parent)
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOG_v": "3"}
        environment["PATH"] = f"{binaries}{os.pathsep}{os.environ['PATH']}"  # msrun starts the first `python`
        launcher = [str(Path(binaries) / LAUNCHERS[backend][0]), *LAUNCHERS[backend][1:]]
        command = [
            *(word if word != "PORT" else free_port() for word in launcher),
            "tests.shared_out",
            backend,
            str(folder),
            str(STEPS),
            *SPECS[backend],
        ]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        printed = done.stdout + "".join(log.read_text() for log in folder.glob("log/worker_*.log"))
        assert done.returncode == 0, printed + done.stderr
        return folder

    return launch


ALL = [(backend, spec) for backend, specs in SPECS.items() for spec in specs]


@pytest.mark.long
@pytest.mark.parametrize(("backend", "spec"), ALL)
def test_two_processes_are_one_with_groups(ranked, backend, spec):
    name, group, precision, *_ = spec.split("/")
    config = case(name, int(group) or HALF)
    expected = run(learner_of("torch", config, "float64"), config, STEPS)
    with np.load(ranked(backend) / f"{name}-{group}-{precision}.npz") as arrays:
        assert set(arrays) == set(expected)
        for tensor, value in expected.items():
            check_close(f"processes.{precision}", arrays[tensor], value, what=f"{spec}: {tensor}")


@pytest.mark.parametrize(("backend", "spec"), ALL)
def test_both_processes_hold_the_same_bytes(ranked, backend, spec):
    digests = [json.loads(file.read_text())[spec] for file in ranked(backend).glob("digests-*.json")]
    assert len(digests) == 2
    assert len(set(digests)) == 1
