"""How the optimiser treats each tensor: its factor of the learning rate and its weight decay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from duoreid.core.contract.state import tensors_of
from duoreid.core.settings.config import LearnerConfig


class Treatment(NamedTuple):
    """Of one tensor. factor: of the learning rate. decay: weight times this is added to the gradient."""

    factor: float = 1.0
    decay: float = 0.0


def treatments(config: LearnerConfig, names: Iterable[str]) -> list[Treatment]:
    """Return the treatment of tensors ROLE.TENSOR.

    What lies behind the backbone trains at the full rate, the backbone at `backbone_factor` of it. Weight decay is the
    configured one, or none for tensors that take none.
    """
    known = {entry.name: entry for entry in tensors_of(config)}
    chosen = [known[name.split(".", 1)[1]] for name in names]
    return [
        Treatment(1.0 if entry.head else config.backbone_factor, config.weight_decay if entry.decays else 0.0)
        for entry in chosen
    ]


def distinct(chosen: Sequence[Treatment]) -> tuple[list[Treatment], tuple[int, ...]]:
    """Return (the different treatments, the place among them of each)."""
    kept = list(dict.fromkeys(chosen))
    return kept, tuple(kept.index(one) for one in chosen)
