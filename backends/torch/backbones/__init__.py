"""Backbones in torch: one file a family, named as in core/networks/backbones.

Each names its class `LAYERS`: a torch.nn.Module, made of (a member of the family, BackboneConfig), with `features`:
normalised images (B, 3, H, W) -> pooled feature (B, D). The names of its tensors are the canonical ones.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING

from duoreid.core.errors import UserError
from duoreid.core.networks.backbones import backbone

if TYPE_CHECKING:
    from torch import nn

FAMILIES: dict[str, type[nn.Module]] = {}
"""Classes by family: those of this folder that have been asked for, and any that are put here."""


def layers_of(arch: str) -> type[nn.Module]:
    """Return the class of a backbone's layers; UserError where this backend does not build its family."""
    family = backbone(arch).family
    if family not in FAMILIES:
        name = f"{__name__}.{family}"
        if find_spec(name) is None:
            raise UserError(f"--arch {arch}: torch's half of it is missing, backends/torch/backbones/{family}.py.")
        FAMILIES[family] = importlib.import_module(name).LAYERS
    return FAMILIES[family]
