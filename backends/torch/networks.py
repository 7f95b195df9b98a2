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
from duoreid.core.networks.images import DEVIATION, GREY_FORMS, GREY_WEIGHTS, MEAN
from duoreid.core.settings.config import LearnerConfig
from duoreid.core.settings.cross_modal import MVDConfig


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


def grey_form(images: Tensor, dtype: torch.dtype, form: str) -> Tensor:
    """Images (B, H, W, 3) from 0 to 255 -> their grey form (B, 3, H, W); form: of GREY_FORMS."""
    if form == "raw":
        return normalise(grey(images, dtype), dtype)
    seen = normalise(images, dtype)
    weights = _constant(GREY_FORMS[form], dtype, images.device).view(1, 3, 1, 1)
    return (seen * weights).sum(1, keepdim=True).expand(seen.shape)


class ReIDNetwork(nn.Module):
    """BNNeck and linear classifier of fixed capacity behind a backbone.

    `of` makes one: its class has this class and that of the backbone's layers as parents, so that backbone and heads
    are one module and the names of their tensors have no prefix.
    """

    def __init__(
        self,
        config: BackboneConfig | LearnerConfig,
        capacity: int,
        *,
        attention: bool = False,
        biases: bool = False,
        neck_bias: bool = False,
    ) -> None:
        network, chosen = config.network, backbone(config.network.arch)
        super().__init__(chosen, BackboneConfig(network, config.height, config.width, attention))
        self.neck = BatchNorm(chosen.features, network.batch_norm_group, trained_bias=neck_bias)
        self.classifier = nn.Linear(chosen.features, capacity, bias=biases)

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

    def __init__(self, inputs: int, capacity: int, section: MVDConfig, group: int) -> None:
        super().__init__()
        (first, second), outputs, biases = BOTTLENECK_WIDTHS, section.representation, section.biases
        self.dropout = section.dropout
        self.linear1 = nn.Linear(inputs, first, bias=biases)
        self.bn1 = BatchNorm(first, group)
        self.linear2 = nn.Linear(first, second, bias=biases)
        self.bn2 = BatchNorm(second, group)
        self.linear3 = nn.Linear(second, outputs)
        self.hidden = nn.Linear(outputs, HEAD_WIDTH, bias=biases)
        self.hidden_bn = BatchNorm(HEAD_WIDTH, group)
        self.classifier = nn.Linear(HEAD_WIDTH, capacity)

    def forward(self, v: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self.bn1.rectified(self.linear1(v))
        z = self.linear3(self.bn2.rectified(self.linear2(x)))
        x = F.leaky_relu(self.hidden_bn(self.hidden(z)), 0.1)
        if self.training and self.dropout:
            x = torch.where(noise >= self.dropout, x / (1 - self.dropout), x.new_zeros(()))
        return z, self.classifier(x)


class VariationalNetwork(ReIDNetwork):
    """A branch of MVD: a network whose neck output also passes an information bottleneck."""

    def __init__(self, config: LearnerConfig, capacity: int) -> None:
        section, group = config.section, config.network.batch_norm_group
        heads = {"biases": section.biases, "neck_bias": section.neck_bias}
        super().__init__(config, capacity, attention=section.channel_attention, **heads)
        self.bottleneck = Bottleneck(self.classifier.in_features, capacity, section, group)
        self.mixed = group if section.mixed_groups else 0
        self.each = section.feature == "each"

    def forward(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normalised images (B, 3, H, W) -> v (B, D) and its logits, z (B, Z) and its logits.

        noise: uniforms (B, hidden) for dropout, where there is any in training. With mixed groups of batch norm the
        first half of the rows is of one modality and the second of the other.
        """
        if self.training and 0 < self.mixed < len(x):
            outputs = self._outputs(*(None if rows is None else mix(rows, self.mixed) for rows in (x, noise)))
            return tuple(unmix(rows, self.mixed) for rows in outputs)
        return self._outputs(x, noise)

    def _outputs(self, x: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        v = self.observe(x)
        return v, self.classifier(v), *self.bottleneck(v, noise)


def mix(rows: Tensor, group: int) -> Tensor:
    """Rows (B, ...) of two halves -> the same by groups: each has `group` / 2 rows of either half, in order."""
    if group % 2 or rows.shape[0] % group:
        raise ValueError(f"mixed groups of {group} images must be even and divide the batch of {rows.shape[0]} images")
    return rows.unflatten(0, (2, -1, group // 2)).transpose(0, 1).flatten(0, 2)


def unmix(rows: Tensor, group: int) -> Tensor:
    """The inverse of `mix`."""
    return rows.unflatten(0, (-1, 2, group // 2)).transpose(0, 1).flatten(0, 2)
