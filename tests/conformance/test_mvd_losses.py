"""MVD's losses and their gradients in each backend against the float64 oracle, and Sinkhorn where it is hard."""

from __future__ import annotations

import numpy as np
import pytest

from duoreid.core import losses
from tests.conformance.comparison_mvd import draw
from tests.tolerances import check_close

DTYPES = pytest.mark.parametrize("dtype", [pytest.param(np.float32, marks=pytest.mark.long), np.float64])
"""A single function in float32 has shorter tests: itself in float64, and the whole steps of test_mvd_step.py."""

IDENTITIES = np.repeat([7, 0, 3, 9], 4)
MODALITIES = np.tile([0, 0, 1, 1], 4)
UNEVEN = np.array([2, 5, 2, 5, 5, 2, 1, 1]), np.array([0, 0, 1, 0, 1, 0, 0, 1])
FEATURES = {
    "plain": (draw(16, 12, step=1), IDENTITIES, MODALITIES),
    "shuffled": tuple(array[draw(16, step=2).argsort()] for array in (draw(16, 12, step=3), IDENTITIES, MODALITIES)),
    "uneven groups": (draw(8, 5, step=4), *UNEVEN),
    "one modality": (draw(16, 12, step=5), IDENTITIES, 0 * MODALITIES),
    "every image another": (draw(6, 3, step=6), np.arange(6), np.arange(6) % 2),
    "near classes": (draw(16, 12, step=7, scale=0.2) + 1.0, IDENTITIES, MODALITIES),
}
LOGITS = {
    "plain": (draw(16, 7, step=8), draw(16, 7, step=9), 7),
    "dead columns": (draw(12, 9, step=10, scale=3), draw(12, 9, step=11, scale=3), 5),
    "sharp": (draw(10, 6, step=12, scale=30), draw(10, 6, step=13, scale=30), 6),
    "equal": (draw(8, 6, step=14), draw(8, 6, step=14), 6),
    "one row": (draw(1, 4, step=15), draw(1, 4, step=16), 4),
}


def compare(kind, computed, expected, inputs):
    """Value and gradient of every input, at the scale of their size."""
    value, gradients = computed
    true, *true_gradients = expected
    check_close(kind, value, true, scale=max(abs(true), *(np.abs(x).max() for x in inputs)), what="value")
    for index, (gradient, exact) in enumerate(zip(gradients, true_gradients, strict=True)):
        size = max(np.abs(exact).max(), 0.1 / len(exact))
        check_close(kind, gradient, exact, scale=size, what=f"gradient of input {index}")


@DTYPES
@pytest.mark.parametrize("case", FEATURES)
@pytest.mark.parametrize("loss", ["ranked_list", "triplet", "centre_triplet"])
def test_metric_losses(probe, loss, case, dtype):
    features, *integers = FEATURES[case]
    features = features.astype(dtype)
    integers = integers[:1] if loss == "triplet" else integers
    computed = probe.gradients_of_loss(loss, (features,), tuple(integers))
    kind = f"loss.{np.dtype(dtype).name}" + (".cancelling" if case == "near classes" else "")
    compare(kind, computed, getattr(losses, loss)(features, *integers), (features,))


@pytest.mark.parametrize("loss", ["triplet", "centre_triplet"])
def test_margin(probe, loss):
    features, *integers = FEATURES["plain"]
    integers = integers[:1] if loss == "triplet" else integers
    narrow, wide = (probe.gradients_of_loss(loss, (features,), tuple(integers), margin=m)[0] for m in (0.3, 5.0))
    assert wide == pytest.approx(getattr(losses, loss)(features, *integers, 5.0)[0])
    assert wide > narrow + 4


@DTYPES
@pytest.mark.parametrize("case", LOGITS)
@pytest.mark.parametrize("form", ["paper", "reference"])
def test_distillation(probe, form, case, dtype):
    observation, representation, classes = LOGITS[case]
    pair = observation.astype(dtype), representation.astype(dtype)
    computed = probe.gradients_of_loss("distillation", pair, form=form, classes=classes)
    value, gradient = losses.distillation(*pair, form=form, classes=classes)
    compare(f"loss.{np.dtype(dtype).name}", computed, (value, np.zeros_like(gradient), gradient), pair)
    assert not computed[1][0].any(), "the target must be a constant"


@DTYPES
@pytest.mark.parametrize("case", LOGITS)
@pytest.mark.parametrize("loss", ["jensen_shannon", "mutual_learning"])
def test_mutual_losses(probe, loss, case, dtype):
    first, second, classes = LOGITS[case]
    pair = first.astype(dtype), second.astype(dtype)
    computed = probe.gradients_of_loss(loss, pair, classes=classes)
    kind = f"loss.{np.dtype(dtype).name}" + (".transport" if loss == "mutual_learning" else "")
    compare(kind, computed, getattr(losses, loss)(*pair, classes=classes), pair)


@DTYPES
@pytest.mark.parametrize("case", LOGITS)
def test_guarded_mutual_learning(probe, case, dtype):
    first, second, classes = LOGITS[case]
    pair = first.astype(dtype), second.astype(dtype)
    computed = probe.gradients_of_loss("mutual_learning", pair, classes=classes, form="reference")
    expected = losses.mutual_learning(*pair, classes=classes, form="reference")
    compare(f"loss.{np.dtype(dtype).name}.transport", computed, expected, pair)


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("iterations", [1, 3, 100])
@pytest.mark.parametrize("epsilon", [0.01, 0.5])
def test_sinkhorn_stops_where_the_oracle_stops(probe, iterations, epsilon, guarded):
    x, y = draw(6, 3, step=20, scale=0.3), draw(5, 3, step=21, scale=0.3)
    options = {"epsilon": epsilon, "iterations": iterations, "threshold": 0.01, "guarded": guarded}
    computed = probe.gradients_of_loss("sinkhorn", (x, y), **options)
    compare("loss.float64.transport", computed, losses.sinkhorn(x, y, **options), (x, y))


def test_points_far_apart_do_not_underflow(probe):
    """Costs of 2, the largest between two softmax outputs, are 200 epsilon: exp(-200) is 0 in float32."""
    x, y = np.eye(4, dtype=np.float32)[[0, 0]], np.eye(4, dtype=np.float32)[[1, 2]]
    value, gradients = probe.gradients_of_loss("sinkhorn", (x, y))
    assert value == pytest.approx(2, rel=1e-5)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
