"""Inputs of the conformance and parity tests: loss cases, configurations, states and batches. All keyed, all small."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np

from duoreid.core.contract.learner import Batch
from duoreid.core.contract.state import FIRST, SECOND, expected_shapes
from duoreid.core.methods.registry import spec_of
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.backbones import BACKBONES
from duoreid.core.networks.backbones.resnet import ResNet
from duoreid.core.networks.network import initial_state
from duoreid.core.random import rng
from duoreid.core.settings.config import LearnerConfig, NetworkConfig

HEIGHT, WIDTH, CAPACITY, CLASSES = 32, 16, 10, 6
LABELS = np.repeat([3, 0, 5, 2], 2).astype(np.int32)

BACKBONES["shallow"] = ResNet("basic", (1, 1, 0, 0), (8, 16, 16, 16), stem=8)
"""For tests alone: it compiles and computes in double precision in a fraction of the time of `tiny`."""

SOURCE = spec_of("source").learner_config(NetworkConfig("tiny"), CAPACITY, CLASSES, HEIGHT, WIDTH)
BASELINE = spec_of("baseline").learner_config(NetworkConfig("tiny"), CAPACITY, CLASSES, HEIGHT, WIDTH)
SHALLOW = replace(BASELINE, network=NetworkConfig("shallow"))
MMT = spec_of("mmt").learner_config(NetworkConfig("tiny"), CAPACITY, CLASSES, HEIGHT, WIDTH)


def example_network(arch: str, seed: int) -> dict[str, np.ndarray]:
    """Return one network's tensors, float32, all different: statistics, biases and norms are no constants.

    The classifier is large enough for the softmax to matter.
    """
    state = initial_state(BackboneConfig(NetworkConfig(arch), HEIGHT, WIDTH), CAPACITY, seed)
    for name, value in state.items():
        draw = rng(seed, f"example/{name}")
        if name == "classifier.weight":
            state[name] = 100 * value
        elif value.ndim == 4:
            state[name] = value * np.float32(draw.uniform(0.5, 1.5))
        elif name.endswith(("running_mean", "bias")):
            state[name] = (0.2 * draw.standard_normal(value.shape)).astype(np.float32)
        else:
            state[name] = draw.uniform(0.5, 1.5, value.shape).astype(np.float32)
    return state


@cache
def _example_state(config: LearnerConfig, seed: int) -> dict[str, np.ndarray]:
    chosen, state = spec_of(config.method), {}
    networks = [example_network(config.network.arch, seed + index) for index in range(len(chosen.students))]
    for index, role in enumerate(chosen.all):
        drawn = networks[index % len(networks)]
        if role in chosen.teachers:  # near its student, with statistics of its own
            other = example_network(config.network.arch, seed + 10 + index)
            drawn = {
                n: other[n] if ".running_" in n else 0.8 * v + np.float32(0.2) * other[n] for n, v in drawn.items()
            }
        state.update({f"{role}.{name}": value for name, value in drawn.items()})
    for name, shape in expected_shapes(config).items():
        draw = rng(seed, f"example/{name}")
        if name.startswith(FIRST):
            state[name] = np.float32(2e-2) * (draw.random(shape, np.float32) - np.float32(0.5))
        elif name.startswith(SECOND):
            state[name] = np.float32(1e-4) * draw.random(shape, np.float32)
    return state | {"adam.step": np.int64(7), "classes": np.int64(config.classes)}


def example_state(config: LearnerConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Return a state, float32, in which every tensor is different: teachers, statistics and moments included.

    adam.step is 7. The arrays are shared: do not write into them.
    """
    return dict(_example_state(config, seed))


def fresh(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the state with an optimiser that has done no step."""
    moments = {name: np.zeros_like(value) for name, value in state.items() if name.startswith((FIRST, SECOND))}
    return state | moments | {"adam.step": np.int64(0)}


def example_batch(step: int = 0, *, views: int = 2, count: int = len(LABELS)) -> Batch:
    """Return a batch of random images, 2 of each of 4 identities (or `count` images)."""
    images = rng(0, "example/images", 0, step).integers(0, 256, (views, count, HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Batch(images, LABELS[:count])


def views_of(config: LearnerConfig) -> int:
    """Return how many views a method's batches have."""
    return 1 if config.method == "baseline" else 2


class LogitCase(NamedTuple):
    """Inputs of the cross-entropies. classes: live columns."""

    logits: np.ndarray
    teacher: np.ndarray
    labels: np.ndarray
    classes: int


def _logits(rows: int, columns: int, scale: float, classes: int | None = None) -> LogitCase:
    draw = rng(0, f"logits/{rows}/{columns}/{scale}")
    live = classes or columns
    logits, teacher = scale * draw.standard_normal((2, rows, columns))
    if classes:
        logits[:, classes:] += 100 * scale  # a softmax that saw dead columns would see nothing else
        teacher[:, classes:] += 100 * scale
    return LogitCase(logits, teacher, draw.integers(0, live, rows), live)


def _equal_logits() -> LogitCase:
    return LogitCase(np.full((4, 6), 2.5), np.full((4, 6), -1.0), np.array([0, 5, 5, 2]), 6)


LOGIT_CASES = {
    "plain": _logits(16, 10, 1.0),
    "one row": _logits(1, 3, 1.0),
    "large logits": _logits(8, 12, 1000.0),
    "equal logits": _equal_logits(),
    "masked classes": _logits(8, 12, 3.0, classes=5),
    "two live classes": _logits(6, 64, 1.0, classes=2),
    "one live class": _logits(4, 5, 1.0, classes=1),
}


class FeatureCase(NamedTuple):
    """Inputs of the triplet losses. cancelling: distances that float32 knows to a few digits only."""

    features: np.ndarray
    teacher: np.ndarray
    labels: np.ndarray
    cancelling: bool = False


def _features(labels: list[int], width: int, scale: float = 1.0) -> FeatureCase:
    draw = rng(0, f"features/{labels}/{width}/{scale}")
    features, teacher = scale * draw.standard_normal((2, len(labels), width))
    return FeatureCase(features, teacher, np.array(labels))


def _ties() -> FeatureCase:
    """Integers, so that equal distances are equal in any precision; some rows are duplicates, also across labels."""
    features, teacher = rng(0, "features/ties").integers(0, 3, (2, 12, 3)).astype(float)
    features[1], features[5] = features[0], features[0]
    teacher[3] = teacher[2]
    return FeatureCase(features, teacher, np.arange(12) // 2 % 4)


def _near_equal() -> FeatureCase:
    """Points on a short line far from the origin, at gaps that differ enough for mining to be certain."""
    draw = rng(0, "features/near-equal")
    base, direction = draw.standard_normal((2, 16))
    places = np.array([0.0, 0.11, 0.36, 0.89, 1.6, 2.9]) * 0.1
    features = 2 * base + places[:, None] * direction
    return FeatureCase(features, features[::-1].copy(), np.array([0, 1, 0, 2, 1, 2]), cancelling=True)


FEATURE_CASES = {
    "4 x 4": _features([k for k in range(4) for _ in range(4)], 32),
    "one image an identity": _features(list(range(6)), 8),
    "uneven identities": _features([7, 7, 7, 0, 2, 2, 9], 5),
    "shuffled labels": _features([1, 0, 2, 1, 2, 0, 0, 1], 16),
    "large features": _features([0, 0, 1, 1, 2, 2, 3, 3], 64, 1000.0),
    "ties and duplicates": _ties(),
    "near-equal features": _near_equal(),
}
