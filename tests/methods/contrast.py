"""A method that only the tests know: adaptation without a source, with a memory bank that belongs to the state.

What the library asks of a method stands here and nowhere else: its recipe, its host half, its oracle loss, a function
for each backend, its entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from duoreid.core.contract.learner import Batch
from duoreid.core.methods.adaptation import Adaptation
from duoreid.core.methods.registry import METHODS
from duoreid.core.methods.spec import MethodSpec
from duoreid.core.networks.backbones import backbone
from duoreid.core.networks.tensors import Entry
from duoreid.core.settings.config import Config, DataConfig, EvaluatedRunConfig, LearnerConfig, option
from duoreid.core.settings.transfer import ClusterConfig

BANK = "memory.bank"


# -- its settings ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TargetConfig(DataConfig):
    """One dataset without labels."""

    target: str = option("synthetic-b", "dataset to adapt to")


@dataclass(frozen=True)
class ContrastConfig(ClusterConfig):
    """Training against a memory of each cluster."""

    clusters: int = option(6, "K of k-means", least=2)
    momentum: float = option(0.9, "share of the memory that stays in a step", least=0, most=1)


@dataclass(frozen=True)
class ContrastRecipe(Config):
    """`contrast`."""

    method: str = "contrast"
    preset: str = ""
    data: TargetConfig = field(default_factory=TargetConfig)
    adapt: ContrastConfig = field(default_factory=ContrastConfig)
    run: EvaluatedRunConfig = field(default_factory=EvaluatedRunConfig)


# -- its loss: features to the memory of their cluster ----------------------------------------------------------


def bank_of(config: LearnerConfig) -> list[Entry]:
    """One row of the memory for each class."""
    return [Entry(BANK, (config.capacity, backbone(config.network.arch).features), "ones", False)]


def oracle(config: LearnerConfig, outputs: dict[str, Any], batch: Batch, classes: int) -> dict[str, float]:
    """Mean squared distance of the features to their cluster's memory as it is in a fresh state: ones."""
    features = outputs["student"][0]
    return {"total": float(((features - 1.0) ** 2).mean())}


def torch_half() -> Any:
    """The device half in torch."""
    import torch

    from duoreid.backends.torch.methods import DeviceHalf, one_feature_each, one_view_each, plain_network

    def loss(forward: Any, inputs: Any, classes: Any, config: LearnerConfig) -> dict[str, Any]:
        features, _ = forward("student", inputs.views[0])
        bank = inputs.arrays[BANK]
        total = ((features - bank[inputs.labels]) ** 2).mean()
        with torch.no_grad():
            seen = torch.nn.functional.one_hot(inputs.labels, len(bank)).to(bank.dtype)
            count = seen.sum(0)[:, None]
            keep = config.section.momentum
            moved = keep * bank + (1 - keep) * (seen.T @ features) / count.clamp(min=1)
            bank.copy_(torch.where(count > 0, moved, bank))
        return {"total": total}

    return DeviceHalf(plain_network, one_view_each, loss, one_feature_each)


def mindspore_half() -> Any:
    """The device half in MindSpore; its cells stand in a file that MindSpore can parse."""
    from duoreid.backends.mindspore.methods import DeviceHalf, one_feature_each
    from tests.methods.contrast_mindspore import Contrast

    return DeviceHalf(Contrast, one_feature_each)


SPEC = MethodSpec(
    name="contrast",
    about="a memory of each cluster (tests)",
    recipe=ContrastRecipe,
    default_preset="",
    stages=("adapt",),
    pipeline="transfer",
    datasets=("target",),
    host=partial(Adaptation, views=1),
    students=("student",),
    pseudo_labels=True,
    views="one augmentation",
    view_counts=(1,),
    arrays=bank_of,
    oracle=oracle,
)


@contextmanager
def registered(*backends: str) -> Iterator[None]:
    """Let the method be one of the library's within the block: an entry in core, and one in each backend."""
    import importlib

    METHODS["contrast"] = SPEC
    halves = {"torch": torch_half, "mindspore": mindspore_half}
    tables = {name: importlib.import_module(f"duoreid.backends.{name}.methods").METHODS for name in backends}
    for name, table in tables.items():
        table["contrast"] = halves[name]()
    try:
        yield
    finally:
        for table in (METHODS, *tables.values()):
            del table["contrast"]


def filled(state: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Return a state whose memory is no constant."""
    drawn = np.random.default_rng(seed).standard_normal(state[BANK].shape).astype(np.float32)
    return state | {BANK: drawn}
