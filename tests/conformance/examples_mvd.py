"""Configurations, states and batches of MVD for the conformance and parity tests."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from duoreid.core.contract.learner import Batch
from duoreid.core.contract.state import FIRST, MOMENTUM, SECOND, initial
from duoreid.core.methods.registry import spec_of
from duoreid.core.networks.heads import HEAD_WIDTH
from duoreid.core.random import rng
from duoreid.core.settings.config import LearnerConfig, NetworkConfig
from duoreid.core.settings.cross_modal import MVDConfig
from tests.conformance.examples import CAPACITY, CLASSES, HEIGHT, WIDTH

LABELS = np.repeat([3, 0, 5, 2], 2).astype(np.int32)

SETTINGS = MVDConfig(representation=12, cml=1.5, vsd=0.7, vcd=0.9, vml=1.2)
FULL = spec_of("mvd").learner_config(NetworkConfig("shallow"), CAPACITY, CLASSES, HEIGHT, WIDTH, section=SETTINGS)


def variant(
    base: LearnerConfig = FULL, optimiser: str = "adam", factor: float = 1.0, **changes: object
) -> LearnerConfig:
    """Return a configuration with other settings of MVD."""
    return replace(base, optimiser=optimiser, backbone_factor=factor, section=replace(base.section, **changes))


PORT = {"conv_padding": "same", "last_norm_epsilon": 1e-3, "last_norm_momentum": 0.003}
"""How the layers of the MindSpore port differ."""

CONFIGS = {
    "full": FULL,
    "no dropout": variant(dropout=0.0),
    "reference, attention": variant(distillation="reference", channel_attention=True, vml=0.0),
    "id+tri, triplet": variant(objective="id+tri", metric="triplet"),
    "id+tri, centre": variant(objective="id+tri", metric="centre"),
    "id": variant(objective="id"),
    "sgd, slow backbone": variant(optimiser="sgd", factor=0.1),
    "adam, slow backbone": variant(factor=0.1),
    "groups, attention": variant(
        replace(FULL, network=NetworkConfig("shallow", batch_norm_group=4)),
        "sgd",
        0.1,
        distillation="reference",
        metric="centre",
        channel_attention=True,
        dropout=0.0,
        vml=0.0,
    ),
    "the PyTorch code's": variant(
        replace(FULL, network=NetworkConfig("shallow", batch_norm_group=8)),
        distillation="reference",
        channel_attention=True,
        vml=0.0,
        grey_form="normalised",
        shared_norm="grey-first",
        mixed_groups=True,
        biases=True,
    ),
    "the port's": variant(
        replace(FULL, network=NetworkConfig("shallow", **PORT)),
        factor=0.1,
        objective="id+tri",
        metric="triplet",
        grey_form="port",
        shared_norm="colour-first",
        biases=True,
        neck_bias=True,
        factor_reach="observation",
        feature="each",
    ),
    "all the others": variant(
        replace(FULL, network=NetworkConfig("shallow", batch_norm_group=4, **PORT)),
        "sgd",
        0.1,
        distillation="reference",
        metric="centre",
        channel_attention=True,
        dropout=0.0,
        vml=0.0,
        grey_form="port",
        shared_norm="grey-first",
        mixed_groups=True,
        biases=True,
        neck_bias=True,
        factor_reach="observation",
        feature="each",
    ),
}


@cache
def _example_state(config: LearnerConfig, seed: int) -> dict[str, np.ndarray]:
    state = {}
    for name, value in initial(config, seed).items():
        draw = rng(seed, f"example/{name}")
        if name.startswith((FIRST, MOMENTUM)):
            value = np.float32(2e-2) * (draw.random(value.shape, np.float32) - np.float32(0.5))
        elif name.startswith(SECOND):
            value = np.float32(1e-4) * draw.random(value.shape, np.float32)
        elif name.endswith(".step"):
            value = np.int64(7)
        elif name.endswith("classifier.weight"):
            value = 60 * value
        elif name.endswith(".gamma"):
            value = np.full(value.shape, 0.3, np.float32)
        elif name.endswith((".running_mean", ".bias")):
            value = (0.2 * draw.standard_normal(value.shape)).astype(np.float32)
        elif value.ndim == 1:
            value = draw.uniform(0.5, 1.5, value.shape).astype(np.float32)
        state[name] = value
    return state


def example_state(config: LearnerConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Return a state, float32, in which every tensor is different; its arrays are shared: do not write into them."""
    return dict(_example_state(config, seed))


def fresh(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the state with an optimiser that has done no step."""
    prefixes = (FIRST, SECOND, MOMENTUM)
    return {
        name: np.zeros_like(value) if name.startswith(prefixes) else np.int64(0) if name.endswith(".step") else value
        for name, value in state.items()
    }


def example_batch(config: LearnerConfig, step: int = 0) -> Batch:
    """Return 2 visible and 2 infrared images of each of 4 identities, with noise where there is dropout."""
    draw = rng(0, "example/mvd", 0, step)
    images = draw.integers(0, 256, (2, len(LABELS), HEIGHT, WIDTH, 3), dtype=np.uint8)
    images[1] = images[1, :, :, :, :1]
    noise = draw.random((8 * len(LABELS), HEAD_WIDTH), np.float32) if config.section.dropout else None
    return Batch(images, LABELS, noise)
