"""Layers that backbones and heads share, with the canonical names of their tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from duoreid.backends.torch.kernels.batch_norm import batch_norm
from duoreid.backends.torch.kernels.choice import fits
from duoreid.core.networks.heads import GEM_FLOOR
from duoreid.core.networks.padding import same_padding
from duoreid.core.networks.tensors import CONSTANTS

EPSILON, MOMENTUM = 1e-5, 0.1


class BatchNorm(nn.Module):
    """Batch normalisation over (B, C) or (B, C, H, W), optionally over groups of `group` images.

    With groups each one has its own statistics in training, as on several devices; the running statistics move
    by the groups' mean (mean, and unbiased variance). momentum: share of a batch in the running statistics.

    triton: whether training on CUDA takes the kernels of kernels/batch_norm.py where they fit; set by `take_triton`.
    """

    triton = False

    def __init__(
        self,
        channels: int,
        group: int = 0,
        *,
        trained_bias: bool = True,
        epsilon: float = EPSILON,
        momentum: float = MOMENTUM,
    ) -> None:
        super().__init__()
        self.group, self.epsilon, self.momentum = group, epsilon, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels), requires_grad=trained_bias)
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def rectified(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return relu(norm(x) + residual), both of x's shape: one kernel where there is one."""
        if self._by_kernel(x, residual):
            return self._in_one(x, residual, relu=True)
        x = self(x)
        return F.relu(x if residual is None else x + residual)

    def forward(self, x: Tensor) -> Tensor:
        if self._by_kernel(x):
            return self._in_one(x)
        group = self.group or x.shape[0]
        if not self.training or group >= x.shape[0]:
            return self._normalised(x, self.running_mean, self.running_var, self.training)
        return self._grouped(x, group)

    def _groups(self, batch: int) -> int:
        return batch // self.group if 0 < self.group < batch else 1

    def _by_kernel(self, x: Tensor, residual: Tensor | None = None) -> bool:
        if not (self.triton and self.training):
            return False
        divided = self.group < 1 or self.group >= len(x) or len(x) % self.group == 0  # else `_grouped` says so
        return divided and fits(x, self.weight, self._groups(len(x)), residual)

    def _in_one(self, x: Tensor, residual: Tensor | None = None, *, relu: bool = False) -> Tensor:
        rules = {"groups": self._groups(len(x)), "momentum": self.momentum, "epsilon": self.epsilon}
        running = self.running_mean, self.running_var
        return batch_norm(x, self.weight, self.bias, *running, **rules, residual=residual, relu=relu)

    def _normalised(self, x: Tensor, mean: Tensor, var: Tensor, train: bool) -> Tensor:
        return F.batch_norm(x, mean, var, self.weight, self.bias, train, self.momentum, self.epsilon)

    def _grouped(self, x: Tensor, group: int) -> Tensor:
        batch, channels = x.shape[:2]
        if batch % group:
            raise ValueError(f"batch_norm_group {group} must divide the batch of {batch} images")
        count = batch // group
        mean, var = (old.expand(count, channels).clone() for old in (self.running_mean, self.running_var))
        parts = [
            self._normalised(part, own_mean, own_var, True)
            for part, own_mean, own_var in zip(x.split(group), mean, var, strict=True)
        ]
        self.running_mean.copy_(mean.mean(0))
        self.running_var.copy_(var.mean(0))
        return torch.cat(parts)


def norms(networks: Iterable[nn.Module]) -> list[BatchNorm]:
    """Return every batch norm of some networks."""
    return [module for network in networks for module in network.modules() if isinstance(module, BatchNorm)]


def take_triton(networks: Iterable[nn.Module], taken: bool) -> None:
    """Let the batch norms of networks take their kernels, or plain torch alone."""
    for norm in norms(networks):
        norm.triton = taken


@contextmanager
def plain(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Let networks compute in plain torch until the block ends: each norm, sum and ReLU for itself, to be looked at."""
    taken = [norm for norm in norms(networks) if norm.triton]
    for norm in taken:
        norm.triton = False
    try:
        yield
    finally:
        for norm in taken:
            norm.triton = True


class InstanceNorm(nn.Module):
    """Instance normalisation with affine parameters and no running statistics."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=EPSILON)


class UnevenConv2d(nn.Conv2d):
    """A convolution without bias whose padding is uneven; see core/networks/padding.py."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int) -> None:
        super().__init__(inputs, outputs, size, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(_unevenly(x, self.kernel_size[0], self.stride[0], 0.0))


def convolution(inputs: int, outputs: int, size: int, stride: int, *, uneven: bool = False) -> nn.Conv2d:
    """Return a square convolution without bias, padded by half its size or, where that differs, unevenly."""
    if uneven and size > 1 and stride > 1:
        return UnevenConv2d(inputs, outputs, size, stride)
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


def _unevenly(x: Tensor, size: int, stride: int, value: float) -> Tensor:
    """Pad images (B, C, H, W) for windows of a size and stride, more behind than in front."""
    above, below = same_padding(x.shape[2], size, stride)
    left, right = same_padding(x.shape[3], size, stride)
    return F.pad(x, (left, right, above, below), value=value)


class MaxPool(nn.Module):
    """Maximum over 3 x 3 windows, stride 2: (B, C, H, W) -> (B, C, ceil(H / 2), ceil(W / 2)).

    uneven: padded as core/networks/padding.py has it; else by 1 on every side.
    """

    def __init__(self, *, uneven: bool = False) -> None:
        super().__init__()
        self.uneven = uneven

    def forward(self, x: Tensor) -> Tensor:
        if self.uneven:
            return F.max_pool2d(_unevenly(x, 3, 2, float("-inf")), 3, 2)
        return F.max_pool2d(x, 3, 2, 1)


class GeneralisedMean(nn.Module):
    """GeM: maps (B, C, H, W) -> (mean of x^p over places)^(1/p), (B, C), in single precision at least. p is learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.full((1,), CONSTANTS["exponent"]))

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(torch.promote_types(x.dtype, torch.float32)).clamp(min=GEM_FLOOR)
        return x.pow(self.exponent).mean(dim=(2, 3)).pow(1 / self.exponent)


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
