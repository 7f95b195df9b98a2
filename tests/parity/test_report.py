"""`python -m benchmarks.parity`: the two backends pass, planted faults do not, and the report names them."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from backends.torch import optimiser
from benchmarks.parity import __main__ as command
from benchmarks.parity import choices, doubles, halves, judge, report, switches, table, trajectories
from benchmarks.parity.compare import compare, compiled, double, gradients
from benchmarks.parity.exam import Exam, disturbed, picture
from benchmarks.parity.halves import Half
from benchmarks.parity.plot import plot
from benchmarks.parity.record import record, training
from benchmarks.parity.sampling import LIMIT, relative, sample
from core import checkpoint
from core.agreement import agreement
from core.config import as_dict
from core.errors import UserError
from tests.conformance.examples import MMT, example_state
from tests.conftest import learner_of, probe_of
from tests.parity.faults import FAULTS
from tests.tolerances import tolerance

EXAM = Exam(size="32x16", identities=4, images=2, people=6, steps=3)


@cache
def seen(backend: str, precision: str = "float32", draws: int = 0):
    return record(
        EXAM,
        probe_of(backend),
        learner_of(backend, EXAM.learner, precision),
        precision=precision,
        steps=EXAM.steps,
        draws=draws,
    )


def half(name, single, double=None):
    """A half of records as `seen` returns them."""
    about = {"backend": name, "about": f"{name} for a test", "exam": as_dict(EXAM)}
    found = {"single": single} | ({"double": double} if double else {})
    return halves.join({part: (arrays, facts | about) for part, (arrays, facts) in found.items()})


@cache
def torch_half():
    return half("torch", seen("torch", draws=3), seen("torch", "float64", draws=1))


@cache
def mindspore_half():
    return half("mindspore", seen("mindspore"), seen("mindspore", "float64"))


def failed(checks):
    return [check for check in checks if not check.passed]


def test_the_exam_shares_its_learner_with_the_other_tests():
    """Compiled once a session: the configuration is that of the other parity tests."""
    assert EXAM.learner == MMT


def test_both_probes_look_at_layers_and_gradients_alike():
    for name in ("layers", "gradients_of"):
        ours, theirs = (inspect.signature(getattr(probe_of(backend), name)) for backend in ("torch", "mindspore"))
        assert list(ours.parameters) == list(theirs.parameters), name


def test_the_backends_pass():
    checks = compare(torch_half(), mindspore_half())
    assert not failed(checks)
    parts = {check.part for check in checks}
    assert {"own, single", "own, double", "layers", "losses", "gradients", "embeddings", "double", "training"} <= parts
    assert {check.what for check in checks if check.part == "own, single"} >= {
        "test, layer4.0.conv2",
        "train, layer4.0.bn2.running_var",
        "train, neck",
    }


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_named(name, monkeypatch):
    fault = FAULTS[name]
    with monkeypatch.context() as patch:
        learner = fault.plant(patch, EXAM.learner)
        arrays, facts = record(EXAM, probe_of("torch"), learner, precision="float32", steps=0)
    wrong = half("faulty", (arrays, facts))
    checks = compare(torch_half(), wrong)
    found = report.culprit(failed(checks))
    assert (found.part, found.what) == (fault.part, fault.what)
    assert found.who in ("faulty", "apart")
    text = report.text(torch_half(), wrong, checks)
    assert "NO PARITY" in text
    assert f"Look first at: {fault.part}: {fault.what}" in text
    assert found.rule in text or found.part.startswith("losses")


def test_a_missing_relu_is_told_in_words():
    rules = {
        stage.name: stage.rule
        for stage in judge.stages(EXAM.learner, student(), np.zeros((2, 32, 16, 3), np.uint8), None, train=False)
    }
    assert rules["layer3.0.conv2"] == "3x3 convolution of relu(layer3.0.bn1), stride 1, padding 1"
    assert rules["layer4.0.conv1"] == "3x3 convolution of layer3.0, stride 1, padding 1"
    assert rules["maxpool"] == "largest of 3x3 windows of relu(bn1), stride 2, padding 1"


def student():
    return {name.removeprefix("student1."): v for name, v in EXAM.start.items() if name.startswith("student1.")}


def test_another_rate_leaves_the_envelope():
    """What no layer shows is found in the training: everything else passes."""
    learner = learner_of("torch", EXAM.learner)
    verb = learner.step
    learner.step = lambda batch, rate, ema: verb(batch, (1.2 if rate < 1e-2 else 1) * rate, ema)
    try:
        other = record(EXAM, probe_of("torch"), learner, precision="float32", steps=EXAM.steps)
    finally:
        del learner.step
    wrong = failed(compare(torch_half(), half("faulty", other)))
    assert wrong
    assert {check.part for check in wrong} == {"training"}


def test_noise_alone_passes_and_far_more_of_it_does_not():
    base, learner = seen("torch", draws=3)[0], learner_of("torch", EXAM.learner)
    own = {name: value for name, value in base.items() if not name.startswith("noise")}
    for size, inside in ((1e-7, True), (1e-4, False)):
        other = own | training(EXAM, learner, disturbed(EXAM.start, 9, size), EXAM.steps)
        rows = list(trajectories.distances(EXAM, base, other, {}))
        assert all(value <= limit for _, value, limit, _ in rows) == inside, rows


def test_one_picture_in_another_cluster_is_within_what_clusters_may_differ_by():
    labels = np.repeat(np.arange(6), 4)
    moved = labels.copy()
    moved[5] = 4
    assert 0.1 < 1 - agreement(moved, labels).adjusted_rand <= trajectories.one_moved(labels) < 0.13


def test_without_a_measure_of_rounding_training_is_not_judged():
    arrays = seen("torch")[0]
    assert not list(trajectories.distances(EXAM, arrays, seen("mindspore")[0], {}))
    assert list(trajectories.distances(EXAM, arrays, seen("mindspore")[0], seen("torch", "float64", draws=1)[0]))
    bare = half("torch", seen("torch"))
    assert "Training is not judged" in report.text(bare, mindspore_half(), compare(bare, mindspore_half()))


def test_one_switch_in_one_batch_is_not_a_fault_and_one_in_each_is():
    """Gradients are compared by the median over batches."""
    for wrong, passes in ((1, True), (3, False)):
        single = dict(seen("torch")[0])
        for index in range(wrong):
            for name in [name for name in single if name.startswith(f"gradient/{index}/")]:
                single[name] = 1.01 * single[name]
        checks = compare(torch_half(), half("faulty", (single, seen("torch")[1])))
        assert (not [check for check in failed(checks) if check.part == "gradients"]) == passes


def renamed(arrays, *kinds):
    """The arrays, and the gradients once more under other names."""
    gradients = {name: value for name, value in arrays.items() if name.startswith("gradient/")}
    return arrays | {name.replace("gradient", kind, 1): v for name, v in gradients.items() for kind in kinds}


def test_with_float64_s_choices_a_switch_in_each_batch_is_not_a_fault_and_a_wrong_gradient_is():
    first, seconds = torch_half(), half("mindspore", seen("torch"))
    single = renamed(first.single, "held")
    for name in [name for name in single if name.startswith("gradient/")]:
        single[name] = 1.01 * single[name]
    told = {"switches": [{"choices": 100, "switched": 9, "places": ["ReLU behind bn1"]}]}
    switched = first._replace(single=single, facts=first.facts | {"single": first.facts["single"] | told})
    checks = compare(switched, seconds)
    assert not [check for check in failed(checks) if check.part == "gradients"]
    text = report.text(switched, seconds, checks)
    for words in ("9 of 100 switched by rounding", "ReLU behind bn1", "... and 8 more", "as they are: torch 1.0e-02"):
        assert words in text
    for index in range(EXAM.batches):
        single[f"held/{index}/student1.conv1.weight"] = 1.1 * single[f"held/{index}/student1.conv1.weight"]
    wrong = [check for check in failed(compare(switched, seconds)) if check.part == "gradients"]
    assert ("student1.conv1.weight", "torch") in {(check.what, check.who) for check in wrong}


def test_one_percent_of_one_tensor_s_gradient_is_a_fault_of_the_second_half_too():
    """Where torch has switched a ReLU: as it is, its gradient is farther off. In the compiled step alone, too."""
    arrays, facts = seen("torch")
    switched = renamed(arrays, "held")
    for name in [name for name in switched if name.startswith("gradient/")]:
        switched[name] = 1.01 * switched[name]
    first = half("torch", (switched, facts), seen("torch", "float64", draws=1))
    single, tensor = renamed(seen("mindspore")[0], "held", "eager"), "student2.layer3.0.conv2.weight"
    every = ("gradient", "eager", "held")
    for kinds, part in (((), gradients), ((), compiled), (every, gradients), (("gradient",), compiled)):
        wrong = dict(single)
        for name in [f"{kind}/{index}/{tensor}" for kind in kinds for index in range(EXAM.batches)]:
            wrong[name] = 1.01 * wrong[name]
        found = {(check.what, check.who) for check in failed(part((first, half("mindspore", (wrong, facts)))))}
        assert found == ({("all", "mindspore"), (tensor, "mindspore")} if kinds else set())


def test_mindspore_takes_float64_s_choices():
    """In the gradient, and nowhere else afterwards; one choice turned over makes it jump."""
    exam, name = replace(EXAM, method="baseline", batches=1), "student.conv1.weight"
    learner, right = learner_of("mindspore", exam.learner), choices.of_batch(exam, 0)
    true = switches.gradients(exam, "torch", learner_of("torch", exam.learner, "float64"), 0, {})[0]
    found = switches.held(exam, "mindspore", learner, 0)
    assert found.count == sum(choice.chosen.size for choice in right["student"])
    assert switches.apart(found.gradients, true) < 1e-5
    made = [choice._replace(chosen=choice.chosen.copy()) for choice in right["student"]]
    made[0].chosen[:, 0] = False
    jumped, own = switches.gradients(exam, "mindspore", learner, 0, {"student": made})
    assert relative(jumped[name], true[name]) > 1e-2
    assert not np.array_equal(own["student"][0].chosen, made[0].chosen)
    learner.import_state(exam.start)
    step = probe_of("mindspore").gradients_of(learner, exam.batch(0))[1]
    assert switches.apart(step, true) < 1e-5


def test_a_tiny_fault_in_float64_is_found_beside_what_noise_does(monkeypatch):
    """Another epsilon in Adam, by 1e-4 of it. Where noise alone leads as far it would pass."""
    arrays, facts = seen("torch", "float64", draws=1)
    first = half("torch", seen("torch"), (arrays, facts))
    assert doubles.equal(arrays, arrays) == EXAM.steps
    with monkeypatch.context() as patch:
        patch.setattr(optimiser, "EPSILON", 1.0001e-8)
        learner = probe_of("torch").make_learner(EXAM.learner, precision="float64")
        own = {name: value for name, value in arrays.items() if not name.startswith("noise")}
        wrong = own | training(EXAM, learner, EXAM.start, EXAM.steps)
    second = half("faulty", seen("torch"), (wrong, facts))
    found = {check.what for check in failed(double((first, second)))}
    assert {"weights, teachers and statistics after step 1", "embeddings at the end"} <= found
    assert report.equal(first, second) == ["  equal to 1e-08 up to step 0 of 3"]
    chaotic = first._replace(double=arrays | {f"noise1/{name}": value for name, value in wrong.items()})
    assert not failed(double((chaotic, second)))
    told = doubles.summary(chaotic.double, second.double)
    assert told["noise"] == told["apart"] > tolerance("parity.double")
    assert table.beside_noise(told) == f"{told['apart']:.1e} ({told['noise']:.1e})"


def test_the_report_and_the_picture(tmp_path):
    first, second = torch_half(), mindspore_half()
    checks = compare(first, second)
    text = report.text(first, second, checks)
    for words in (
        "layer1.0.conv2",
        "neck.running_var",
        "soft_triplet",
        "weights after step 3",
        "adam.second",
        "mAP at",
        "3 steps in float64: losses, weights and embeddings",
        "3 steps in float32: losses",
    ):
        assert words in text
    for check in checks:
        for name in check.tolerance.split(", "):
            assert f"{name} = " in text, f"the reason of {name} is not told"
    assert text.endswith(f"{len(checks)} of {len(checks)} checks passed: parity")
    found = json.loads(json.dumps(report.as_json(first, second, checks)))
    assert found["passed"]
    assert len(found["curves"]["mindspore"]) == EXAM.steps
    assert set(found["drift"]["weights"]) == {"1", "2", "3"}
    head, _, line = table.markdown([found]).splitlines()
    assert head.count("|") == line.count("|")
    assert line.startswith("| mmt, tiny | 32x16, 4 x 2 |")
    assert line.endswith(f" in 3 steps | {len(checks)} of {len(checks)} |")
    plot(first, second, checks, tmp_path / "parity.png")
    assert (tmp_path / "parity.png").read_bytes().startswith(b"\x89PNG")


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


def test_two_halves_of_one_backend_keep_their_names_apart(tmp_path):
    """One on the CPU, the other on an accelerator: the second gets a number."""
    paths = [tmp_path / name for name in ("one.safetensors", "two.safetensors")]
    for path in paths:
        halves.save(torch_half(), path)
    first, second = command.pair(command.parser().parse_args(["--compare", *map(str, paths)]))
    assert (first.backend, second.backend) == ("torch", "torch 2")
    checks = compare(first, second)
    assert not failed(checks)
    assert "Parity of torch and torch 2" in report.text(first, second, checks)


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


def test_a_shape_or_a_number_that_is_missing_never_passes():
    assert relative(np.zeros(3), np.zeros(4)) == np.inf
    assert relative(np.array([np.nan, 1.0]), np.ones(2)) == np.inf
    assert judge.distance(None, np.ones(2)) == np.inf
    assert judge.distance(np.array([1.0, np.inf]), np.ones(2)) == np.inf
    assert judge.distance(np.zeros(2), np.zeros(2)) == 0


def test_samples_are_the_same_places_of_arrays_of_one_size():
    many = np.arange(100_000)
    assert len(sample(many)) == LIMIT
    np.testing.assert_array_equal(sample(many) * 2, sample(2 * many))
    np.testing.assert_array_equal(sample(many[:10].reshape(2, 5)), many[:10])


def test_pictures_are_of_people():
    """Pictures of one person are nearer to each other than to another's."""
    one, again, other = (picture(0, name, 0, k, 64, 32).astype(float) for name, k in (("a", 0), ("a", 1), ("b", 0)))
    assert np.abs(one - again).mean() < 0.8 * np.abs(one - other).mean()


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "resnet50_ibn_a"])
def test_the_drawn_state_has_activations_of_size_one(arch):
    """Deep networks in test mode neither grow nor vanish, so that errors of all layers count alike."""
    exam = replace(EXAM, network=replace(EXAM.network, arch=arch), method="baseline", layer_images=2)
    tensors = {name.removeprefix("student."): v for name, v in exam.start.items() if name.startswith("student.")}
    listed = judge.stages(exam.learner, tensors, exam.batch(0).images[0][:2], None, train=False)
    sizes = judge.truth(listed, lambda name, value: float(np.abs(value).mean()))
    assert all(0.01 < size < 100 for size in sizes.values()), sizes
    assert tolerance("parity.own.float64") < 1e-10


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{", b"[1]", b'{"exam": {}}'])
def test_a_file_that_is_no_report_is_refused(content, tmp_path, capsys):
    path = tmp_path / "other.json"
    assert table.main([str(path)]) == 2
    assert "is not a file" in capsys.readouterr().err
    path.write_bytes(content)
    assert table.main([str(path)]) == 2
    assert "is no report of python -m benchmarks.parity --json" in capsys.readouterr().err
