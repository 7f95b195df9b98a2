"""The four views of MVD's networks with the public code's tensors, computed by a backend's layers one after another.

What today's networks lack is made up for here: the grey form comes as a picture of its own, the biases that our
networks do not have are added, and the shared branch runs once for each form, so that each has its own statistics.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from duoreid.benchmarks.golden import mvd
from duoreid.core.methods.registry import spec_of
from duoreid.core.settings.config import NetworkConfig
from duoreid.core.settings.cross_modal import MVDConfig
from tests.golden.numbers import document

VIEWS = {
    "visible": ("visible", False),
    "infrared": ("infrared", True),
    "shared_grey": ("shared", True),
    "shared_colour": ("shared", False),
}
"""Branch of each view and whether it sees grey, in the order in which the public code runs them."""


class Outputs(NamedTuple):
    """Of one view: v and z with their logits, and the branch's tensors that move, as they are afterwards."""

    v: np.ndarray
    v_logits: np.ndarray
    z: np.ndarray
    z_logits: np.ndarray
    statistics: dict[str, np.ndarray]


def learner_of(probe: ModuleType, precision: str) -> tuple[Any, dict[str, np.ndarray]]:
    """Return a learner with the tensors of the PyTorch code, and the biases that it does not have."""
    section = MVDConfig(channel_attention=True, dropout=0.0)
    size = (mvd.CLASSES, mvd.CLASSES, 128, 64)
    config = spec_of("mvd").learner_config(NetworkConfig("resnet50"), *size, section=section)
    learner = probe.make_learner(config, precision=precision)
    tensors, biases = mvd.without_biases(mvd.tensors_of(document("mvd/mvd-torch")))
    learner.import_state(learner.export_state() | tensors)
    return learner, biases


def views(
    probe: ModuleType, learner: Any, biases: dict[str, np.ndarray], pictures: np.ndarray, *, train: bool
) -> Iterator[tuple[str, Outputs]]:
    """Run all pictures uint8 (B, H, W, 3) through the views; in training the branches' statistics move."""
    for name, (role, grey) in VIEWS.items():
        seen = mvd.grey(pictures) if grey else pictures
        found = probe.layers(learner, role, seen, train=train)
        statistics = {key: value.astype(np.float64) for key, value in found.items() if ".running_" in key}
        for key in statistics:
            statistics[key] += biases.get(f"{role}.{key}", 0.0)
        logits = found["classifier"] + biases[f"{role}.classifier.bias"].astype(found["classifier"].dtype)
        yield (
            name,
            Outputs(found["neck"], logits, found["bottleneck.linear3"], found["bottleneck.classifier"], statistics),
        )
