"""Residual backbones in MindSpore; see core/networks/backbones/resnet.py."""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops

from duoreid.backends.mindspore import layers
from duoreid.backends.mindspore.layers import (
    BatchNorm,
    ChannelAttention,
    Conv2d,
    GeneralisedMean,
    InstanceNorm,
    MaxPool2d,
)
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.backbones import resnet
from duoreid.core.networks.backbones.resnet import ATTENTIVE_LAYERS, Block
from duoreid.core.settings.config import NetworkConfig


class IBN(nn.Cell):
    """IBN-Net-a: the first half of the channels instance-normalised, the rest batch-normalised."""

    def __init__(self, channels: int, dtype: ms.dtype, group: int) -> None:
        super().__init__()
        self.half = channels // 2
        self.IN = InstanceNorm(self.half, dtype)
        self.BN = BatchNorm(channels - self.half, dtype, group)

    def construct(self, x: Tensor, train: bool) -> Tensor:
        return ops.cat((self.IN(x[:, : self.half]), self.BN(x[:, self.half :], train)), 1)


class ResidualBlock(nn.Cell):
    """A basic or bottleneck block; in the bottleneck the 3x3 convolution carries the stride."""

    def __init__(self, kind: str, block: Block, dtype: ms.dtype, network: NetworkConfig) -> None:
        super().__init__()
        width, stride, group = block.width, block.stride, network.batch_norm_group
        uneven = network.conv_padding == "same"
        rules = {"epsilon": network.last_norm_epsilon, "momentum": network.last_norm_momentum}
        last = BatchNorm(block.outputs, dtype, group, **rules)
        first = IBN(width, dtype, group) if block.ibn else BatchNorm(width, dtype, group)
        self.bottleneck = kind == "bottleneck"
        if self.bottleneck:
            self.conv1 = Conv2d(block.inputs, width, 1, 1, dtype)
            self.bn1 = first
            self.conv2 = Conv2d(width, width, 3, stride, dtype, uneven=uneven)
            self.bn2 = BatchNorm(width, dtype, group)
            self.conv3 = Conv2d(width, block.outputs, 1, 1, dtype)
            self.bn3 = last
        else:
            self.conv1 = Conv2d(block.inputs, width, 3, stride, dtype, uneven=uneven)
            self.bn1 = first
            self.conv2 = Conv2d(width, block.outputs, 3, 1, dtype)
            self.bn2 = last
        self.projected = block.downsample
        if block.downsample:
            projection = Conv2d(block.inputs, block.outputs, 1, stride, dtype)
            self.downsample = nn.CellList([projection, BatchNorm(block.outputs, dtype, group)])

    def construct(self, x: Tensor, train: bool) -> Tensor:
        shortcut = self.downsample[1](self.downsample[0](x), train) if self.projected else x
        x = layers.relu(self.bn1(self.conv1(x), train))
        x = self.bn2(self.conv2(x), train)
        if self.bottleneck:
            x = self.bn3(self.conv3(layers.relu(x)), train)
        return layers.relu(x + shortcut)


class ResNet(nn.Cell):
    """Stem, four layers of residual blocks, global pooling: the mean, or a generalised one."""

    def __init__(self, arch: resnet.ResNet, config: BackboneConfig, dtype: ms.dtype) -> None:
        super().__init__()
        network, group = config.network, config.network.batch_norm_group
        self.stem_relu, self.attentive = network.stem_relu, config.attention
        uneven = network.conv_padding == "same"
        self.conv1 = Conv2d(3, arch.stem, 7, 2, dtype, uneven=uneven)
        self.bn1 = BatchNorm(arch.stem, dtype, group)
        self.maxpool = MaxPool2d(dtype, uneven=uneven or network.stem_pool == "end")
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.CellList([ResidualBlock(arch.block, block, dtype, network) for block in layer])
            for layer in arch.blocks(network.last_stride)
        )
        for layer in ATTENTIVE_LAYERS if config.attention else ():
            setattr(self, f"attention{layer}", ChannelAttention(dtype))
        self.gem = network.pooling == "gem"
        if self.gem:
            self.pooling = GeneralisedMean(dtype)

    def features(self, x: Tensor, train: bool) -> Tensor:
        """Normalised images (B, 3, H, W) -> pooled feature (B, D), before the neck."""
        x = self.bn1(self.conv1(x), train)
        if self.stem_relu:
            x = layers.relu(x)
        x = run(self.layer1, self.maxpool(x), train)
        x = run(self.layer2, self.attention2(x) if self.attentive else x, train)
        x = run(self.layer3, self.attention3(x) if self.attentive else x, train)
        x = run(self.layer4, self.attention4(x) if self.attentive else x, train)
        return self.pooling(x) if self.gem else x.mean((2, 3))


def run(blocks: nn.CellList, x: Tensor, train: bool) -> Tensor:
    """Pass through the blocks of a layer."""
    for block in blocks:
        x = block(x, train)
    return x


LAYERS = ResNet
