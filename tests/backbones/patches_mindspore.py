"""The patch embedding in MindSpore."""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from duoreid.backends.mindspore import layers
from duoreid.backends.mindspore.layers import BatchNorm, Conv2d
from duoreid.core.networks.backbone import BackboneConfig
from tests.backbones import patches


class Patches(nn.Cell):
    def __init__(self, arch: "patches.Patches", config: BackboneConfig, dtype: ms.dtype) -> None:
        super().__init__()
        size, width, group = patches.SIZE, arch.features, config.network.batch_norm_group
        self.patches = Conv2d(3, width, size, size, dtype, padding=0)
        places = (width, config.height // size, config.width // size)
        self.positions = Parameter(Tensor(np.zeros(places), dtype), name="positions")
        self.norm1 = BatchNorm(width, dtype, group)
        self.mix = Conv2d(width, width, 3, 1, dtype)
        self.norm2 = BatchNorm(width, dtype, group)

    def features(self, x: Tensor, train: bool) -> Tensor:
        x = layers.relu(self.norm1(self.patches(x) + self.positions, train))
        return layers.relu(self.norm2(self.mix(x), train)).mean((2, 3))


LAYERS = Patches
