"""Backbones in MindSpore: one file a family, named as in core/networks/backbones.

Each names its class `LAYERS`: a mindspore.nn.Cell, made of (a member of the family, BackboneConfig, type), with
`features`: (normalised images (B, 3, H, W), whether to train) -> pooled feature (B, D). The names of its tensors are
the canonical ones. ReLUs are called as `layers.relu`, which the parity report replaces.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING

from duoreid.core.errors import UserError
from duoreid.core.networks.backbones import backbone

if TYPE_CHECKING:
    from mindspore import nn

FAMILIES: dict[str, type[nn.Cell]] = {}
"""Classes by family: those of this folder that have been asked for, and any that are put here."""


def layers_of(arch: str) -> type[nn.Cell]:
    """Return the class of a backbone's layers; UserError where this backend does not build its family."""
    family = backbone(arch).family
    if family not in FAMILIES:
        name = f"{__name__}.{family}"
        if find_spec(name) is None:
            raise UserError(
                f"--arch {arch}: MindSpore's half of it is missing, backends/mindspore/backbones/{family}.py."
            )
        FAMILIES[family] = importlib.import_module(name).LAYERS
    return FAMILIES[family]
