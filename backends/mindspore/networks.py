"""The re-ID network in MindSpore. Cell names are the canonical names of core/architectures.py."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from backends.mindspore.layers import BatchNorm, Conv2d, InstanceNorm, MaxPool2d, exact, of, relu
from core.architectures import Block, architecture, blocks
from core.config import NetworkConfig

MEAN, DEVIATION = exact((0.485, 0.456, 0.406)), exact((0.229, 0.224, 0.225))
SHORTEST = exact(1e-12)  # length of a feature that is divided by it


def normalise(images: Tensor, dtype: ms.dtype) -> Tensor:
    """Images uint8 (B, H, W, 3) -> (B, 3, H, W): ImageNet's mean and deviation removed."""
    x = (images.astype(dtype) / 255 - of(MEAN, dtype)) / of(DEVIATION, dtype)
    return ops.transpose(x, (0, 3, 1, 2))


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


class ReIDNetwork(nn.Cell):
    """Residual backbone, global average pooling, BNNeck, linear classifier of fixed capacity."""

    def __init__(self, config: NetworkConfig, capacity: int, dtype: ms.dtype) -> None:
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
        self.neck = BatchNorm(arch.features, dtype, group, trained_bias=False)
        self.classifier = Classifier(arch.features, capacity, dtype)

    def check_batch(self, count: int, train: bool) -> None:
        """Raise ValueError for a batch that batch norm's groups do not divide: to call outside compiled functions."""
        if train and 0 < self.group < count and count % self.group:
            raise ValueError(f"batch_norm_group {self.group} must divide the batch of {count} images")

    def features(self, x: Tensor, train: bool) -> Tensor:
        """Normalised images (B, 3, H, W) -> pooled feature (B, D), before the neck."""
        x = self.bn1(self.conv1(x), train)
        if self.stem_relu:
            x = relu(x)
        x = self.pool(x)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in layer:
                x = block(x, train)
        return x.mean((2, 3))

    def construct(self, x: Tensor, train: bool) -> tuple[Tensor, Tensor]:
        """Normalised images (B, 3, H, W) -> (pooled feature (B, D), logits (B, capacity))."""
        features = self.features(x, train)
        return features, self.classifier(self.neck(features, train))

    def embed(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> L2-normalised neck output (B, D), the feature of the test."""
        neck = self.neck(self.features(x, False), False)
        length = ops.sqrt((neck * neck).sum(1, keepdims=True))
        return neck / ops.maximum(length, of(SHORTEST, self.dtype))


class Classifier(nn.Cell):
    """Linear classifier without bias: (B, D) -> (B, capacity)."""

    def __init__(self, features: int, capacity: int, dtype: ms.dtype) -> None:
        super().__init__()
        self.weight = Parameter(Tensor(np.zeros((capacity, features)), dtype))

    def construct(self, x: Tensor) -> Tensor:
        return ops.matmul(x, ops.transpose(self.weight, (1, 0)))
