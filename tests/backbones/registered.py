"""The tests' own backbone, made known to every part of the library."""

from __future__ import annotations

import pytest

import duoreid.backends.mindspore.backbones
import duoreid.backends.torch.backbones
from duoreid.core.networks.backbones import BACKBONES
from tests.backbones import patches_mindspore, patches_torch
from tests.backbones.patches import NAME, Patches


def register(patch: pytest.MonkeyPatch) -> None:
    """Let every part of the library know it until the test ends."""
    patch.setitem(BACKBONES, NAME, Patches())
    patch.setitem(duoreid.backends.torch.backbones.FAMILIES, NAME, patches_torch.LAYERS)
    patch.setitem(duoreid.backends.mindspore.backbones.FAMILIES, NAME, patches_mindspore.LAYERS)
