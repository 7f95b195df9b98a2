"""One training step of the public PyTorch MVD: every loss term and every running statistic.

Today's networks compute the terms one by one; the gradients wait for what mvd_views.py makes up for.
"""

from functools import cache

import numpy as np
import pytest

from duoreid.benchmarks.golden import mvd
from duoreid.benchmarks.golden.values import direction
from duoreid.core import losses
from tests.conftest import BACKENDS, probe_of
from tests.golden import mvd_views
from tests.golden.numbers import document
from tests.tolerances import tolerance

NUMBERS = document("mvd/mvd-torch-step")["replicas1"]
PRECISIONS = {"torch": "float64", "mindspore": "float32"}  # MindSpore's single operations are float32 on a CPU
MODALITIES = np.repeat([0, 1], 8)
WEIGHTS = {"visible": 0.5, "infrared": 0.5, "shared_colour": 0.25, "shared_grey": 0.25}
OURS = {mvd.our_name(name): name for name in NUMBERS["running"]}


@cache
def step(backend):
    """Return the outputs of the views by name, and the labels of their rows: visible ones, then infrared."""
    probe = probe_of(backend)
    learner, biases = mvd_views.learner_of(probe, PRECISIONS[backend])
    pictures, labels = mvd.training_pictures()
    rows = np.concatenate(list(pictures))
    return dict(mvd_views.views(probe, learner, biases, rows, train=True)), np.tile(labels, 2)


def check(backend, name, value, expected):
    kind = f"golden.mvd.{name}.{PRECISIONS[backend]}"
    assert abs(value - expected) <= tolerance(kind) * abs(expected), f"{name}: {value}, the public code has {expected}"


def computed(backend, name, arrays, integers=(), **options):
    """A loss of the backend and, of the same numbers, of the oracle; both in the backend's precision of this step."""
    value, _ = probe_of(backend).gradients_of_loss(name, arrays, integers, **options)
    oracle = getattr(losses, name)(*(array.astype(np.float64) for array in arrays), *integers, **options)[0]
    return value, oracle


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NUMBERS["single"])
def test_identity_and_metric(backend, name):
    kind, _, part = name.partition("/")
    views, labels = step(backend)
    output = views[part.removesuffix("_z")]._asdict()
    which = "z" if part.endswith("_z") else "v"
    if kind == "id":
        inputs, options = (output[f"{which}_logits"],), {"smoothing": 0.1, "classes": 8}
        found = computed(backend, "cross_entropy", inputs, (labels,), **options)
    else:
        found = computed(backend, "ranked_list", (output[which],), (labels, MODALITIES))
    for value in found:
        check(backend, "term", value, NUMBERS["single"][name])


@pytest.mark.parametrize("kind", ["id", "metric"])
def test_sums_over_the_views(kind):
    singles = NUMBERS["single"]
    found = sum(share * (singles[f"{kind}/{view}"] + singles[f"{kind}/{view}_z"]) for view, share in WEIGHTS.items())
    assert found == pytest.approx(NUMBERS["losses"][kind], rel=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_self_distillation(backend):
    views, _ = step(backend)
    pairs = [(views[name].v_logits, views[name].z_logits) for name in ("visible", "infrared")]
    found = [computed(backend, "distillation", pair, classes=8, form="reference") for pair in pairs]
    for values in zip(*found, strict=True):
        check(backend, "term", sum(values), NUMBERS["losses"]["vsd"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_cross_distillation(backend):
    views, _ = step(backend)
    colour, grey = views["shared_colour"], views["shared_grey"]
    pairs = [(colour.v_logits, grey.z_logits), (grey.v_logits, colour.z_logits)]
    found = [computed(backend, "distillation", pair, classes=8, form="reference") for pair in pairs]
    for values in zip(*found, strict=True):
        check(backend, "term", 0.5 * sum(values), NUMBERS["losses"]["vcd"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_mutual_learning(backend):
    """From infrared to visible, with the public code's guards, which move it by 2.5 %."""
    views, _ = step(backend)
    pair, expected = (views["infrared"].v_logits, views["visible"].v_logits), NUMBERS["losses"]["cml"]
    for value in computed(backend, "mutual_learning", pair, classes=8, form="reference"):
        check(backend, "transport", value, expected)
    assert abs(computed(backend, "mutual_learning", pair, classes=8)[1] / expected - 1) > 0.02


def test_total():
    weights = {"id": 1, "metric": 1, "cml": 8, "vsd": 2, "vcd": 2}
    total = sum(weight * NUMBERS["losses"][name] for name, weight in weights.items())
    assert total == pytest.approx(NUMBERS["losses"]["total"], rel=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_running_statistics(backend):
    """The shared branch moved twice: grey first, then colour."""
    views, compared = step(backend)[0], 0
    for view, role in (("visible", "visible"), ("infrared", "infrared"), ("shared_colour", "shared")):
        for name, statistic in views[view].statistics.items():
            theirs = OURS[f"{role}.{name}"]
            found = (statistic * direction(theirs, statistic.shape)).sum()
            allowed = tolerance(f"golden.mvd.running.{PRECISIONS[backend]}")
            assert abs(found - NUMBERS["running"][theirs]) <= allowed, theirs
            compared += 1
    assert compared == len(NUMBERS["running"]) == 342
