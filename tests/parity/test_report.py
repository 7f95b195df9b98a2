"""`python -m benchmarks.parity`: the two backends pass, planted faults do not, and the report names them."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace

import numpy as np
import pytest

from duoreid.backends.torch import optimiser
from duoreid.benchmarks.parity import choices, doubles, judge, report, switches, table, trajectories
from duoreid.benchmarks.parity.compare import compare, compiled, double, gradients
from duoreid.benchmarks.parity.exam import disturbed, picture
from duoreid.benchmarks.parity.plot import plot
from duoreid.benchmarks.parity.record import record, training
from duoreid.benchmarks.parity.sampling import LIMIT, relative, sample
from duoreid.core.agreement import agreement
from tests.conformance.examples import MMT
from tests.conftest import learner_of, probe_of
from tests.parity.faults import FAULTS
from tests.parity.halves import EXAM, failed, half, mindspore_half, seen, torch_half
from tests.tolerances import tolerance


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
    found["backends"][0]["about"] = "torch 2.11.0+cu130 on NVIDIA H100 80GB HBM3"
    assert table.markdown([found]).splitlines()[2].startswith("| mmt, tiny, torch on NVIDIA H100 80GB HBM3 | 32x16")
    plot(first, second, checks, tmp_path / "parity.png")
    assert (tmp_path / "parity.png").read_bytes().startswith(b"\x89PNG")


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
