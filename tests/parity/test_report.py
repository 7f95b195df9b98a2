"""`python -m benchmarks.parity`: the two backends pass, planted faults do not, and the report names them."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from duoreid.backends.torch import optimiser
from duoreid.benchmarks.parity import choices, report
from duoreid.benchmarks.parity.compare import compare, compiled, gradient_errors, gradients, summary
from duoreid.benchmarks.parity.comparison import Check, from_json, load
from duoreid.benchmarks.parity.exam import disturbed, picture
from duoreid.benchmarks.parity.plot import plot
from duoreid.benchmarks.parity.record import record, training
from duoreid.benchmarks.parity.sampling import LIMIT, relative, sample
from duoreid.benchmarks.parity.tolerances import TOLERANCES
from duoreid.benchmarks.parity.training import equal, in_double, in_single, one_moved
from duoreid.core.agreement import agreement
from duoreid.core.losses.float64 import network as judge
from tests.conformance.examples import MMT
from tests.conftest import as_a_device_sees, learner_of, probe_of
from tests.parity.faults import FAULTS
from tests.parity.gradients import apart
from tests.parity.halves import EXAM, compared, half, mindspore_half, seen, torch_half
from tests.tolerances import OWN, tolerance

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def test_the_exam_shares_its_learner_with_the_other_tests():
    """Compiled once a session: the configuration is that of the other parity tests."""
    assert as_a_device_sees(EXAM.learner) == as_a_device_sees(MMT)


def test_both_probes_look_at_layers_and_gradients_alike():
    for name in ("layers", "gradients_of"):
        ours, theirs = (inspect.signature(getattr(probe_of(backend), name)) for backend in ("torch", "mindspore"))
        assert list(ours.parameters) == list(theirs.parameters), name


def test_the_backends_pass():
    comparison = compared()
    assert not comparison.failed
    assert {check.kind for check in comparison.checks} == set(report.KINDS) - {"compiled"}  # which needs other records
    assert {check.precision for check in comparison.checks if check.kind in ("own", "training")} == {"single", "double"}
    assert {(check.mode, check.name) for check in comparison.checks if check[:2] == ("own", "single")} >= {
        ("test", "layer4.0.conv2"),
        ("train", "layer4.0.bn2.running_var"),
        ("train", "neck"),
    }


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_named(name, monkeypatch):
    fault = FAULTS[name]
    with monkeypatch.context() as patch:
        learner = fault.plant(patch, EXAM.learner)
        arrays, facts = record(EXAM, probe_of("torch"), learner, precision="float32", steps=0)
    comparison = compare(torch_half(), half("faulty", (arrays, facts)))
    culprit = report.culprit(comparison.failed)
    assert (culprit.kind, culprit.precision, culprit.mode, culprit.name) == (
        fault.kind,
        "single",
        fault.mode,
        fault.name,
    )
    assert culprit.who in ("faulty", "apart")
    assert culprit.value > culprit.limit
    text = report.text(comparison)
    assert "NO PARITY" in text
    assert f"Look first at: {fault.kind}, single: {culprit.what} ({culprit.who})" in text
    assert culprit.note in text or fault.kind.startswith("losses")
    assert f"Look first at: {fault.kind}, single: {culprit.what} ({culprit.who})" in report.text(again(comparison))


def again(comparison):
    """A comparison that was written and read."""
    return from_json(json.loads(json.dumps(comparison.as_json())))


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
    wrong = compare(torch_half(), half("faulty", other)).failed
    assert {(check.kind, check.precision) for check in wrong} == {("training", "single")}


def test_noise_alone_passes_and_far_more_of_it_does_not():
    base, learner = seen("torch", draws=3)[0], learner_of("torch", EXAM.learner)
    own = {name: value for name, value in base.items() if not name.startswith("noise")}
    for size, inside in ((1e-7, True), (1e-4, False)):
        other = own | training(EXAM, learner, disturbed(EXAM.start, 9, size), EXAM.steps)
        checks = [one for one in in_single(EXAM, base, other, {}) if isinstance(one, Check)]
        assert all(check.passed for check in checks) == inside, checks


def test_one_picture_in_another_cluster_is_within_what_clusters_may_differ_by():
    labels = np.repeat(np.arange(6), 4)
    moved = labels.copy()
    moved[5] = 4
    assert 0.1 < 1 - agreement(moved, labels).adjusted_rand <= one_moved(labels) < 0.13


def test_without_a_measure_of_rounding_training_is_not_judged():
    def judged(*records):
        return [one for one in in_single(EXAM, *records) if isinstance(one, Check)]

    arrays, double = seen("torch")[0], seen("torch", "float64", draws=1)[0]
    assert not judged(arrays, seen("mindspore")[0], {})
    assert judged(arrays, seen("mindspore")[0], double)
    bare = compare(half("torch", seen("torch")), mindspore_half())
    assert "Training is not judged" in report.text(bare)
    assert "Training is not judged" not in report.text(compared())


def test_the_limit_of_training_is_its_noise_with_a_factor_and_a_floor():
    """The widest run from disturbed weights, in float32 up to twice as many steps; both numbers are fields."""
    checks = {(*check[:2], check.name, check.step): check for check in compared().checks if check.kind == "training"}
    factor, floor = tolerance("parity.drift.factor"), tolerance("parity.drift.floor")
    noise = [checks["training", "single", "losses", step].noise for step in (1, 2, 3)]
    assert 0 < noise[0] <= noise[1] == noise[2]
    last = checks["training", "single", "losses", 3]
    assert last.limit == factor * last.noise + floor
    assert compared().summary["single"] == {"steps": 3, "apart": last.value, "noise": last.noise}
    last = checks["training", "double", "weights", 3]
    assert last.limit == max(tolerance("parity.double.factor") * last.noise, tolerance("parity.double"))


def test_one_switch_in_one_batch_is_not_a_fault_and_one_in_each_is():
    """Gradients are compared by the median over batches."""
    for wrong, passes in ((1, True), (3, False)):
        single = dict(seen("torch")[0])
        for index in range(wrong):
            for name in [name for name in single if name.startswith(f"gradient/{index}/")]:
                single[name] = 1.01 * single[name]
        comparison = compare(torch_half(), half("faulty", (single, seen("torch")[1])))
        assert (not [check for check in comparison.failed if check.kind == "gradients"]) == passes


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
    comparison = compare(switched, seconds)
    assert not [check for check in comparison.failed if check.kind == "gradients"]
    text = report.text(comparison)
    for words in ("9 of 100 switched by rounding", "ReLU behind bn1", "... and 8 more", "as they are: torch 1.0e-02"):
        assert words in text
    for index in range(EXAM.batches):
        single[f"held/{index}/student1.conv1.weight"] = 1.1 * single[f"held/{index}/student1.conv1.weight"]
    wrong = [check for check in compare(switched, seconds).failed if check.kind == "gradients"]
    assert ("student1.conv1.weight", "torch") in {(check.name, check.who) for check in wrong}


def of_gradients(halves):
    """The checks of gradients alone."""
    raw, judged = ([gradient_errors(one, halves[0].double, held=held) for one in halves] for held in (False, True))
    each = [compiled(one, errors) for one, errors in zip(halves, judged, strict=True)]
    return [*gradients(halves, raw, judged), *each[0], *each[1]]


def test_one_percent_of_one_tensor_s_gradient_is_a_fault_of_the_second_half_too():
    """Where torch has switched a ReLU: as it is, its gradient is farther off. In the compiled step alone, too."""
    arrays, facts = seen("torch")
    switched = renamed(arrays, "held")
    for name in [name for name in switched if name.startswith("gradient/")]:
        switched[name] = 1.01 * switched[name]
    first = half("torch", (switched, facts), seen("torch", "float64", draws=1))
    single, tensor = renamed(seen("mindspore")[0], "held", "eager"), "student2.layer3.0.conv2.weight"
    every = ("gradient", "eager", "held")
    for kinds, where in (((), ""), (every, "gradients"), (("gradient",), "compiled")):
        wrong = dict(single)
        for name in [f"{kind}/{index}/{tensor}" for kind in kinds for index in range(EXAM.batches)]:
            wrong[name] = 1.01 * wrong[name]
        checks = of_gradients((first, half("mindspore", (wrong, facts))))
        failed = {(check.kind, check.name, check.who) for check in checks if not check.passed}
        assert failed == ({(where, "all", "mindspore"), (where, tensor, "mindspore")} if kinds else set())


def test_mindspore_takes_float64_s_choices():
    """In the gradient, and nowhere else afterwards; one choice turned over makes it jump."""
    exam, name = replace(EXAM, method="baseline", batches=1), "student.conv1.weight"
    learner, right = learner_of("mindspore", exam.learner), choices.of_batch(exam, 0)
    true = choices.gradients(exam, probe_of("torch"), learner_of("torch", exam.learner, "float64"), 0, {})[0]
    held = choices.held(exam, probe_of("mindspore"), learner, 0)
    assert held.count == sum(choice.chosen.size for choice in right["student"][0])
    assert apart(held.gradients, true) < 1e-5
    made = [choice._replace(chosen=choice.chosen.copy()) for choice in right["student"][0]]
    made[0].chosen[:, 0] = False
    jumped, own = choices.gradients(exam, probe_of("mindspore"), learner, 0, {"student": [made]})
    assert relative(jumped[name], true[name]) > 1e-2
    assert not np.array_equal(own["student"][0][0].chosen, made[0].chosen)
    learner.import_state(exam.start)
    step = probe_of("mindspore").gradients_of(learner, exam.batch(0))[1]
    assert apart(step, true) < 1e-5


def test_a_tiny_fault_in_float64_is_found_beside_what_noise_does(monkeypatch):
    """Another epsilon in Adam, by 1e-4 of it. Where noise alone leads as far it would pass."""
    arrays, facts = seen("torch", "float64", draws=1)
    first = half("torch", seen("torch"), (arrays, facts))
    assert equal(arrays, arrays) == EXAM.steps
    with monkeypatch.context() as patch:
        patch.setattr(optimiser, "EPSILON", 1.0001e-8)
        learner = probe_of("torch").make_learner(EXAM.learner, precision="float64")
        own = {name: value for name, value in arrays.items() if not name.startswith("noise")}
        wrong = own | training(EXAM, learner, EXAM.start, EXAM.steps)
    comparison = compare(first, half("faulty", seen("torch"), (wrong, facts)))
    places = {(check.name, check.step) for check in comparison.failed if check[:2] == ("training", "double")}
    assert {("weights", 1), ("embeddings", 3)} <= places
    assert comparison.summary["double"]["equal"] == 0
    assert "equal to 1e-08 up to step 0 of 3" in report.text(comparison)
    chaotic = arrays | {f"noise1/{name}": value for name, value in wrong.items()}
    checks = [one for one in in_double(chaotic, wrong) if isinstance(one, Check)]
    assert all(check.passed for check in checks)
    start = [check for check in comparison.checks if check.kind == "embeddings"]  # which a summary looks for
    told = summary([*start, *checks], {})["double"] | {"equal": 0}
    assert told["noise"] == told["apart"] > tolerance("parity.double")
    assert report.beside_noise(told) == f"{told['apart']:.1e} ({told['noise']:.1e})"


def test_the_report_and_the_picture(tmp_path, capsys):
    comparison, path = compared(), tmp_path / "found.json"
    text, count = report.text(comparison), len(comparison.checks)
    for words in (
        "layer1.0.conv2",
        "neck.running_var",
        "soft_triplet",
        "weights, step 3",
        "adam.second",
        "mAP, step 0 (0.",
        "3 steps in float64: losses, weights and embeddings",
        "3 steps in float32: losses",
    ):
        assert words in text
    for name in {name for check in comparison.checks for name in check.tolerances}:
        assert f"{name} = {TOLERANCES[name].value:g}: {TOLERANCES[name].reason}" in text
    assert text.endswith(f"{count} of {count} checks passed: parity")
    head, _, line = report.markdown([comparison]).splitlines()
    assert head.count("|") == line.count("|")
    assert line.startswith("| mmt, tiny | 32x16, 4 x 2 |")
    assert line.endswith(f" in 3 steps | {count} of {count} |")
    path.write_text(json.dumps(comparison.as_json()))
    assert report.main([str(path), "--every", "--plot", str(tmp_path / "parity.png")]) == 0
    assert (tmp_path / "parity.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.strip().endswith("checks passed: parity")
    assert report.main([str(path), str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == 2 * [line]
    other = again(comparison)
    other.backends[0]["about"] = "torch 2.11.0+cu130 on NVIDIA H100 80GB HBM3"
    assert report.markdown([other]).splitlines()[2].startswith("| mmt, tiny, torch on NVIDIA H100 80GB HBM3 | 32x16")


def test_a_comparison_that_was_written_is_read_as_it_was():
    """But for numbers of checks, which are kept to three digits, and for the rules of layers that are right."""
    comparison, read = compared(), again(compared())
    assert (read.exam, read.summary, read.tolerances) == (comparison.exam, comparison.summary, comparison.tolerances)
    assert read.curves == comparison.curves
    assert {curve.name for curve in comparison.curves} >= {"total", "losses", "weights", "statistics"}
    key = lambda check: (*check[:7], check.passed)  # noqa: E731
    assert sorted(map(key, read.checks), key=str) == sorted(map(key, comparison.checks), key=str)
    ours, theirs = ({check[:7]: (check.value, check.limit) for check in one.checks} for one in (comparison, read))
    for place, numbers in ours.items():
        np.testing.assert_allclose(theirs[place], numbers, rtol=5e-3)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("parity-*.json")), ids=lambda path: path.stem)
def test_recorded_comparisons_can_be_read_drawn_and_tabulated(path, tmp_path):
    """What was once measured stays in the shape that the code reads, and its verdicts follow from its numbers."""
    comparison = load(path)
    assert len(comparison.checks) == comparison.summary["checks"] > 800
    assert sum(check.value <= check.limit for check in comparison.checks) == comparison.summary["passed"]
    assert [check.passed for check in comparison.checks] == [check.value <= check.limit for check in comparison.checks]
    assert {check.kind for check in comparison.checks} <= set(report.KINDS)
    assert report.text(comparison).endswith("NO PARITY" if comparison.failed else "parity")
    assert report.row(comparison)[0].startswith(f"{comparison.exam['method']}, {comparison.exam['network']['arch']}")
    if path.stem == "parity-tiny-mmt":
        plot(comparison, tmp_path / "parity.png")
        assert (tmp_path / "parity.png").read_bytes().startswith(b"\x89PNG")


def test_tolerances_of_reports_and_of_tests_have_names_of_their_own():
    assert not TOLERANCES.keys() & OWN.keys()
    assert {name for check in compared().checks for name in check.tolerances} <= TOLERANCES.keys()


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
