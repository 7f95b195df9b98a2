"""The re-ID networks in MindSpore: a neck, a classifier and perhaps a bottleneck around any backbone."""

from __future__ import annotations

from functools import cache
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from duoreid.backends.mindspore import layers
from duoreid.backends.mindspore.backbones import layers_of
from duoreid.backends.mindspore.layers import BatchNorm, Linear, exact, of
from duoreid.core.networks import images as constants
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.backbones import backbone
from duoreid.core.networks.heads import BOTTLENECK_WIDTHS, HEAD_WIDTH
from duoreid.core.settings.config import LearnerConfig
from duoreid.core.settings.cross_modal import MVDConfig

MEAN, DEVIATION, GREY = exact(constants.MEAN), exact(constants.DEVIATION), exact(constants.GREY_WEIGHTS)
PORT_GREY, NORMALISED_GREY = (
    exact(np.reshape(constants.GREY_FORMS[form], (1, 3, 1, 1))) for form in ("port", "normalised")
)
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


def grey_form(images: Tensor, dtype: ms.dtype, form: str) -> Tensor:
    """Images (B, H, W, 3) from 0 to 255 -> their grey form (B, 3, H, W); form: of GREY_FORMS."""
    if form == "raw":
        return normalise(grey(images, dtype), dtype)
    seen = normalise(images, dtype)
    weights = of(PORT_GREY, dtype) if form == "port" else of(NORMALISED_GREY, dtype)
    light = (seen * weights).sum(1, keepdims=True)
    return ops.cat((light, light, light), 1)


def unit(x: Tensor) -> Tensor:
    """Features (B, D) -> divided by their lengths."""
    length = ops.sqrt((x * x).sum(1, keepdims=True))
    return x / ops.maximum(length, of(SHORTEST, x.dtype))


class ReIDNetwork(nn.Cell):
    """BNNeck and linear classifier of fixed capacity behind a backbone.

    `of` makes one: its class has this class and that of the backbone's layers as parents, so that backbone and heads
    are one cell and the names of their tensors have no prefix.
    """

    def __init__(
        self,
        config: BackboneConfig | LearnerConfig,
        capacity: int,
        dtype: ms.dtype,
        *,
        attention: bool = False,
        biases: bool = False,
        neck_bias: bool = False,
    ) -> None:
        network, chosen = config.network, backbone(config.network.arch)
        super().__init__(chosen, BackboneConfig(network, config.height, config.width, attention), dtype)
        self.dtype, self.group = dtype, network.batch_norm_group
        self.neck = BatchNorm(chosen.features, dtype, self.group, trained_bias=neck_bias)
        self.classifier = Linear(chosen.features, capacity, dtype, bias=biases)

    @classmethod
    def of(cls, config: BackboneConfig | LearnerConfig, *arguments: Any) -> ReIDNetwork:
        """Return a network of the configured backbone; arguments as for the class itself."""
        return _behind(layers_of(config.network.arch), cls)(config, *arguments)

    def check_batch(self, count: int, train: bool) -> None:
        """Raise ValueError for a batch that batch norm's groups do not divide: to call outside compiled functions."""
        if train and 0 < self.group < count and count % self.group:
            raise ValueError(f"batch_norm_group {self.group} must divide the batch of {count} images")

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


@cache
def _behind(base: type[nn.Cell], heads: type[ReIDNetwork]) -> type[ReIDNetwork]:
    """Return the class of networks with these heads behind a backbone's layers."""
    return type(f"{heads.__name__}Of{base.__name__}", (heads, base), {})


class Bottleneck(nn.Cell):
    """MVD's information bottleneck: neck output v (B, D) -> z (B, Z) and the logits of z (B, capacity)."""

    def __init__(self, inputs: int, capacity: int, section: MVDConfig, dtype: ms.dtype, group: int) -> None:
        super().__init__()
        (first, second), outputs, biases = BOTTLENECK_WIDTHS, section.representation, section.biases
        dropout = section.dropout
        self.drops = dropout > 0
        self.dropout, self.kept = Tensor(dropout, ms.float32), Tensor(1 - dropout, dtype)
        self.zero = Tensor(0.0, dtype)
        self.linear1 = Linear(inputs, first, dtype, bias=biases)
        self.bn1 = BatchNorm(first, dtype, group)
        self.linear2 = Linear(first, second, dtype, bias=biases)
        self.bn2 = BatchNorm(second, dtype, group)
        self.linear3 = Linear(second, outputs, dtype, bias=True)
        self.hidden = Linear(outputs, HEAD_WIDTH, dtype, bias=biases)
        self.hidden_bn = BatchNorm(HEAD_WIDTH, dtype, group)
        self.classifier = Linear(HEAD_WIDTH, capacity, dtype, bias=True)

    def construct(self, v: Tensor, train: bool, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        x = layers.relu(self.bn1(self.linear1(v), train))
        z = self.linear3(layers.relu(self.bn2(self.linear2(x), train)))
        x = layers.leaky_relu(self.hidden_bn(self.hidden(z), train))
        if train and self.drops:
            x = ops.where(noise >= self.dropout, x / self.kept, self.zero)
        return z, self.classifier(x)


class VariationalNetwork(ReIDNetwork):
    """A branch of MVD: a network whose neck output also passes an information bottleneck."""

    def __init__(self, config: LearnerConfig, capacity: int, dtype: ms.dtype) -> None:
        section, group = config.section, config.network.batch_norm_group
        heads = {"biases": section.biases, "neck_bias": section.neck_bias}
        super().__init__(config, capacity, dtype, attention=section.channel_attention, **heads)
        inputs = backbone(config.network.arch).features
        self.bottleneck = Bottleneck(inputs, capacity, section, dtype, group)
        self.mixed = group if section.mixed_groups else 0
        self.each, self.grey_form = section.feature == "each", section.grey_form

    def construct(self, x: Tensor, train: bool, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normalised images (B, 3, H, W) -> v (B, D) and its logits, z (B, Z) and its logits.

        noise: uniforms (B, hidden) for dropout, where there is any in training. With mixed groups of batch norm the
        first half of the rows is of one modality and the second of the other.
        """
        mixes = train and 0 < self.mixed < x.shape[0]
        if mixes:
            x = mix(x, self.mixed)
            noise = None if noise is None else mix(noise, self.mixed)
        v = self.observe(x, train)
        z, logits = self.bottleneck(v, train, noise)
        v_logits = self.classifier(v)
        if mixes:
            return unmix(v, self.mixed), unmix(v_logits, self.mixed), unmix(z, self.mixed), unmix(logits, self.mixed)
        return v, v_logits, z, logits


def mix(rows: Tensor, group: int) -> Tensor:
    """Rows (B, ...) of two halves -> the same by groups: each has `group` / 2 rows of either half, in order."""
    split = rows.reshape((2, rows.shape[0] // group, group // 2, -1))
    return ops.transpose(split, (1, 0, 2, 3)).reshape(rows.shape)


def unmix(rows: Tensor, group: int) -> Tensor:
    """The inverse of `mix`."""
    split = rows.reshape((rows.shape[0] // group, 2, group // 2, -1))
    return ops.transpose(split, (1, 0, 2, 3)).reshape(rows.shape)
