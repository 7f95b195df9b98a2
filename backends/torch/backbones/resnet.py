"""Residual backbones in torch; see core/networks/backbones/resnet.py."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from duoreid.backends.torch.layers import (
    BatchNorm,
    ChannelAttention,
    GeneralisedMean,
    InstanceNorm,
    MaxPool,
    convolution,
)
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.backbones import resnet
from duoreid.core.networks.backbones.resnet import ATTENTIVE_LAYERS, Block
from duoreid.core.settings.config import NetworkConfig


class IBN(nn.Module):
    """IBN-Net-a: the first half of the channels instance-normalised, the rest batch-normalised."""

    def __init__(self, channels: int, group: int) -> None:
        super().__init__()
        self.half = channels // 2
        self.IN = InstanceNorm(self.half)
        self.BN = BatchNorm(channels - self.half, group)

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.split([self.half, x.shape[1] - self.half], dim=1)
        return torch.cat([self.IN(first), self.BN(second)], dim=1)

    def rectified(self, x: Tensor) -> Tensor:
        """Return relu(self(x)), under the name that BatchNorm has for it."""
        return F.relu(self(x))


class ResidualBlock(nn.Module):
    """A basic or bottleneck block; in the bottleneck the 3x3 convolution carries the stride."""

    def __init__(self, kind: str, block: Block, network: NetworkConfig) -> None:
        super().__init__()
        width, stride, group = block.width, block.stride, network.batch_norm_group
        uneven = network.conv_padding == "same"
        first = IBN(width, group) if block.ibn else BatchNorm(width, group)
        rules = {"epsilon": network.last_norm_epsilon, "momentum": network.last_norm_momentum}
        last = BatchNorm(block.outputs, group, **rules)
        if kind == "basic":
            self.conv1 = convolution(block.inputs, width, 3, stride, uneven=uneven)
            self.bn1 = first
            self.conv2 = convolution(width, block.outputs, 3, 1)
            self.bn2 = last
        else:
            self.conv1 = convolution(block.inputs, width, 1, 1)
            self.bn1 = first
            self.conv2 = convolution(width, width, 3, stride, uneven=uneven)
            self.bn2 = BatchNorm(width, group)
            self.conv3 = convolution(width, block.outputs, 1, 1)
            self.bn3 = last
        self.kind = kind
        self.downsample = None
        if block.downsample:
            projection = convolution(block.inputs, block.outputs, 1, stride)
            self.downsample = nn.Sequential(projection, BatchNorm(block.outputs, group))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.conv2(self.bn1.rectified(self.conv1(x)))
        if self.kind == "basic":
            return self.bn2.rectified(x, shortcut)
        return self.bn3.rectified(self.conv3(self.bn2.rectified(x)), shortcut)


class ResNet(nn.Module):
    """Stem, four layers of residual blocks, global pooling: the mean, or a generalised one."""

    def __init__(self, arch: resnet.ResNet, config: BackboneConfig) -> None:
        super().__init__()
        network, group = config.network, config.network.batch_norm_group
        self.stem_relu, self.attentive = network.stem_relu, config.attention
        uneven = network.conv_padding == "same"
        self.conv1 = convolution(3, arch.stem, 7, 2, uneven=uneven)
        self.bn1 = BatchNorm(arch.stem, group)
        self.maxpool = MaxPool(uneven=uneven or network.stem_pool == "end")
        for index, layer in enumerate(arch.blocks(network.last_stride), start=1):
            built = nn.Sequential(*(ResidualBlock(arch.block, block, network) for block in layer))
            self.add_module(f"layer{index}", built)
        for layer in ATTENTIVE_LAYERS if config.attention else ():
            self.add_module(f"attention{layer}", ChannelAttention())
        self.pooling = GeneralisedMean() if network.pooling == "gem" else None

    def features(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> pooled feature (B, D), before the neck."""
        x = self.conv1(x)
        x = self.layer1(self.maxpool(self.bn1.rectified(x) if self.stem_relu else self.bn1(x)))
        x = self.layer2(self.attention2(x) if self.attentive else x)
        x = self.layer3(self.attention3(x) if self.attentive else x)
        x = self.layer4(self.attention4(x) if self.attentive else x)
        return x.mean(dim=(2, 3)) if self.pooling is None else self.pooling(x)


LAYERS = ResNet
