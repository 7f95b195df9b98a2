"""The re-ID network in torch. Module names are the canonical names of core/networks/architectures.py."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

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

EPSILON, MOMENTUM = 1e-5, 0.1
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return numbers as a tensor; on a CUDA device always the same one: to copy numbers there waits for the device."""
    make = _kept if device.type == "cuda" else torch.tensor
    return make(values, dtype=dtype, device=device)


@cache
def _kept(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


def normalise(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Images uint8 (B, H, W, 3) -> (B, 3, H, W): ImageNet's mean and deviation removed.

    The result keeps the images' order in memory, channels last, which the convolutions take up.
    """
    mean, deviation = (_constant(values, dtype, images.device) for values in (MEAN, DEVIATION))
    return ((images.to(dtype) / 255 - mean) / deviation).permute(0, 3, 1, 2)


def pixels(images: Tensor) -> Tensor:
    """Normalised images (B, 3, H, W) -> what they were, from 0 to 255 (B, H, W, 3): the inverse of `normalise`."""
    mean, deviation = (_constant(values, images.dtype, images.device) for values in (MEAN, DEVIATION))
    return (images.permute(0, 2, 3, 1) * deviation + mean) * 255


def grey(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Images uint8 (B, H, W, 3) -> their luminance three times, not rounded, from 0 to 255 (B, H, W, 3)."""
    weights = _constant(GREY_WEIGHTS, dtype, images.device)
    return (images.to(dtype) * weights).sum(3, keepdim=True).expand(images.shape)


class BatchNorm(nn.Module):
    """Batch normalisation over (B, C) or (B, C, H, W), optionally over groups of `group` images.

    With groups each one has its own statistics in training, as on several devices; the running statistics move
    by the groups' mean (mean, and unbiased variance).
    """

    def __init__(self, channels: int, group: int = 0, *, trained_bias: bool = True) -> None:
        super().__init__()
        self.group = group
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels), requires_grad=trained_bias)
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        group = self.group or x.shape[0]
        if not self.training or group >= x.shape[0]:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, self.training, MOMENTUM, EPSILON
            )
        return self._grouped(x, group)

    def _grouped(self, x: Tensor, group: int) -> Tensor:
        batch, channels = x.shape[:2]
        if batch % group:
            raise ValueError(f"batch_norm_group {group} must divide the batch of {batch} images")
        count = batch // group
        mean, var = (old.expand(count, channels).clone() for old in (self.running_mean, self.running_var))
        parts = [
            F.batch_norm(part, own_mean, own_var, self.weight, self.bias, True, MOMENTUM, EPSILON)
            for part, own_mean, own_var in zip(x.split(group), mean, var, strict=True)
        ]
        self.running_mean.copy_(mean.mean(0))
        self.running_var.copy_(var.mean(0))
        return torch.cat(parts)


class InstanceNorm(nn.Module):
    """Instance normalisation with affine parameters and no running statistics."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=EPSILON)


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


class ResidualBlock(nn.Module):
    """A basic or bottleneck block; in the bottleneck the 3x3 convolution carries the stride."""

    def __init__(self, kind: str, block: Block, group: int) -> None:
        super().__init__()
        width, stride = block.width, block.stride
        first = IBN(width, group) if block.ibn else BatchNorm(width, group)
        if kind == "basic":
            self.conv1 = nn.Conv2d(block.inputs, width, 3, stride, 1, bias=False)
            self.bn1 = first
            self.conv2 = nn.Conv2d(width, block.outputs, 3, 1, 1, bias=False)
            self.bn2 = BatchNorm(block.outputs, group)
        else:
            self.conv1 = nn.Conv2d(block.inputs, width, 1, bias=False)
            self.bn1 = first
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
            self.bn2 = BatchNorm(width, group)
            self.conv3 = nn.Conv2d(width, block.outputs, 1, bias=False)
            self.bn3 = BatchNorm(block.outputs, group)
        self.kind = kind
        self.downsample = None
        if block.downsample:
            projection = nn.Conv2d(block.inputs, block.outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, BatchNorm(block.outputs, group))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        if self.kind == "bottleneck":
            x = self.bn3(self.conv3(F.relu(x)))
        return F.relu(x + shortcut)


class ChannelAttention(nn.Module):
    """Attention of channels to those unlike them, added with a learnt weight that starts at 0 (MVD's public code)."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        maps = x.flatten(2)
        energy = maps @ maps.transpose(1, 2)
        attention = torch.softmax(energy.amax(2, keepdim=True) - energy, dim=2)
        return x + self.gamma * (attention @ maps).view(x.shape)


class ReIDNetwork(nn.Module):
    """Residual backbone, global average pooling, BNNeck, linear classifier of fixed capacity."""

    def __init__(self, config: NetworkConfig, capacity: int, *, attention: bool = False) -> None:
        super().__init__()
        arch, group = architecture(config.arch), config.batch_norm_group
        self.stem_relu = config.stem_relu
        self.conv1 = nn.Conv2d(3, arch.stem, 7, 2, 3, bias=False)
        self.bn1 = BatchNorm(arch.stem, group)
        layers = blocks(arch, config.last_stride)
        for index, layer in enumerate(layers, start=1):
            built = nn.Sequential(*(ResidualBlock(arch.block, block, group) for block in layer))
            self.add_module(f"layer{index}", built)
        for layer in ATTENTIVE_LAYERS:
            self.add_module(f"attention{layer}", ChannelAttention() if attention else nn.Identity())
        self.neck = BatchNorm(arch.features, group, trained_bias=False)
        self.classifier = nn.Linear(arch.features, capacity, bias=False)

    def features(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> pooled feature (B, D), before the neck."""
        x = self.bn1(self.conv1(x))
        if self.stem_relu:
            x = F.relu(x)
        x = F.max_pool2d(x, 3, 2, 1)
        x = self.layer2(self.attention2(self.layer1(x)))
        x = self.layer4(self.attention4(self.layer3(self.attention3(x))))
        return x.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images (B, 3, H, W) -> (pooled feature (B, D), logits (B, capacity))."""
        features = self.features(x)
        return features, self.classifier(self.neck(features))

    def embed(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> L2-normalised neck output (B, D), the feature of the test."""
        return F.normalize(self.neck(self.features(x)))


class Bottleneck(nn.Module):
    """MVD's information bottleneck: neck output v (B, D) -> z (B, Z) and the logits of z (B, capacity)."""

    def __init__(self, inputs: int, outputs: int, capacity: int, dropout: float, group: int) -> None:
        super().__init__()
        first, second = BOTTLENECK_WIDTHS
        self.dropout = dropout
        self.linear1 = nn.Linear(inputs, first, bias=False)
        self.bn1 = BatchNorm(first, group)
        self.linear2 = nn.Linear(first, second, bias=False)
        self.bn2 = BatchNorm(second, group)
        self.linear3 = nn.Linear(second, outputs)
        self.hidden = nn.Linear(outputs, HEAD_WIDTH, bias=False)
        self.hidden_bn = BatchNorm(HEAD_WIDTH, group)
        self.classifier = nn.Linear(HEAD_WIDTH, capacity)

    def forward(self, v: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        x = F.relu(self.bn1(self.linear1(v)))
        z = self.linear3(F.relu(self.bn2(self.linear2(x))))
        x = F.leaky_relu(self.hidden_bn(self.hidden(z)), 0.1)
        if self.training and self.dropout:
            x = torch.where(noise >= self.dropout, x / (1 - self.dropout), x.new_zeros(()))
        return z, self.classifier(x)


class VariationalNetwork(ReIDNetwork):
    """A branch of MVD: a network whose neck output also passes an information bottleneck."""

    def __init__(self, config: LearnerConfig, capacity: int) -> None:
        section = config.section
        super().__init__(config.network, capacity, attention=section.channel_attention)
        inputs, group = self.classifier.in_features, config.network.batch_norm_group
        self.bottleneck = Bottleneck(inputs, section.representation, capacity, section.dropout, group)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normalised images (B, 3, H, W) -> v (B, D) and its logits, z (B, Z) and its logits.

        noise: uniforms (B, hidden) for dropout, where there is any in training.
        """
        v = self.observe(x)
        return v, self.classifier(v), *self.bottleneck(v, noise)

    def observe(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> neck output v (B, D)."""
        return self.neck(self.features(x))
