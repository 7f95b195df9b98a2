"""Whole networks in float64: backbone, neck and classifier, and the information bottleneck where there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from duoreid.core.losses.float64.walk import Choosing, Outputs, Source, Stage, Walk
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.backbones import backbone
from duoreid.core.networks.images import standardise
from duoreid.core.settings.config import LearnerConfig, NetworkConfig

SLOPE = 0.1
"""Of the leaky ReLU before the bottleneck's classifier."""


def walked(
    network: NetworkConfig,
    tensors: Outputs,
    images: np.ndarray,
    noise: np.ndarray | None = None,
    *,
    dropout: float = 0.0,
    train: bool,
) -> Walk:
    """Return a network's layers in order; in training also the running statistics, each behind its layer.

    tensors: of one network; with `bottleneck.*` among them it is one of MVD. images: pixels from 0 to 255
    (B, H, W, 3). noise: uniforms (B, hidden) for the bottleneck's dropout, whose share is `dropout`, or None.
    """
    walk = Walk(tensors, train=train, group=network.batch_norm_group)
    rule = "pixels / 255, ImageNet's mean and deviation removed"
    image = walk.add("image", rule, lambda outputs: standardise(images))
    feature = backbone(network.arch).walk(walk, image, BackboneConfig(network, *images.shape[1:3]))
    neck = walk.batch_norm("neck", walk.add("features", feature.text, feature.of))
    walk.linear("classifier", neck)
    if "bottleneck.linear1.weight" in walk.tensors:
        _bottleneck(walk, neck, noise if train else None, dropout)
    return walk


def _bottleneck(walk: Walk, v: Source, noise: np.ndarray | None, dropout: float) -> None:
    x = v
    for index in (1, 2):
        linear = walk.linear(f"bottleneck.linear{index}", x)
        x = walk.relu(walk.batch_norm(f"bottleneck.bn{index}", linear))
    z = walk.linear("bottleneck.linear3", x)
    hidden = walk.chosen(walk.batch_norm("bottleneck.hidden_bn", walk.linear("bottleneck.hidden", z)))
    kept = 1.0 if noise is None or not dropout else (noise >= dropout) / (1 - dropout)

    def leak(outputs: Outputs) -> np.ndarray:
        x = hidden.of(outputs)
        return np.where(x > 0, x, SLOPE * x) * kept

    walk.linear("bottleneck.classifier", Source("dropout(leaky relu(bottleneck.hidden_bn))", leak))


def _of_learner(
    config: LearnerConfig, tensors: Outputs, images: np.ndarray, noise: np.ndarray | None, *, train: bool
) -> Walk:
    return walked(config.network, tensors, images, noise, dropout=getattr(config.section, "dropout", 0.0), train=train)


def stages(
    config: LearnerConfig, tensors: Outputs, images: np.ndarray, noise: np.ndarray | None, *, train: bool
) -> list[Stage]:
    """Return the layers of one network of a learner, in order; see `walked` for the arguments."""
    return _of_learner(config, tensors, images, noise, train=train).stages


def choosing(
    config: LearnerConfig, tensors: Outputs, images: np.ndarray, noise: np.ndarray | None
) -> list[tuple[Choosing, np.ndarray]]:
    """Return a network's ReLUs and pooled maxima in the order in which they run, and what comes before each (B, ...).

    In training, in float64. Arguments: as for `stages`.
    """
    walk = _of_learner(config, tensors, images, noise, train=True)
    outputs = truth(walk.stages)
    return [(one, one.before.of(outputs)) for one in walk.choosing]


def truth(listed: list[Stage], keep: Callable[[str, np.ndarray], Any] = lambda name, value: value) -> dict[str, Any]:
    """Run all stages on each other's outputs and return keep(name, output) of each."""
    outputs, kept = {}, {}
    for stage in listed:
        outputs[stage.name] = stage.compute(outputs)
        kept[stage.name] = keep(stage.name, outputs[stage.name])
    return kept


def own_errors(listed: list[Stage], outputs: Outputs) -> dict[str, float]:
    """Return how far each reported output is from what its reported inputs give, relative to the largest number.

    Infinite where a layer is missing, of another shape or not finite.
    """
    errors = {}
    for stage in listed:
        try:
            expected = stage.compute(outputs)
        except (KeyError, ValueError):  # an input is missing or of another shape: that layer has its own line
            errors[stage.name] = float("inf")
            continue
        errors[stage.name] = distance(outputs.get(stage.name), expected)
    return errors


def distance(actual: np.ndarray | None, expected: np.ndarray) -> float:
    """Largest difference relative to the largest expected number; infinite where they cannot be compared."""
    if actual is None or np.shape(actual) != np.shape(expected) or not np.isfinite(actual).all():
        return float("inf")
    scale = float(np.abs(expected).max(initial=0.0))
    apart = float(np.abs(np.asarray(actual, np.float64) - expected).max(initial=0.0))
    return apart / scale if scale else apart


class Network:
    """One network over tensors of canonical names, to be run again and again.

    state: its tensors, float64; they may be replaced between runs. buffers: the running statistics, which forwards in
    training move.
    """

    def __init__(self, config: NetworkConfig, state: Mapping[str, np.ndarray], *, dropout: float = 0.0) -> None:
        self.config, self.dropout = config, dropout
        self.state = {name: np.asarray(value, np.float64) for name, value in state.items()}
        self.buffers = {name: value.copy() for name, value in self.state.items() if ".running_" in name}

    def __call__(self, images: np.ndarray, train: bool, noise: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Run pixels (B, H, W, 3) from 0 to 255 and return the output of every layer by name; see `walked`."""
        tensors = self.state | self.buffers
        outputs = truth(walked(self.config, tensors, images, noise, dropout=self.dropout, train=train).stages)
        if train:
            self.buffers = {name: outputs[name] for name in self.buffers}
        return outputs


def embedding(outputs: Outputs) -> np.ndarray:
    """Return the L2-normalised neck output (B, D), the feature of the test."""
    neck = outputs["neck"]
    return neck / np.linalg.norm(neck, axis=1, keepdims=True)
