"""Exact resume: runs that SIGKILL ends wherever it likes come out bitwise as the run that nothing disturbed."""

import random
import signal
import time

import pytest

from tests.runs import SMALL, assert_same_run, finish, lines, small_data, start, train

CHAINS = {
    "torch": [("save", 2), ("embed", 1), ("cluster", 1), ("step", 3)],
    "mindspore": [("step", 6)],
}
"""Deaths one after the other. torch: as the second snapshot is renamed into place, in the test of stage 1, in the first
clustering, and in a step after a snapshot within the epoch; then at random. mindspore: in such a step.

Every process of MindSpore compiles its functions anew, so it trains the one network of the baseline, and
`benchmarks.soak` kills it at random."""

METHODS = {"torch": "mmt", "mindspore": "baseline"}


def data():
    return ["--data", str(small_data())]


@pytest.fixture(scope="module", params=["torch", pytest.param("mindspore", marks=pytest.mark.long)])
def reference(request, tmp_path_factory):
    """(backend, folder of a run from beginning to end, its seconds)."""
    folder = tmp_path_factory.mktemp(request.param) / "run"
    status, _, errors = finish(
        f"backends.{request.param}.train", METHODS[request.param], *data(), *SMALL, "--output", str(folder)
    )
    assert status == 0, errors
    return request.param, folder, lines(folder)[-1]["seconds"]


def test_killed_again_and_again(reference, tmp_path, capsys):
    backend, expected, seconds = reference
    folder, argv = tmp_path / "run", [METHODS[backend], *data(), *SMALL, "--output", str(tmp_path / "run")]
    for snapshot, count in CHAINS[backend]:
        status, _, errors = finish("tests.killed", backend, snapshot, str(count), *argv)
        assert status == -signal.SIGKILL, (snapshot, errors)
        argv = ["--resume", str(folder)]
    if backend == "torch":
        kill_at_random("backends.torch.train", argv, seconds)
    status, _, errors = finish(f"backends.{backend}.train", *argv)
    assert status == 0, errors
    assert_same_run(folder, expected)
    assert not list(folder.glob(".*")), "temporary files of killed saves are left"
    assert train(backend, *argv) == 0
    assert "has finished" in capsys.readouterr().out


def kill_at_random(module, argv, seconds):
    """Start a process and kill it at a random snapshot after it has begun; it may also have ended by then."""
    process = start(module, *argv)
    process.stdout.readline()
    time.sleep(random.uniform(0, seconds))
    process.kill()
    process.communicate()
