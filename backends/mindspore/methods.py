"""The device halves of the methods: uint8 views and labels in, the loss to minimise and every loss by name out.

A method's cell holds its networks under their roles, so that the parameters have the names of the canonical state.
NAMES: of the losses. together: how many views `construct` takes at once; those behind them go to `adapt`. check: raise
ValueError for a batch that the networks cannot take, which compiled functions cannot say. Where several processes
share a batch, the views are this process's rows of it and the labels those of all rows, to which `whole` extends what
a network has found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from duoreid.backends.mindspore import multi_view
from duoreid.backends.mindspore.losses import (
    cross_entropy,
    soft_cross_entropy,
    soft_softmax_triplet,
    softmax_triplet,
    weigh,
)
from duoreid.backends.mindspore.networks import ReIDNetwork, normalise
from duoreid.backends.mindspore.processes import Single, Whole
from duoreid.core.contract.learner import Batch
from duoreid.core.settings.config import LearnerConfig


class Supervised(nn.Cell):
    """Hard losses of one network on view 0; a second view only moves the batch-norm statistics (D2).

    In float32 one compiled function sees both views: a function of its own for the second would take four times as
    long as its part in the first. In float64 there is one, `adapt`: where a compiled function reads, assigns and
    reads again a float64 parameter, as the statistics would be, the first reading passes through float32.
    """

    NAMES = ("hard_ce", "hard_triplet", "total")

    def __init__(self, config: LearnerConfig, dtype: ms.dtype, processes: Single) -> None:
        super().__init__()
        self.whole = Whole(processes)
        self.dtype, self.smoothing = dtype, Tensor(config.section.smoothing, dtype)
        self.weights = Tensor(np.ones(len(self.NAMES) - 1), dtype)
        self.student = ReIDNetwork.of(config, config.capacity, dtype)
        self.together = 1 if dtype == ms.float64 else 2

    def construct(self, views: Tensor, labels: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Views uint8 (V, B, H, W, 3), labels (B,) -> (total, losses in the order of NAMES)."""
        features, logits = self.whole(self.student(normalise(views[0], self.dtype), True), labels.shape[0])
        if views.shape[0] > 1:
            self.student(normalise(views[1], self.dtype), True)
        parts = (cross_entropy(logits, labels, classes, self.smoothing), softmax_triplet(features, labels))
        return weigh(parts, self.weights)

    def check(self, batch: Batch) -> None:
        """See above."""
        self.student.check_batch(batch.images.shape[1], train=True)

    def adapt(self, view: Tensor) -> Tensor:
        """Move the batch-norm statistics by a view uint8 (B, H, W, 3); returns its logits, so that all of it runs."""
        return self.student(normalise(view, self.dtype), True)[1]


class MutualMeanTeaching(nn.Cell):
    """Loss of MMT (section 3.2): student k and teacher k see view k; each student follows the other's teacher."""

    NAMES = ("hard_ce", "hard_triplet", "soft_ce", "soft_triplet", "total")

    def __init__(self, config: LearnerConfig, dtype: ms.dtype, processes: Single) -> None:
        super().__init__()
        self.whole = Whole(processes)
        self.dtype, self.smoothing = dtype, Tensor(config.section.smoothing, dtype)
        weights = [getattr(config.section, name) for name in self.NAMES if name != "total"]
        self.weights = Tensor(np.array(weights, np.float64), dtype)
        self.together = 2
        self.student1 = ReIDNetwork.of(config, config.capacity, dtype)
        self.student2 = ReIDNetwork.of(config, config.capacity, dtype)
        self.teacher1 = ReIDNetwork.of(config, config.capacity, dtype)
        self.teacher2 = ReIDNetwork.of(config, config.capacity, dtype)

    def construct(self, views: Tensor, labels: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Views uint8 (2, B, H, W, 3), labels (B,) -> (total, losses in the order of NAMES)."""
        view1, view2 = normalise(views[0], self.dtype), normalise(views[1], self.dtype)
        count = labels.shape[0]
        features1, logits1 = self.whole(self.student1(view1, True), count)
        features2, logits2 = self.whole(self.student2(view2, True), count)
        teacher_features1, teacher_logits1 = self.whole(self.teacher1(view1, True), count)
        teacher_features2, teacher_logits2 = self.whole(self.teacher2(view2, True), count)
        # Both students at once: each loss is compiled once.
        features, logits = ops.stack((features1, features2)), ops.stack((logits1, logits2))
        others = ops.stack((teacher_features2, teacher_features1)), ops.stack((teacher_logits2, teacher_logits1))
        parts = (
            cross_entropy(logits, labels, classes, self.smoothing).sum(),
            softmax_triplet(features, labels).sum(),
            soft_cross_entropy(logits, others[1], classes).sum(),
            soft_softmax_triplet(features, others[0], labels).sum(),
        )
        return weigh(parts, self.weights)

    def check(self, batch: Batch) -> None:
        """See above."""
        self.student1.check_batch(batch.images.shape[1], train=True)


def one_feature_each(networks: Sequence[ReIDNetwork], images: Tensor, dtype: ms.dtype) -> Tensor:
    """Images uint8 (b, H, W, 3) -> the L2-normalised neck output of every network (M, b, D)."""
    x = normalise(images, dtype)
    return ops.stack([network.embed(x) for network in networks])


class DeviceHalf(NamedTuple):
    """What a learner needs to know of a method.

    cell: (configuration, type, processes) -> its networks and its losses. embed: (embedding networks, images uint8
    (b, H, W, 3), type) -> features (M, b, D).
    """

    cell: Callable[[LearnerConfig, ms.dtype, Single], nn.Cell]
    embed: Callable[[Sequence[ReIDNetwork], Tensor, ms.dtype], Tensor]


METHODS = {
    "source": DeviceHalf(Supervised, one_feature_each),
    "baseline": DeviceHalf(Supervised, one_feature_each),
    "mmt": DeviceHalf(MutualMeanTeaching, one_feature_each),
    "mvd": DeviceHalf(multi_view.VariationalDistillation, multi_view.joint_feature),
}
