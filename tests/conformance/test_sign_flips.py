"""A flipped sign in any loss term makes the comparison with the oracle fail: these tests test the tests."""

import numpy as np
import pytest

from duoreid.core import losses
from duoreid.core.losses.classification import live_logits, log_softmax
from duoreid.core.mining import batch_hard, euclidean_distances
from tests.conformance.comparison import LOSSES, compare_loss, oracle
from tests.conformance.examples import FEATURE_CASES, LOGIT_CASES, FeatureCase

DTYPE = np.float32  # the wider tolerance is the one that a flip must exceed


def example(name):
    """One case on which every term of a loss counts, and the loss's options."""
    kind, options = LOSSES[name]
    return (FEATURE_CASES["4 x 4"] if kind is FeatureCase else LOGIT_CASES["masked classes"]), options


@pytest.mark.parametrize("name", LOSSES)
def test_a_backend_with_a_flipped_loss_is_caught(probe, monkeypatch, name):
    case, options = example(name)
    compare_loss(probe, name, case, DTYPE, **options)
    true = getattr(probe.losses, name)
    monkeypatch.setattr(probe.losses, name, lambda *inputs, **more: -true(*inputs, **more))
    with pytest.raises(AssertionError, match="value: differs by"):
        compare_loss(probe, name, case, DTYPE, **options)


def flipped_value(name, arrays, labels, options):
    value, gradient = oracle(name, arrays, labels, options)
    return -value, gradient


def flipped_gradient(name, arrays, labels, options):
    value, gradient = oracle(name, arrays, labels, options)
    return value, -gradient


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("flip", [flipped_value, flipped_gradient])
def test_value_and_gradient_are_each_compared(probe, name, flip):
    case, options = example(name)
    with pytest.raises(AssertionError, match=f"{flip.__name__.removeprefix('flipped_')}: differs by"):
        compare_loss(probe, name, case, DTYPE, flip, **options)


def smoothing_subtracted(name, arrays, labels, options):
    """(1 - eps) one-hot - eps / C."""
    live = live_logits(arrays[0], options["classes"])
    log_probabilities, eps = log_softmax(live), options["smoothing"]
    target = (1 - eps) * np.eye(live.shape[1])[labels] - eps / live.shape[1]
    return -(target * log_probabilities).sum(1).mean(), oracle(name, arrays, labels, options)[1]


def smoothing_over_capacity(name, arrays, labels, options):
    """The smoothing divided by all columns of the classifier, dead ones included."""
    live = live_logits(arrays[0], options["classes"])
    log_probabilities, eps = log_softmax(live), options["smoothing"]
    target = (1 - eps) * np.eye(live.shape[1])[labels] + eps / arrays[0].shape[1]
    return -(target * log_probabilities).sum(1).mean(), oracle(name, arrays, labels, options)[1]


def student_and_teacher_exchanged(name, arrays, labels, options):
    return oracle(name, arrays[::-1], labels, options)


def _on_pairs(name, arrays, labels, order):
    """The triplet losses with d_ap and d_an in another order: (1, -1) flips both, i.e. exchanges their roles."""
    distances = [euclidean_distances(np.asarray(array, np.float64)) for array in arrays]
    pairs = np.stack(batch_hard(distances[0], labels), axis=1)
    student, *teacher = (order * np.take_along_axis(d, pairs, 1) for d in distances)
    target = np.exp(log_softmax(np.abs(teacher[0]))) if teacher else np.array([0.0, 1.0])
    return -(target * log_softmax(student)).sum(1).mean(), oracle(name, arrays, labels, {})[1]


def distances_flipped(name, arrays, labels, options):
    return _on_pairs(name, arrays, labels, np.array([-1.0, -1.0]))


def positive_flipped(name, arrays, labels, options):
    return _on_pairs(name, arrays, labels, np.array([-1.0, 1.0]))


def negative_flipped(name, arrays, labels, options):
    return _on_pairs(name, arrays, labels, np.array([1.0, -1.0]))


MUTANTS = [
    ("cross_entropy", smoothing_subtracted),
    ("cross_entropy", smoothing_over_capacity),
    ("soft_cross_entropy", student_and_teacher_exchanged),
    ("soft_softmax_triplet", student_and_teacher_exchanged),
    *[
        (name, flip)
        for name in ("softmax_triplet", "soft_softmax_triplet")
        for flip in (distances_flipped, positive_flipped, negative_flipped)
    ],
]


@pytest.mark.parametrize(("name", "mutant"), MUTANTS)
def test_a_flipped_term_is_caught(probe, name, mutant):
    case, options = example(name)
    with pytest.raises(AssertionError, match="differs by"):
        compare_loss(probe, name, case, DTYPE, mutant, **options)


def test_a_flipped_margin_is_caught(probe):
    def flipped(name, arrays, labels, options):
        return oracle(name, arrays, labels, {"margin": 1 - options["margin"]})

    case = FEATURE_CASES["4 x 4"]
    compare_loss(probe, "softmax_triplet", case, DTYPE, margin=0.3)
    with pytest.raises(AssertionError, match="differs by"):
        compare_loss(probe, "softmax_triplet", case, DTYPE, flipped, margin=0.3)


def test_mutants_without_a_flip_are_the_oracle():
    """The mutants above differ from the oracle in nothing but their flip."""
    for name in ("softmax_triplet", "soft_softmax_triplet"):
        case = FEATURE_CASES["4 x 4"]
        arrays = (case.features, case.teacher) if name.startswith("soft_") else (case.features,)
        same = _on_pairs(name, arrays, case.labels, np.array([1.0, 1.0]))[0]
        assert same == pytest.approx(getattr(losses, name)(*arrays, case.labels)[0], rel=1e-14)
