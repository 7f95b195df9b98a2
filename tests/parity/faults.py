"""Faults planted in the torch backend, one at a time, and where a report of parity must point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from duoreid.backends.torch import layers, learner, losses, methods, optimiser, probe
from duoreid.core.settings.config import LearnerConfig

Plant = Callable[[pytest.MonkeyPatch, LearnerConfig], Any]
"""Patches the backend and returns the learner that carries the fault."""


class Fault(NamedTuple):
    """plant: how. kind, name, mode: of the check in float32 that a report names first."""

    plant: Plant
    kind: str
    name: str
    mode: str = ""


def _constant(module: Any, name: str, value: Any) -> Plant:
    def plant(patch: pytest.MonkeyPatch, config: LearnerConfig) -> Any:
        patch.setattr(module, name, value)
        return probe.make_learner(config)

    return plant


def _norms(name: str, value: float) -> Plant:
    """Every batch norm of every network computes with another number."""

    def plant(patch: pytest.MonkeyPatch, config: LearnerConfig) -> Any:
        made = probe.make_learner(config)
        norms = [part for one in made.networks.values() for part in one.modules() if isinstance(part, layers.BatchNorm)]
        assert norms
        for norm in norms:
            setattr(norm, name, value)
        return made

    return plant


def _network(**changes: Any) -> Plant:
    def plant(patch: pytest.MonkeyPatch, config: LearnerConfig) -> Any:
        return probe.make_learner(replace(config, network=replace(config.network, **changes)))

    return plant


def _layer(name: str, forward: Callable[[Any, torch.Tensor], torch.Tensor]) -> Plant:
    """One layer of every network computes something else."""

    def plant(patch: pytest.MonkeyPatch, config: LearnerConfig) -> Any:
        made = probe.make_learner(config)
        for network in made.networks.values():
            module = network.get_submodule(name)
            module.forward = forward.__get__(module)
        return made

    return plant


def _shifted(conv: Any, x: torch.Tensor) -> torch.Tensor:
    return F.conv2d(F.pad(x, (2, 0, 2, 0)), conv.weight, stride=conv.stride)


def _without_relu(block: Any, x: torch.Tensor) -> torch.Tensor:
    shortcut = x if block.downsample is None else block.downsample(x)
    return F.relu(block.bn2(block.conv2(block.bn1(block.conv1(x)))) + shortcut)


def _without_last_relu(block: Any, x: torch.Tensor) -> torch.Tensor:
    shortcut = x if block.downsample is None else block.downsample(x)
    return block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x))))) + shortcut


def _biased(norm: Any, x: torch.Tensor) -> torch.Tensor:
    moved = norm.running_var.clone()
    out = F.batch_norm(x, norm.running_mean, moved, norm.weight, norm.bias, norm.training, layers.MOMENTUM, 1e-5)
    if norm.training:
        share = norm.running_mean.numel() / x.numel()  # 1 / count: biased = unbiased (1 - 1 / count)
        norm.running_var.copy_(moved - share * (moved - (1 - layers.MOMENTUM) * norm.running_var))
    return out


@torch.no_grad()
def _swapped_ema(teachers: list, students: list, decay: float) -> None:
    torch._foreach_mul_(teachers, 1 - decay)
    torch._foreach_add_(teachers, students, alpha=decay)


def _own_teacher(forward: Any, *rest: Any) -> Any:
    """Each student follows its own teacher, not the other's."""
    other = {"teacher1": "teacher2", "teacher2": "teacher1"}
    inputs, *more = rest
    views = {"1": inputs.views[0], "2": inputs.views[1]}
    return methods.mutual_mean_teaching(
        lambda role, _: forward(other.get(role, role), views[other.get(role, role)[-1]]), inputs, *more
    )


def _methods(patch: pytest.MonkeyPatch, config: LearnerConfig) -> Any:
    changed = methods.METHODS | {"mmt": methods.METHODS["mmt"]._replace(loss=_own_teacher)}
    patch.setattr(learner, "METHODS", changed)
    return probe.make_learner(config)


def _decay(patch: pytest.MonkeyPatch, config: LearnerConfig) -> Any:
    return probe.make_learner(replace(config, weight_decay=0.0))


def _no_mask(logits: torch.Tensor, classes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.log_softmax(logits, dim=1), torch.ones(logits.shape[1], dtype=torch.bool)


FAULTS = {
    "another epsilon in Adam": Fault(_constant(optimiser, "EPSILON", 1e-7), "rules", "adam"),
    "another beta in Adam": Fault(_constant(optimiser, "BETAS", (0.9, 0.99)), "rules", "adam.second"),
    "no weight decay": Fault(_decay, "rules", "adam.first"),
    "the teachers' decay the wrong way round": Fault(
        _constant(learner, "update_teachers", _swapped_ema), "rules", "ema"
    ),
    "batch norm's momentum as its complement": Fault(_norms("momentum", 0.9), "own", "bn1.running_mean", "train"),
    "a biased running variance": Fault(_layer("layer4.0.bn1", _biased), "own", "layer4.0.bn1.running_var", "train"),
    "another epsilon in batch norm": Fault(_norms("epsilon", 1e-4), "own", "bn1", "test"),
    "padding off by one": Fault(_layer("layer2.0.conv1", _shifted), "own", "layer2.0.conv1", "test"),
    "last stride 2": Fault(_network(last_stride=2), "own", "layer4.0.conv1", "test"),
    "no ReLU within a block": Fault(_layer("layer3.0", _without_relu), "own", "layer3.0.conv2", "test"),
    "no ReLU behind a block": Fault(_layer("layer1.0", _without_last_relu), "own", "layer1.0", "test"),
    "no ReLU in the stem": Fault(_network(stem_relu=False), "own", "maxpool", "test"),
    "dead classes in the softmax": Fault(
        _constant(losses, "masked_log_softmax", _no_mask), "losses alone", "cross_entropy", "value"
    ),
    "each student follows its own teacher": Fault(_methods, "losses", "soft_ce"),
}
