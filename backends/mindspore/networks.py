"""The re-ID network in MindSpore. Cell names are the canonical names of core/networks/architectures.py."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from duoreid.backends.mindspore.layers import BatchNorm, Conv2d, InstanceNorm, Linear, MaxPool2d, exact, of, relu
from duoreid.core.methods.augmentation import GREY_WEIGHTS
from duoreid.core.networks.architectures import (
    ATTENTIVE_LAYERS,
    BOTTLENECK_WIDTHS,
    HEAD_WIDTH,
    Block,
    architecture,
    blocks,
)
from duoreid.core.settings.config import LearnerConfig, NetworkConfig

MEAN, DEVIATION = exact((0.485, 0.456, 0.406)), exact((0.229, 0.224, 0.225))
GREY, SLOPE = exact(GREY_WEIGHTS), exact(0.1)
SHORTEST = exact(1e-12)  # length of a feature that is divided by it


def normalise(images: Tensor, dtype: ms.dtype) -> Tensor:
    """Images of pixels from 0 to 255 (B, H, W, 3 or 1) -> (B, 3, H, W): ImageNet's mean and deviation removed."""
    x = (images.astype(dtype) / 255 - of(MEAN, dtype)) / of(DEVIATION, dtype)
    return ops.transpose(x, (0, 3, 1, 2))


def pixels(images: Tensor) -> Tensor:
    """Normalised images (B, 3, H, W) -> what they were, from 0 to 255 (B, H, W, 3): the inverse of `normalise`."""
    return (ops.transpose(images, (0, 2, 3, 1)) * of(DEVIATION, images.dtype) + of(MEAN, images.dtype)) * 255


def grey(images: Tensor, dtype: ms.dtype) -> Tensor:
    """Images uint8 (B, H, W, 3) -> their luminance, not rounded, from 0 to 255 (B, H, W, 1)."""
    return (images.astype(dtype) * of(GREY, dtype)).sum(3, keepdims=True)


def unit(x: Tensor) -> Tensor:
    """Features (B, D) -> divided by their lengths."""
    length = ops.sqrt((x * x).sum(1, keepdims=True))
    return x / ops.maximum(length, of(SHORTEST, x.dtype))


def leaky_relu(x: Tensor) -> Tensor:
    """max(x, 0.1 x): the gradient of `ops.leaky_relu` at 0 is another than 0.1."""
    return ops.where(x > 0, x, of(SLOPE, x.dtype) * x)


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

    def __init__(self, kind: str, block: Block, dtype: ms.dtype, group: int) -> None:
        super().__init__()
        width, stride = block.width, block.stride
        first = IBN(width, dtype, group) if block.ibn else BatchNorm(width, dtype, group)
        self.bottleneck = kind == "bottleneck"
        if self.bottleneck:
            self.conv1 = Conv2d(block.inputs, width, 1, 1, dtype)
            self.bn1 = first
            self.conv2 = Conv2d(width, width, 3, stride, dtype)
            self.bn2 = BatchNorm(width, dtype, group)
            self.conv3 = Conv2d(width, block.outputs, 1, 1, dtype)
            self.bn3 = BatchNorm(block.outputs, dtype, group)
        else:
            self.conv1 = Conv2d(block.inputs, width, 3, stride, dtype)
            self.bn1 = first
            self.conv2 = Conv2d(width, block.outputs, 3, 1, dtype)
            self.bn2 = BatchNorm(block.outputs, dtype, group)
        self.projected = block.downsample
        if block.downsample:
            projection = Conv2d(block.inputs, block.outputs, 1, stride, dtype)
            self.downsample = nn.CellList([projection, BatchNorm(block.outputs, dtype, group)])

    def construct(self, x: Tensor, train: bool) -> Tensor:
        shortcut = self.downsample[1](self.downsample[0](x), train) if self.projected else x
        x = relu(self.bn1(self.conv1(x), train))
        x = self.bn2(self.conv2(x), train)
        if self.bottleneck:
            x = self.bn3(self.conv3(relu(x)), train)
        return relu(x + shortcut)


class ChannelAttention(nn.Cell):
    """Attention of channels to those unlike them, added with a learnt weight that starts at 0 (MVD's public code)."""

    def __init__(self, dtype: ms.dtype) -> None:
        super().__init__()
        self.gamma = Parameter(Tensor(np.zeros(1), dtype))

    def construct(self, x: Tensor) -> Tensor:
        maps = x.reshape((x.shape[0], x.shape[1], -1))
        energy = ops.matmul(maps, ops.transpose(maps, (0, 2, 1)))
        weights = ops.exp(ops.stop_gradient(ops.amin(energy, 2, keepdims=True)) - energy)
        attention = weights / weights.sum(2, keepdims=True)
        return x + self.gamma * ops.matmul(attention, maps).reshape(x.shape)


class ReIDNetwork(nn.Cell):
    """Residual backbone, global average pooling, BNNeck, linear classifier of fixed capacity."""

    def __init__(self, config: NetworkConfig, capacity: int, dtype: ms.dtype, *, attention: bool = False) -> None:
        super().__init__()
        arch, group = architecture(config.arch), config.batch_norm_group
        self.dtype, self.stem_relu, self.group = dtype, config.stem_relu, group
        self.conv1 = Conv2d(3, arch.stem, 7, 2, dtype)
        self.bn1 = BatchNorm(arch.stem, dtype, group)
        self.pool = MaxPool2d(dtype)
        layers = [
            nn.CellList([ResidualBlock(arch.block, block, dtype, group) for block in layer])
            for layer in blocks(arch, config.last_stride)
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.attentive = attention
        for layer in ATTENTIVE_LAYERS if attention else ():
            setattr(self, f"attention{layer}", ChannelAttention(dtype))
        self.neck = BatchNorm(arch.features, dtype, group, trained_bias=False)
        self.classifier = Linear(arch.features, capacity, dtype)

    def check_batch(self, count: int, train: bool) -> None:
        """Raise ValueError for a batch that batch norm's groups do not divide: to call outside compiled functions."""
        if train and 0 < self.group < count and count % self.group:
            raise ValueError(f"batch_norm_group {self.group} must divide the batch of {count} images")

    def features(self, x: Tensor, train: bool) -> Tensor:
        """Normalised images (B, 3, H, W) -> pooled feature (B, D), before the neck."""
        x = self.bn1(self.conv1(x), train)
        if self.stem_relu:
            x = relu(x)
        x = run(self.layer1, self.pool(x), train)
        x = run(self.layer2, self.attention2(x) if self.attentive else x, train)
        x = run(self.layer3, self.attention3(x) if self.attentive else x, train)
        x = run(self.layer4, self.attention4(x) if self.attentive else x, train)
        return x.mean((2, 3))

    def observe(self, x: Tensor, train: bool) -> Tensor:
        """Normalised images (B, 3, H, W) -> neck output (B, D)."""
        return self.neck(self.features(x, train), train)

    def construct(self, x: Tensor, train: bool) -> tuple[Tensor, Tensor]:
        """Normalised images (B, 3, H, W) -> (pooled feature (B, D), logits (B, capacity))."""
        features = self.features(x, train)
        return features, self.classifier(self.neck(features, train))

    def embed(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> L2-normalised neck output (B, D), the feature of the test."""
        return unit(self.observe(x, False))


def run(blocks: nn.CellList, x: Tensor, train: bool) -> Tensor:
    """Pass through the blocks of a layer."""
    for block in blocks:
        x = block(x, train)
    return x


class Bottleneck(nn.Cell):
    """MVD's information bottleneck: neck output v (B, D) -> z (B, Z) and the logits of z (B, capacity)."""

    def __init__(self, inputs: int, outputs: int, capacity: int, dropout: float, dtype: ms.dtype, group: int) -> None:
        super().__init__()
        first, second = BOTTLENECK_WIDTHS
        self.drops = dropout > 0
        self.dropout, self.kept = Tensor(dropout, ms.float32), Tensor(1 - dropout, dtype)
        self.zero = Tensor(0.0, dtype)
        self.linear1 = Linear(inputs, first, dtype)
        self.bn1 = BatchNorm(first, dtype, group)
        self.linear2 = Linear(first, second, dtype)
        self.bn2 = BatchNorm(second, dtype, group)
        self.linear3 = Linear(second, outputs, dtype, bias=True)
        self.hidden = Linear(outputs, HEAD_WIDTH, dtype)
        self.hidden_bn = BatchNorm(HEAD_WIDTH, dtype, group)
        self.classifier = Linear(HEAD_WIDTH, capacity, dtype, bias=True)

    def construct(self, v: Tensor, train: bool, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        x = relu(self.bn1(self.linear1(v), train))
        z = self.linear3(relu(self.bn2(self.linear2(x), train)))
        x = leaky_relu(self.hidden_bn(self.hidden(z), train))
        if train and self.drops:
            x = ops.where(noise >= self.dropout, x / self.kept, self.zero)
        return z, self.classifier(x)


class VariationalNetwork(ReIDNetwork):
    """A branch of MVD: a network whose neck output also passes an information bottleneck."""

    def __init__(self, config: LearnerConfig, capacity: int, dtype: ms.dtype) -> None:
        section, group = config.section, config.network.batch_norm_group
        super().__init__(config.network, capacity, dtype, attention=section.channel_attention)
        features = architecture(config.network.arch).features
        self.bottleneck = Bottleneck(features, section.representation, capacity, section.dropout, dtype, group)

    def construct(self, x: Tensor, train: bool, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normalised images (B, 3, H, W) -> v (B, D) and its logits, z (B, Z) and its logits.

        noise: uniforms (B, hidden) for dropout, where there is any in training.
        """
        v = self.observe(x, train)
        z, logits = self.bottleneck(v, train, noise)
        return v, self.classifier(v), z, logits
