"""Each loss and its gradient in each backend against the float64 oracle."""

import numpy as np
import pytest

from tests.conformance.comparison import compare_loss, inputs_of
from tests.conformance.examples import FEATURE_CASES, LOGIT_CASES
from tests.tolerances import check_close

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@DTYPES
@pytest.mark.parametrize(("case", "smoothing"), [*((case, 0.1) for case in LOGIT_CASES), ("masked classes", 0.0)])
def test_cross_entropy(probe, case, dtype, smoothing):
    compare_loss(probe, "cross_entropy", LOGIT_CASES[case], dtype, smoothing=smoothing)


@DTYPES
@pytest.mark.parametrize("case", LOGIT_CASES)
def test_soft_cross_entropy(probe, case, dtype):
    compare_loss(probe, "soft_cross_entropy", LOGIT_CASES[case], dtype)


@DTYPES
@pytest.mark.parametrize(("case", "margin"), [*((case, 0.0) for case in FEATURE_CASES), ("uneven identities", 0.3)])
def test_softmax_triplet(probe, case, dtype, margin):
    compare_loss(probe, "softmax_triplet", FEATURE_CASES[case], dtype, margin=margin)


@DTYPES
@pytest.mark.parametrize("case", FEATURE_CASES)
def test_soft_softmax_triplet(probe, case, dtype):
    compare_loss(probe, "soft_softmax_triplet", FEATURE_CASES[case], dtype)


@DTYPES
@pytest.mark.parametrize("name", ["cross_entropy", "soft_cross_entropy"])
@pytest.mark.parametrize("case", ["masked classes", "two live classes", "one live class"])
def test_a_masked_classifier_is_a_sliced_one(probe, name, case, dtype):
    example = LOGIT_CASES[case]
    options = {"smoothing": 0.1} if name == "cross_entropy" else {}
    arrays, labels, _ = inputs_of(name, example, dtype)
    masked = probe.loss(name, arrays, labels, classes=example.classes, **options)
    columns = [array[:, : example.classes] for array in arrays]
    sliced = probe.loss(name, tuple(columns), labels, classes=example.classes, **options)
    kind = f"loss.{np.dtype(dtype).name}"
    check_close(kind, masked[0], sliced[0], scale=max(1.0, abs(sliced[0])))
    check_close(kind, masked[1][:, : example.classes], sliced[1], scale=1 / len(columns[0]))
    assert (masked[1][:, example.classes :] == 0).all()


@DTYPES
@pytest.mark.parametrize("name", ["cross_entropy", "soft_cross_entropy", "softmax_triplet", "soft_softmax_triplet"])
def test_a_nan_in_the_inputs_is_a_nan_in_the_loss(probe, name, dtype):
    case = LOGIT_CASES["plain"] if name.endswith("entropy") else FEATURE_CASES["4 x 4"]
    options = {"smoothing": 0.1} if name == "cross_entropy" else {}
    arrays, labels, case_options = inputs_of(name, case, dtype)
    for position in range(len(arrays)):
        poisoned = [array.copy() for array in arrays]
        poisoned[position][2, 1] = np.nan
        assert np.isnan(probe.loss(name, tuple(poisoned), labels, **case_options, **options)[0]), f"input {position}"


@DTYPES
@pytest.mark.parametrize("name", ["softmax_triplet", "soft_softmax_triplet", "triplet", "centre_triplet"])
def test_one_identity_has_no_negatives_and_costs_nothing(probe, name, dtype):
    """Neither at any margin: a positive taken for a negative would cost log 2 or the margin."""
    features, teacher = (array.astype(dtype) for array in FEATURE_CASES["4 x 4"][:2])
    arrays = (features, teacher) if name.startswith("soft_") else (features,)
    integers = (np.full(16, 3), np.arange(16) % 2)[: 2 if name == "centre_triplet" else 1]
    value, gradients = probe.gradients_of_loss(name, arrays, integers)
    assert value == 0
    assert not any(gradient.any() for gradient in gradients)
    features[2, 1] = np.nan
    assert np.isnan(probe.gradients_of_loss(name, arrays, integers)[0])
