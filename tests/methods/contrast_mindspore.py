"""The cell of tests/methods/contrast.py in MindSpore."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from duoreid.backends.mindspore.networks import ReIDNetwork, normalise
from duoreid.backends.mindspore.processes import Single, Whole
from duoreid.core.contract.learner import Batch
from duoreid.core.networks.backbones import backbone
from duoreid.core.settings.config import LearnerConfig


class Memory(nn.Cell):
    """One row for each class."""

    def __init__(self, rows: int, columns: int, dtype: ms.dtype) -> None:
        super().__init__()
        self.bank = Parameter(Tensor(np.ones((rows, columns)), dtype), requires_grad=False)

    def construct(self, features: Tensor, labels: Tensor, keep: Tensor, rest: Tensor) -> Tensor:
        """Features (B, D), labels (B,) -> the memory's rows of these labels; then the memory moves."""
        old = self.bank + 0
        rows = ops.gather(old, labels, 0)
        seen = (labels.expand_dims(1) == ops.arange(old.shape[0]).expand_dims(0)).astype(features.dtype)
        count = seen.sum(0).expand_dims(1)
        sums = ops.matmul(ops.transpose(seen, (1, 0)), ops.stop_gradient(features))
        moved = keep * old + rest * sums / ops.maximum(count, ops.ones_like(count))
        ops.assign(self.bank, ops.where(count > 0, moved, old))
        return ops.stop_gradient(rows)


class Contrast(nn.Cell):
    """Mean squared distance of the features to their cluster's memory."""

    NAMES = ("total",)

    def __init__(self, config: LearnerConfig, dtype: ms.dtype, processes: Single) -> None:
        super().__init__()
        self.whole, self.dtype, self.together = Whole(processes), dtype, 1
        momentum = config.section.momentum
        self.keep, self.rest = Tensor(momentum, dtype), Tensor(1 - momentum, dtype)
        self.student = ReIDNetwork.of(config, config.capacity, dtype)
        self.memory = Memory(config.capacity, backbone(config.network.arch).features, dtype)

    def construct(self, views: Tensor, labels: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Views uint8 (1, B, H, W, 3), labels (B,) -> (total, losses in the order of NAMES)."""
        features, _ = self.whole(self.student(normalise(views[0], self.dtype), True), labels.shape[0])
        distances = features - self.memory(features, labels, self.keep, self.rest)
        total = (distances * distances).mean()
        return total, ops.stack((total,))

    def check(self, batch: Batch) -> None:
        """Batch norm's groups must divide the batch."""
        self.student.check_batch(batch.images.shape[1], train=True)
