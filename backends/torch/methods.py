"""The device halves of the methods: networks and a batch in, losses by name out; "total" is what is minimised."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from backends.torch.losses import cross_entropy, soft_cross_entropy, soft_softmax_triplet, softmax_triplet
from core.config import LearnerConfig

Forward = Callable[[str, Tensor], tuple[Tensor, Tensor]]
"""(role of a network, its view of the batch (B, 3, H, W)) -> (features, logits)."""

Loss = Callable[[Forward, Tensor, Tensor, Tensor, LearnerConfig], dict[str, Tensor]]


def supervised(forward: Forward, views: Tensor, labels: Tensor, classes: Tensor, config: LearnerConfig) -> Mapping:
    """Hard losses of one network on view 0; a second view only moves the batch-norm statistics (D2)."""
    features, logits = forward("student", views[0])
    if len(views) > 1:
        with torch.no_grad():
            forward("student", views[1])
    parts = {
        "hard_ce": cross_entropy(logits, labels, classes, config.smoothing),
        "hard_triplet": softmax_triplet(features, labels),
    }
    return _weigh(parts, config)


def mutual_mean_teaching(
    forward: Forward, views: Tensor, labels: Tensor, classes: Tensor, config: LearnerConfig
) -> Mapping:
    """Loss of MMT (section 3.2): student k and teacher k see view k; each student follows the other's teacher."""
    features1, logits1 = forward("student1", views[0])
    features2, logits2 = forward("student2", views[1])
    with torch.no_grad():
        teacher_features1, teacher_logits1 = forward("teacher1", views[0])
        teacher_features2, teacher_logits2 = forward("teacher2", views[1])
    parts = {
        "hard_ce": cross_entropy(logits1, labels, classes, config.smoothing)
        + cross_entropy(logits2, labels, classes, config.smoothing),
        "hard_triplet": softmax_triplet(features1, labels) + softmax_triplet(features2, labels),
        "soft_ce": soft_cross_entropy(logits1, teacher_logits2, classes)
        + soft_cross_entropy(logits2, teacher_logits1, classes),
        "soft_triplet": soft_softmax_triplet(features1, teacher_features2, labels)
        + soft_softmax_triplet(features2, teacher_features1, labels),
    }
    return _weigh(parts, config)


def _weigh(parts: dict[str, Tensor], config: LearnerConfig) -> dict[str, Tensor]:
    return parts | {"total": sum(getattr(config, name) * part for name, part in parts.items())}


LOSSES: dict[str, Loss] = {"source": supervised, "baseline": supervised, "mmt": mutual_mean_teaching}
