"""The device halves of the methods: networks and a batch in, losses by name out; "total" is what is minimised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from duoreid.backends.torch import multi_view
from duoreid.backends.torch.inputs import Forward, Inputs
from duoreid.backends.torch.losses import cross_entropy, soft_cross_entropy, soft_softmax_triplet, softmax_triplet
from duoreid.backends.torch.networks import ReIDNetwork, VariationalNetwork, normalise
from duoreid.core.settings.config import LearnerConfig


def supervised(forward: Forward, inputs: Inputs, classes: Tensor, config: LearnerConfig) -> dict[str, Tensor]:
    """Hard losses of one network on view 0; a second view only moves the batch-norm statistics (D2)."""
    views, labels = inputs.views, inputs.labels
    features, logits = forward("student", views[0])
    if len(views) > 1:
        with torch.no_grad():
            forward("student", views[1])
    parts = {
        "hard_ce": cross_entropy(logits, labels, classes, config.section.smoothing),
        "hard_triplet": softmax_triplet(features, labels),
    }
    return parts | {"total": sum(parts.values())}


def mutual_mean_teaching(forward: Forward, inputs: Inputs, classes: Tensor, config: LearnerConfig) -> dict[str, Tensor]:
    """Loss of MMT (section 3.2): student k and teacher k see view k; each student follows the other's teacher."""
    views, labels, smoothing = inputs.views, inputs.labels, config.section.smoothing
    features1, logits1 = forward("student1", views[0])
    features2, logits2 = forward("student2", views[1])
    with torch.no_grad():
        teacher_features1, teacher_logits1 = forward("teacher1", views[0])
        teacher_features2, teacher_logits2 = forward("teacher2", views[1])
    parts = {
        "hard_ce": cross_entropy(logits1, labels, classes, smoothing)
        + cross_entropy(logits2, labels, classes, smoothing),
        "hard_triplet": softmax_triplet(features1, labels) + softmax_triplet(features2, labels),
        "soft_ce": soft_cross_entropy(logits1, teacher_logits2, classes)
        + soft_cross_entropy(logits2, teacher_logits1, classes),
        "soft_triplet": soft_softmax_triplet(features1, teacher_features2, labels)
        + soft_softmax_triplet(features2, teacher_features1, labels),
    }
    return parts | {"total": sum(getattr(config.section, name) * part for name, part in parts.items())}


def plain_network(config: LearnerConfig, capacity: int) -> ReIDNetwork:
    """A network as every method but MVD has it."""
    return ReIDNetwork.of(config, capacity)


def one_view_each(views: Sequence[Tensor], dtype: torch.dtype, config: LearnerConfig) -> list[Tensor]:
    """Each view uint8 (B, H, W, 3) normalised by itself."""
    return [normalise(view, dtype) for view in views]


def one_feature_each(networks: Sequence[ReIDNetwork], views: Sequence[Tensor]) -> Tensor:
    """One view (b, 3, H, W) -> the L2-normalised neck output of every network (M, b, D)."""
    return torch.stack([network.embed(views[0]) for network in networks])


class DeviceHalf(NamedTuple):
    """What a learner needs to know of a method.

    network: (configuration, capacity) -> one network. views: (uint8 views (B, H, W, 3), type, configuration) -> what
    the networks see. loss: see the functions above. embed: (embedding networks, the views of images) -> features
    (M, b, D).
    """

    network: Callable[[LearnerConfig, int], ReIDNetwork]
    views: Callable[[Sequence[Tensor], torch.dtype, LearnerConfig], list[Tensor]]
    loss: Callable[[Forward, Inputs, Tensor, LearnerConfig], dict[str, Tensor]]
    embed: Callable[[Sequence[ReIDNetwork], Sequence[Tensor]], Tensor]


METHODS = {
    "source": DeviceHalf(plain_network, one_view_each, supervised, one_feature_each),
    "baseline": DeviceHalf(plain_network, one_view_each, supervised, one_feature_each),
    "mmt": DeviceHalf(plain_network, one_view_each, mutual_mean_teaching, one_feature_each),
    "mvd": DeviceHalf(
        VariationalNetwork.of, multi_view.both_forms, multi_view.variational_distillation, multi_view.joint_feature
    ),
}
