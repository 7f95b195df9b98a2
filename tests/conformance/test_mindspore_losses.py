"""MindSpore's losses of several networks at once: an axis in front of the batch."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from duoreid.backends.mindspore import losses
from duoreid.backends.mindspore.runtime import RuntimeConfig, open_runtime


@pytest.fixture(scope="module", autouse=True)
def _cpu():
    open_runtime(RuntimeConfig(device="cpu"))


MODALITIES = Tensor(np.repeat([0, 1], 4).astype(np.int32))
LOSSES = {
    "cross_entropy": lambda x, y, labels: losses.cross_entropy(x, labels, Tensor(4, ms.int32), Tensor(0.1, ms.float64)),
    "soft_cross_entropy": lambda x, y, labels: losses.soft_cross_entropy(x, y, Tensor(4, ms.int32)),
    "distillation": lambda x, y, labels: losses.distillation(y, x, Tensor(4, ms.int32)),
    "distillation, reference": lambda x, y, labels: losses.distillation(y, x, Tensor(4, ms.int32), "reference"),
    "jensen_shannon": lambda x, y, labels: losses.jensen_shannon(x, y, Tensor(4, ms.int32)),
    "softmax_triplet": lambda x, y, labels: losses.softmax_triplet(x, labels),
    "soft_softmax_triplet": lambda x, y, labels: losses.soft_softmax_triplet(x, y, labels),
    "triplet": lambda x, y, labels: losses.triplet(x, labels),
    "centre_triplet": lambda x, y, labels: losses.centre_triplet(x, labels, MODALITIES),
    "ranked_list": lambda x, y, labels: losses.ranked_list(x, labels, MODALITIES),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_several_networks_at_once_are_those_of_each(name):
    """An axis in front of the batch, as the views of MVD and the students of MMT have it: values and gradients."""
    loss = LOSSES[name]
    labels = Tensor(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int32))
    x, y = np.random.default_rng(3).standard_normal((2, 3, 8, 5))
    both = ms.value_and_grad(lambda one: loss(one, Tensor(y), labels).sum())
    value, gradient = (one.asnumpy() for one in both(Tensor(x)))
    each = [ms.value_and_grad(lambda one, k=k: loss(one, Tensor(y[k]), labels))(Tensor(x[k])) for k in range(3)]
    np.testing.assert_allclose(value, sum(one.asnumpy() for one, _ in each), rtol=1e-12)
    np.testing.assert_allclose(gradient, [one.asnumpy() for _, one in each], rtol=1e-9, atol=1e-13)
    assert np.abs(gradient).max() > 1e-3
