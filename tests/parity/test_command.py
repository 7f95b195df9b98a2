"""`python -m benchmarks.parity` as a command: halves in files, a state of one's own, and what is refused."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from duoreid.benchmarks.parity import __main__ as command
from duoreid.benchmarks.parity import choices, halves, options, report
from duoreid.benchmarks.parity.compare import compare
from duoreid.benchmarks.parity.exam import Exam
from duoreid.benchmarks.parity.halves import Half
from duoreid.benchmarks.parity.record import record
from duoreid.benchmarks.parity.sampling import relative, sample
from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.errors import UserError
from duoreid.core.settings.config import NetworkConfig, as_dict
from duoreid.core.settings.presets import presets
from duoreid.core.settings.reading import from_dict
from tests.conformance.examples import MMT, example_state
from tests.conftest import probe_of
from tests.parity.gradients import apart
from tests.parity.halves import EXAM, mindspore_half, torch_half
from tests.tolerances import tolerance


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
    assert [batch["switched"] for batch in read.facts["single"]["switches"]] == [0] * EXAM.batches
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
    comparison = compare(first, second)
    assert not comparison.failed
    assert "Parity of torch and torch 2" in report.text(comparison)


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
        (["--mixed-groups"], "--mixed-groups means nothing to mmt"),
        (["--method", "mmt", "--preset", "mvd-sysu"], "is a recipe of mvd"),
        (["--preset", "mvd-syzu"], "Did you mean"),
        (["--method", "mvd", "--mixed-groups"], "--mixed-groups needs --shared-norm"),
        (["--method", "mvd", "--dropout", "1.5"], "dropout must be below 1"),
        (["--compare", "a", "b", "--smoothing", "0"], "--smoothing: with --compare the settings are those"),
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


def exam(*words):
    """The exam of a command line."""
    return options.exam_of(options.parser("").parse_args(words))


def test_a_preset_of_training_is_an_exam_s_with_options_over_it():
    asked = exam("--preset", "mvd-sysu-port", "--arch", "tiny", "--margin", "0.5", "--no-biases")
    recipe = presets()["mvd-sysu-port"]
    assert asked.method == "mvd"
    assert asked.network == replace(recipe.network, arch="tiny")
    kept = options.of_training("mvd").keys() - vars(asked.network).keys()
    wanted = {name: getattr(recipe.mvd, name) for name in kept} | {"margin": 0.5, "biases": False}
    assert {name: getattr(asked.learner.section, name) for name in kept} == wanted
    assert asked.rates(0) == (recipe.mvd.rate, 0.0)
    assert "conv_padding same" in asked.words["options"]
    assert "metric triplet" in asked.words["options"]
    assert from_dict(Exam(), json.loads(json.dumps(as_dict(asked)))) == asked
    assert exam("--last-stride", "2", "--hard-ce", "1").learner.section.hard_ce == 1
    assert exam().words["options"] == ""


@pytest.mark.parametrize("method", options.METHODS)
def test_what_training_can_set_is_an_option_or_changes_no_step(method):
    """A field that is new is an option at once; those left aside are shown to make no difference."""
    plain = Exam(method=method, size="32x16", people=6, identities=4, images=2, steps=2)
    section = fields(plain.learner.section)
    known = options.of_training(method)
    assert known.keys() >= {item.name for item in (*section, *fields(NetworkConfig))} - {*options.ASIDE}
    for item in [item for item in section if item.name not in {*known, "sampler"}]:
        choices, old = item.metadata.get("choices"), getattr(plain.learner.section, item.name)
        other = next(one for one in choices if one != old) if choices else (3,) if isinstance(old, tuple) else old + 0.5
        other = other if choices or isinstance(old, (tuple, float)) else old + 1
        moved = replace(plain, section={item.name: other})
        assert replace(moved.learner, section=plain.learner.section) == plain.learner, item.name
        assert moved.rates(1) == plain.rates(1), item.name
        np.testing.assert_array_equal(moved.batch(1).images, plain.batch(1).images)


RECIPES = {
    "the PyTorch code's": ["--preset", "mvd-sysu", "--batch-norm-group", "8", "--representation", "32"],
    "the port's": ["--preset", "mvd-sysu-port", "--optimiser", "sgd", "--stem-pool", "end", "--pooling", "gem"],
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_public_recipes_of_mvd_are_judged(name, shallow):
    """Mixed groups, one pass for each form, grey of the normalised image, uneven padding, biases, SGD; in torch."""
    words = ["--arch", "tiny", "--size", "32x16", "--identities", "4", "--images", "2", "--people", "6"]
    taken, probe = exam(*words, "--batches", "1", *RECIPES[name]), probe_of("torch")
    learner, double = (probe.make_learner(taken.learner, precision=one) for one in ("float32", "float64"))
    arrays, facts = record(taken, probe, learner, precision="float32", steps=0, held=True)
    assert max(max(errors.values()) for errors in facts["own"].values()) < tolerance("parity.own.float32")
    assert max(max(errors.values()) for errors in facts["rules"].values()) < tolerance("parity.rule.float32")
    assert set(facts["rules"]) == ({"adam", "adam.first", "adam.second"} if "code" in name else {"sgd", "sgd.momentum"})
    (told,) = facts["switches"]
    made = choices.of_batch(taken, 0)
    assert told["choices"] == sum(choice.chosen.size for one in made.values() for listed in one for choice in listed)
    assert told["switched"] < 1e-4 * told["choices"], "other choices than those of this network"
    assert len(made["shared"]) == 2
    true = choices.gradients(taken, probe, double, 0, {})[0]
    held = {name: arrays[f"held/0/{name}"] for name in true}
    assert apart(held, {name: sample(value) for name, value in true.items()}) < 1e-3
