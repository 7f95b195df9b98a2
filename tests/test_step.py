"""The speed command: one step of each method, and what it says of it."""

import json
import signal
import subprocess

import pytest

from duoreid.benchmarks import step
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.backbones import backbone
from duoreid.core.networks.network import network_tensors
from duoreid.core.settings.config import NetworkConfig

TINY = BackboneConfig(NetworkConfig(arch="tiny"), 32, 16)
SIZE = ["--arch", "tiny", "--height", "32", "--width", "16", "--identities", "4", "--images", "2", "--threads", "1"]


def trained(entries):
    return sum(int(entry.trained) * size(entry.shape) for entry in entries)


def size(shape):
    product = 1
    for side in shape:
        product *= side
    return product


@pytest.mark.long
@pytest.mark.parametrize("backend", ["torch", "mindspore"])
def test_mmt_is_measured_in_a_process_of_its_own(backend, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "step.json"
    argv = ["mmt", "--backend", backend, "--steps", "2", "--output", str(file), "--clusters", "6", *SIZE]
    assert step.main([*argv, "--batch-norm-group", "0"]) == 0
    row = json.loads(file.read_text())["rows"][0]
    assert (row["backend"], row["method"], row["steps"], row["images"]) == (backend, "mmt", 2, [2, 8, 32, 16])
    one = trained(network_tensors(TINY, 6)) + backbone("tiny").features  # the neck's frozen bias
    assert (row["trained_parameters"], row["parameters"]) == (2 * one, 4 * one)
    assert row["peak_bytes"] > 50e6
    assert row["device_bytes"] is None
    assert min(row["ms_a_step"], row["processor_ms_a_step"], row["first_step_ms"]) > 0
    shown = capsys.readouterr().out
    assert "2 views of 8 images, 32x16" in shown
    assert backend in shown


def test_mvd_by_default_is_the_published_step_of_its_objective():
    measured = step.measure("torch", ["mvd", *SIZE], 1)
    assert (measured["objective"], measured["images"]) == ("id+tri", [2, 8, 32, 16])
    one = trained(network_tensors(TINY, 206, representation=512, biases=True, neck_bias=True))
    assert measured["trained_parameters"] == 3 * one


@pytest.mark.parametrize(
    ("argv", "needles"),
    [
        (["mvd", "--steps", "0"], ["--steps", "at least 1"]),
        (["mvd", "--arch", "resnet5O"], ["resnet5O", "resnet50"]),
        (["mmt", "--preset", "mvd-sysu"], ["recipe of mvd"]),
    ],
    ids=["steps", "architecture", "preset"],
)
def test_mistakes_end_in_one_message(argv, needles, capsys):
    assert step.main(argv) == 2
    message = capsys.readouterr().err
    for needle in needles:
        assert needle in message


def test_what_was_measured_is_told_although_another_backend_was_killed(monkeypatch, tmp_path, capsys):
    row = step.measure("torch", ["mvd", *SIZE], 1)
    ends, run = [(0, json.dumps(row)), (-signal.SIGKILL, "")], subprocess.run

    def child(command, **options):
        if "--child" not in command:
            return run(command, **options)
        return subprocess.CompletedProcess(command, *ends.pop(0), "")

    monkeypatch.setattr(step.subprocess, "run", child)
    file = tmp_path / "step.json"
    assert step.main(["mvd", "--backend", "torch", "mindspore", "--output", str(file), *SIZE]) == 2
    told = capsys.readouterr()
    assert "torch" in told.out
    assert "mindspore: the system has killed it, most likely for memory" in told.err
    assert [one["backend"] for one in json.loads(file.read_text())["rows"]] == ["torch"]


def test_rows_stand_beside_those_of_other_options(monkeypatch, capsys):
    row, asked, run = step.measure("torch", ["mvd", *SIZE], 1), [], subprocess.run

    def child(command, **options):
        if "--child" not in command:
            return run(command, **options)
        asked.append(command[command.index("--steps") + 2 :])
        return subprocess.CompletedProcess(command, 0, json.dumps(row), "")

    monkeypatch.setattr(step.subprocess, "run", child)
    assert step.main(["mvd", "--beside=--no-triton", "--beside=--no-graph --no-triton", *SIZE]) == 0
    assert asked == [SIZE, [*SIZE, "--no-triton"], [*SIZE, "--no-graph", "--no-triton"]]
    shown = capsys.readouterr().out
    assert f"{row['about']}, --no-triton" in shown
    assert f"{row['about']}, --no-graph --no-triton" in shown
