"""The re-ID networks in torch: a neck, a classifier and perhaps a bottleneck around any backbone."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from duoreid.backends.torch.backbones import layers_of
from duoreid.backends.torch.layers import BatchNorm
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.backbones import backbone
from duoreid.core.networks.heads import BOTTLENECK_WIDTHS, HEAD_WIDTH
from duoreid.core.networks.images import DEVIATION, GREY_WEIGHTS, MEAN
from duoreid.core.settings.config import LearnerConfig


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


class ReIDNetwork(nn.Module):
    """BNNeck and linear classifier of fixed capacity behind a backbone.

    `of` makes one: its class has this class and that of the backbone's layers as parents, so that backbone and heads
    are one module and the names of their tensors have no prefix.
    """

    def __init__(self, config: BackboneConfig | LearnerConfig, capacity: int, *, attention: bool = False) -> None:
        network, chosen = config.network, backbone(config.network.arch)
        super().__init__(chosen, BackboneConfig(network, config.height, config.width, attention))
        self.neck = BatchNorm(chosen.features, network.batch_norm_group, trained_bias=False)
        self.classifier = nn.Linear(chosen.features, capacity, bias=False)

    @classmethod
    def of(cls, config: BackboneConfig | LearnerConfig, *arguments: Any) -> ReIDNetwork:
        """Return a network of the configured backbone; arguments as for the class itself."""
        return _behind(layers_of(config.network.arch), cls)(config, *arguments)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images (B, 3, H, W) -> (pooled feature (B, D), logits (B, capacity))."""
        features = self.features(x)
        return features, self.classifier(self.neck(features))

    def observe(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> neck output (B, D)."""
        return self.neck(self.features(x))

    def embed(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> L2-normalised neck output (B, D), the feature of the test."""
        return F.normalize(self.observe(x))


@cache
def _behind(base: type[nn.Module], heads: type[ReIDNetwork]) -> type[ReIDNetwork]:
    """Return the class of networks with these heads behind a backbone's layers."""
    return type(f"{heads.__name__}Of{base.__name__}", (heads, base), {})


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
        section, group = config.section, config.network.batch_norm_group
        super().__init__(config, capacity, attention=section.channel_attention)
        inputs = self.classifier.in_features
        self.bottleneck = Bottleneck(inputs, section.representation, capacity, section.dropout, group)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normalised images (B, 3, H, W) -> v (B, D) and its logits, z (B, Z) and its logits.

        noise: uniforms (B, hidden) for dropout, where there is any in training.
        """
        v = self.observe(x)
        return v, self.classifier(v), *self.bottleneck(v, noise)
