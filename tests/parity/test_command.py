"""`python -m benchmarks.parity` as a command: halves in files, a state of one's own, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from duoreid.benchmarks.parity import __main__ as command
from duoreid.benchmarks.parity import halves, options, report
from duoreid.benchmarks.parity.compare import compare
from duoreid.benchmarks.parity.halves import Half
from duoreid.benchmarks.parity.sampling import relative
from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.errors import UserError
from duoreid.core.settings.config import as_dict
from tests.conformance.examples import MMT, example_state
from tests.parity.halves import EXAM, mindspore_half, torch_half


@pytest.mark.long
def test_one_half_here_the_other_elsewhere(tmp_path, capsys):
    """--record runs a half in its own process; --compare reads two files; halves of different exams are refused."""
    first, second, other = (tmp_path / f"{name}.safetensors" for name in ("torch", "mindspore", "other"))
    size = ["--size", "32x16", "--identities", "4", "--images", "2", "--people", "6", "--steps", "3"]
    assert command.main([*size, "--record", str(first), "--backend", "torch", "--torch-device", "cpu"]) == 0
    assert f"--against {first}" in capsys.readouterr().out
    halves.save(mindspore_half(), second)
    read = halves.load(first)
    assert (read.backend, read.exam) == ("torch", EXAM)
    assert read.single["embedding/start"].dtype == np.float32
    assert read.double["embedding/start"].dtype == np.float64
    assert [found["switched"] for found in read.facts["single"]["switches"]] == [0] * EXAM.batches
    assert relative(read.single["held/0/student1.conv1.weight"], read.double["gradient/0/student1.conv1.weight"]) < 1e-4
    assert command.main(["--compare", str(second), str(first), "--json", str(tmp_path / "found.json")]) == 0
    assert "checks passed: parity" in capsys.readouterr().out
    assert json.loads((tmp_path / "found.json").read_text())["passed"]
    facts = {part: one | {"exam": as_dict(replace(EXAM, seed=2))} for part, one in read.facts.items()}
    halves.save(Half("torch", read.single, read.double, facts), other)
    assert command.main(["--compare", str(other), str(second)]) == 2
    assert "different settings" in capsys.readouterr().err
    facts = {part: one | {"digest": "0"} for part, one in read.facts.items()}
    halves.save(Half("torch", read.single, read.double, facts), other)
    assert command.main(["--compare", str(other), str(second)]) == 2
    assert "different bytes" in capsys.readouterr().err
    facts = {part: one | {"steps": 7} for part, one in read.facts.items()}
    halves.save(Half("torch", read.single, read.double, facts), other)
    assert command.main(["--compare", str(other), str(second)]) == 2
    assert "3 and 7 steps in float64" in capsys.readouterr().err
    assert command.main(["--against", str(first), "--double-steps", "5"]) == 2
    assert "has 3 steps in float64" in capsys.readouterr().err


@pytest.mark.long
def test_two_halves_of_one_backend_keep_their_names_apart(tmp_path):
    """One on the CPU, the other on an accelerator: the second gets a number."""
    paths = [tmp_path / name for name in ("one.safetensors", "two.safetensors")]
    for path in paths:
        halves.save(torch_half(), path)
    first, second = command.pair(options.parser("").parse_args(["--compare", *map(str, paths)]))
    assert (first.backend, second.backend) == ("torch", "torch 2")
    found = compare(first, second)
    assert not found.failed
    assert "Parity of torch and torch 2" in report.text(found)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {"torch single": 3, "torch double": 3, "mindspore single": 0, "mindspore double": 0}),
        (["--envelope", "1", "--double-envelope", "2"], {"torch single": 1, "torch double": 2}),
        (
            ["--double", "torch"],
            {"torch single": 3, "torch double": 0, "mindspore single": 0, "mindspore double": None},
        ),
        (["--against"], {"torch single": None, "mindspore single": 0, "mindspore double": 0}),
        (["--against", "--envelope", "2"], {"torch single": None, "mindspore single": 2, "mindspore double": 0}),
    ],
)
def test_who_runs_from_disturbed_weights(words, expected, tmp_path, monkeypatch):
    """The half that is run first; the second of two machines where it is asked to. float64 is torch's device's too."""
    path, jobs = tmp_path / "half.safetensors", {}
    halves.save(torch_half(), path)
    made = {"torch": torch_half(), "mindspore": mindspore_half()}

    def run(job, folder, part):
        jobs[f"{job['backend']} {part}"] = job
        return getattr(made[job["backend"]], part), dict(made[job["backend"]].facts[part])

    monkeypatch.setattr(command, "_run", run)
    words = [word for one in words for word in ([one, str(path)] if one == "--against" else [one])]
    command.pair(options.parser("").parse_args([*words, "--torch-device", "cuda", "--torch-compile"]))
    assert {name: jobs[name]["draws"] if name in jobs else None for name in expected} == expected
    if "torch double" in jobs:
        assert jobs["torch double"]["runtime"] == {"device": "cuda"}
        assert jobs["torch single"]["runtime"] == {"device": "cuda", "compile": True}
    if "mindspore double" in jobs:
        assert jobs["mindspore double"]["runtime"] == {"device": "cpu"}


def test_a_run_s_checkpoint_is_a_starting_state(tmp_path):
    """Its weights, with a fresh optimiser; elsewhere on another machine; one that does not fit is refused."""
    path, file = tmp_path / "last.safetensors", tmp_path / "half.safetensors"
    checkpoint.save(path, example_state(MMT), {})
    exam = replace(EXAM, state=str(path))
    assert exam.learner == EXAM.learner
    assert exam.start["adam.step"] == 0
    np.testing.assert_array_equal(exam.start["student1.conv1.weight"], example_state(MMT)["student1.conv1.weight"])
    assert exam.digest != EXAM.digest
    halves.save(torch_half(), file)
    moved = halves.load(file, str(path))
    assert moved.exam == exam
    halves.check_same(moved, torch_half())
    with pytest.raises(UserError, match="does not fit method 'baseline'"):
        _ = replace(exam, method="baseline").start


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "256"], "HEIGHTxWIDTH"),
        (["--arch", "resnet52"], "invalid choice"),
        (["--method", "mvv"], "invalid choice"),
        (["--steps", "0"], "at least 1"),
        (["--compare", "/nowhere/a", "/nowhere/b"], "is not a file"),
        (["--state", "/nowhere/a", "--record", "b.safetensors"], "is not a file"),
        (["--torch-device", "cuda", "--record", "b.safetensors"], "no CUDA device"),
        (["--size", "8x8"], "height must be at least 32"),
        (["--people", "3"], "a batch shows 4 of them"),
        (["--batch-norm-group", "3"], "does not divide the 16 images"),
        (["--backend", "torch"], "--record or --against"),
        (["--envelope", "-1"], "at least 0"),
        (["--double-envelope", "2", "--double", "torch"], "gives the limit where both"),
        (["--record", "/nowhere/b"], "cannot be written"),
        (["--plot", "curves.jpg"], "ends in .png"),
        (["--record", "b", "--json", "b.json"], "--json needs both halves"),
        (["--against", "a", "--steps", "5"], "--steps: with --against the settings are those of the recorded file"),
        (["--compare", "a", "b", "--record", "c"], "--compare runs nothing"),
    ],
)
def test_mistakes_are_told(words, message, capfd):
    try:
        status = command.main(words)
    except SystemExit as error:  # argparse's own
        status = error.code
    assert status == 2
    assert message in capfd.readouterr().err


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{", b"[1]", b'{"exam": {}}'])
def test_a_file_that_is_no_report_is_refused(content, tmp_path, capsys):
    path = tmp_path / "other.json"
    assert report.main([str(path)]) == 2
    assert "is not a file" in capsys.readouterr().err
    path.write_bytes(content)
    assert report.main([str(path)]) == 2
    assert "is no report of python -m benchmarks.parity --json" in capsys.readouterr().err
