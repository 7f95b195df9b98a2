"""The patch embedding in torch."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from duoreid.backends.torch.layers import BatchNorm
from duoreid.core.networks.backbone import BackboneConfig
from tests.backbones import patches


class Patches(nn.Module):
    def __init__(self, arch: "patches.Patches", config: BackboneConfig) -> None:
        super().__init__()
        size, width, group = patches.SIZE, arch.features, config.network.batch_norm_group
        self.patches = nn.Conv2d(3, width, size, size, bias=False)
        self.positions = nn.Parameter(torch.zeros(width, config.height // size, config.width // size))
        self.norm1 = BatchNorm(width, group)
        self.mix = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = BatchNorm(width, group)

    def features(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.patches(x) + self.positions))
        return F.relu(self.norm2(self.mix(x))).mean(dim=(2, 3))


LAYERS = Patches
