"""Layers whose state has the canonical names, in single precision by MindSpore's operations and in double by hand.

Convolution and batch normalisation have no float64 kernel in MindSpore: there they are written as the formula, from
operations that do compute in float64. Every layer that knows two modes takes `train` as an argument, a constant to
the compiler: the flag of `Cell.set_train` is ignored by functions compiled before it changed.
"""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from duoreid.core.networks.heads import GEM_FLOOR
from duoreid.core.networks.padding import same_padding
from duoreid.core.networks.tensors import CONSTANTS


def exact(value: float | Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return numbers as tensors in float32 and in float64, for `of` to choose from inside a compiled function.

    Python scalars are rounded to float32, also in float64 sums, and arithmetic on them (1 - 0.9) in a compiled
    function is float32.
    """
    return Tensor(np.array(value), ms.float32), Tensor(np.array(value), ms.float64)


def of(numbers: tuple[Tensor, Tensor], dtype: ms.dtype) -> Tensor:
    """Choose the tensor of a type from what `exact` made."""
    return numbers[1] if dtype == ms.float64 else numbers[0]


EPSILON, MOMENTUM = 1e-5, 0.1
EPSILONS = exact(EPSILON)
SLOPE = exact(0.1)  # of leaky ReLUs
FLOORS = exact(GEM_FLOOR)
DONE = Tensor(0.0, ms.float32)
"""What compiled functions return that only assign. Where one returns nothing, its graph calls back into Python for the
None, which has no place on a device; one of its arguments instead costs 5% of a small step."""

PADDING = -(2.0**100)  # around an image whose maximum is taken


@ops.constexpr
def constant(value: float, dtype: ms.dtype) -> Tensor:
    """Return a number that float32 holds exactly, such as 0 or infinity, as a 0-d tensor; others need `exact`."""
    if float(np.float32(value)) != value:
        raise ValueError(f"{value} is rounded by float32: make it with `exact`, outside compiled functions")
    return Tensor(value, dtype)


def relu(x: Tensor) -> Tensor:
    """max(x, 0), and NaN for NaN: `ops.relu` turns NaN to 0, which hides a network that has diverged."""
    return ops.where(x <= 0, ops.zeros_like(x), x)


def leaky_relu(x: Tensor) -> Tensor:
    """max(x, 0.1 x): the gradient of `ops.leaky_relu` at 0 is another than 0.1."""
    return ops.where(x > 0, x, of(SLOPE, x.dtype) * x)


def nothing(x: Tensor, axis: int | tuple[int, ...]) -> Tensor:
    """Sums of 0 x over some axes: 0, or NaN where not all are finite, for what passes over NaN (argmax and argmin)."""
    return (ops.stop_gradient(x) * constant(0.0, x.dtype)).sum(axis)


def _zeros(*shape: int, dtype: ms.dtype, trained: bool = True) -> Parameter:
    return Parameter(Tensor(np.zeros(shape), dtype), requires_grad=trained)


def _ones(*shape: int, dtype: ms.dtype, trained: bool = True) -> Parameter:
    return Parameter(Tensor(np.ones(shape), dtype), requires_grad=trained)


def _per_channel(values: Tensor, axes: int) -> Tensor:
    """(C,) -> (1, C) or (1, C, 1, 1)."""
    return values.reshape((1, -1) + (1,) * (axes - 2))


@ops.constexpr
def borders(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return `same_padding`, a constant to the compiler."""
    return same_padding(length, kernel, stride)


def surrounded(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Pad images (B, C, H, W) with 0 by `same_padding`. Not ops.pad: its gradient is wrong in compiled functions."""
    batch, channels, height, width = x.shape
    above, below = borders(height, kernel, stride)
    left, right = borders(width, kernel, stride)
    if above > 0:
        x = ops.cat((ops.zeros((batch, channels, above, width), x.dtype), x), 2)
    if below > 0:
        x = ops.cat((x, ops.zeros((batch, channels, below, width), x.dtype)), 2)
    height = x.shape[2]
    if left > 0:
        x = ops.cat((ops.zeros((batch, channels, height, left), x.dtype), x), 3)
    if right > 0:
        x = ops.cat((x, ops.zeros((batch, channels, height, right), x.dtype)), 3)
    return x


class Conv2d(nn.Cell):
    """Convolution (B, C, H, W) -> (B, O, H', W') without bias.

    padding: kernel // 2 unless given. uneven: padded as core/networks/padding.py has it instead.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        dtype: ms.dtype,
        padding: int | None = None,
        *,
        uneven: bool = False,
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.outputs = kernel, stride, outputs
        self.uneven = uneven and kernel > 1 and stride > 1
        self.padding = 0 if self.uneven else kernel // 2 if padding is None else padding
        self.double = dtype == ms.float64
        self.weight = _zeros(outputs, inputs, kernel, kernel, dtype=dtype)
        if self.uneven:
            self.convolve = ops.Conv2D(outputs, kernel, pad_mode="same", stride=stride)
        else:
            self.convolve = ops.Conv2D(outputs, kernel, pad_mode="pad", pad=self.padding, stride=stride)

    def construct(self, x: Tensor) -> Tensor:
        if not self.double:
            return self.convolve(x, self.weight)
        if self.uneven:
            x = surrounded(x, self.kernel, self.stride)
        batch, channels, height, width = x.shape
        rows = (height + 2 * self.padding - self.kernel) // self.stride + 1
        columns = (width + 2 * self.padding - self.kernel) // self.stride + 1
        windows = ops.unfold(x, self.kernel, padding=self.padding, stride=self.stride)
        # One product for all images: over a batch of matrices MindSpore would copy the weight for each image.
        windows = ops.transpose(windows, (1, 0, 2)).reshape((channels * self.kernel**2, -1))
        product = ops.matmul(self.weight.reshape((self.outputs, -1)), windows)
        return ops.transpose(product.reshape((self.outputs, batch, rows, columns)), (1, 0, 2, 3))


class Linear(nn.Cell):
    """Linear map (B, D) -> (B, O), without bias unless it is asked for."""

    def __init__(self, inputs: int, outputs: int, dtype: ms.dtype, *, bias: bool = False) -> None:
        super().__init__()
        self.biased = bias
        self.weight = _zeros(outputs, inputs, dtype=dtype)
        if bias:
            self.bias = _zeros(outputs, dtype=dtype)

    def construct(self, x: Tensor) -> Tensor:
        x = ops.matmul(x, ops.transpose(self.weight, (1, 0)))
        return x + self.bias if self.biased else x


class MaxPool2d(nn.Cell):
    """Maximum over 3 x 3 windows, stride 2: (B, C, H, W) -> (B, C, ceil(H / 2), ceil(W / 2)).

    uneven: padded as core/networks/padding.py has it; else by 1 on every side.
    """

    def __init__(self, dtype: ms.dtype, *, uneven: bool = False) -> None:
        super().__init__()
        self.double, self.uneven = dtype == ms.float64, uneven
        self.padding = 0 if uneven else 1
        if uneven:
            self.pool = nn.MaxPool2d(3, 2, pad_mode="same")
        else:
            self.pool = nn.MaxPool2d(3, 2, pad_mode="pad", padding=1)

    def construct(self, x: Tensor) -> Tensor:
        if not self.double:
            return self.pool(x)
        batch, channels, height, width = x.shape
        # Not ops.pad: in a compiled function its gradient is wrong from the second call on.
        ones = ops.ones((1, 1, height, width), x.dtype)
        if self.uneven:
            x, ones = surrounded(x, 3, 2), surrounded(ones, 3, 2)
        windows = ops.unfold(x, 3, padding=self.padding, stride=2).reshape((batch, channels, 9, -1))
        inside = ops.unfold(ones, 3, padding=self.padding, stride=2).reshape((1, 1, 9, -1))
        windows = ops.where(inside > 0, windows, constant(PADDING, x.dtype))
        first = ops.argmax(ops.stop_gradient(windows), 2).expand_dims(2)  # of equal values, as the other kernels
        chosen = ops.arange(9).reshape((1, 1, 9, 1)) == first
        maxima = ops.where(chosen, windows, constant(0.0, x.dtype)).sum(2) + nothing(windows, 2)
        return maxima.reshape((batch, channels, (height + 1) // 2, (width + 1) // 2))


class BatchNorm(nn.Cell):
    """Batch normalisation over (B, C) or (B, C, H, W), optionally over groups of `group` images.

    With groups each one has its own statistics in training, as on several devices; the running statistics move
    by the groups' mean (mean, and unbiased variance). momentum: share of a batch in the running statistics.
    """

    def __init__(
        self,
        channels: int,
        dtype: ms.dtype,
        group: int = 0,
        *,
        trained_bias: bool = True,
        epsilon: float = EPSILON,
        momentum: float = MOMENTUM,
    ) -> None:
        super().__init__()
        self.group, self.double = group, dtype == ms.float64
        self.epsilons, self.keep, self.take = exact(epsilon), exact(1 - momentum), exact(momentum)
        self.weight = _ones(channels, dtype=dtype)
        self.bias = _zeros(channels, dtype=dtype, trained=trained_bias)
        self.running_mean = _zeros(channels, dtype=dtype, trained=False)
        self.running_var = _ones(channels, dtype=dtype, trained=False)
        self.epsilon, self.momentum = epsilon, momentum
        self.by_batch = ops.BatchNorm(is_training=True, epsilon=epsilon, momentum=momentum)
        self.by_running = ops.BatchNorm(is_training=False, epsilon=epsilon, momentum=momentum)

    def construct(self, x: Tensor, train: bool) -> Tensor:
        grouped = train and 0 < self.group < x.shape[0]
        if self.double:
            return self.from_groups(x, self.group if grouped else x.shape[0]) if train else self.from_running(x)
        if grouped:
            return self.group_by_group(x)
        state = (self.weight, self.bias, self.running_mean, self.running_var)
        return self.by_batch(x, *state)[0] if train else self.by_running(x, *state)[0]

    def group_by_group(self, x: Tensor) -> Tensor:
        """Let the kernel take each group: means over two axes at once cost several times as much on a CPU.

        The kernel moves the running statistics itself, one group after the other. Its shares are such that all groups
        weigh the same in the end: of G groups, with s = momentum / G, the i-th from the end takes s / (1 - i s).
        """
        state = (self.weight, self.bias, self.running_mean, self.running_var)
        count = x.shape[0] // self.group
        share, parts = self.momentum / count, []
        for place in range(count):
            take = share / (1 - (count - 1 - place) * share)
            rows = x[place * self.group : (place + 1) * self.group]
            parts.append(ops.BatchNorm(is_training=True, epsilon=self.epsilon, momentum=take)(rows, *state)[0])
        return ops.cat(parts, 0)

    def from_groups(self, x: Tensor, group: int) -> Tensor:
        """Normalise each group of images by its own statistics and move the running ones."""
        count, channels = x.shape[0] // group, x.shape[1]
        split = x.reshape((count, group, channels, -1))
        mean = split.mean((1, 3), keep_dims=True)
        centred = split - mean
        var = (centred * centred).mean((1, 3), keep_dims=True)
        self.move(mean, var, group * split.shape[3])
        weight, bias = self.weight.reshape((1, 1, -1, 1)), self.bias.reshape((1, 1, -1, 1))
        scale = weight / ops.sqrt(var + of(self.epsilons, x.dtype))
        return (centred * scale + bias).reshape(x.shape)

    def move(self, mean: Tensor, var: Tensor, values: int) -> None:
        """Move the running statistics towards the mean of the groups' (count, 1, C, 1), from `values` each."""
        keep, take = of(self.keep, mean.dtype), of(self.take, mean.dtype)
        mean = ops.stop_gradient(mean).mean((0, 1, 3))
        var = ops.stop_gradient(var).mean((0, 1, 3)) * values / max(values - 1, 1)
        ops.assign(self.running_mean, keep * self.running_mean + take * mean)
        ops.assign(self.running_var, keep * self.running_var + take * var)

    def from_running(self, x: Tensor) -> Tensor:
        """Normalise by the running statistics."""
        scale = self.weight / ops.sqrt(self.running_var + of(self.epsilons, x.dtype))
        centred = x - _per_channel(self.running_mean, x.ndim)
        return centred * _per_channel(scale, x.ndim) + _per_channel(self.bias, x.ndim)


class InstanceNorm(nn.Cell):
    """Instance normalisation with affine parameters and no running statistics."""

    def __init__(self, channels: int, dtype: ms.dtype) -> None:
        super().__init__()
        self.channels, self.double = channels, dtype == ms.float64
        self.weight = _ones(channels, dtype=dtype)
        self.bias = _zeros(channels, dtype=dtype)

    def construct(self, x: Tensor) -> Tensor:
        if not self.double:
            return ops.group_norm(x, self.channels, self.weight, self.bias, EPSILON)
        centred = x - x.mean((2, 3), keep_dims=True)
        var = (centred * centred).mean((2, 3), keep_dims=True)
        scale = _per_channel(self.weight, 4) / ops.sqrt(var + of(EPSILONS, x.dtype))
        return centred * scale + _per_channel(self.bias, 4)


class GeneralisedMean(nn.Cell):
    """GeM: maps (B, C, H, W) -> (mean of x^p over places)^(1/p), (B, C). p is learnt."""

    def __init__(self, dtype: ms.dtype) -> None:
        super().__init__()
        self.exponent = Parameter(Tensor([CONSTANTS["exponent"]], dtype))

    def construct(self, x: Tensor) -> Tensor:
        floor = of(FLOORS, x.dtype)
        x = ops.where(x <= floor, ops.zeros_like(x) + floor, x)
        return ops.pow(ops.pow(x, self.exponent).mean((2, 3)), 1 / self.exponent)


class ChannelAttention(nn.Cell):
    """Attention of channels to those unlike them, added with a learnt weight that starts at 0 (MVD's public code)."""

    def __init__(self, dtype: ms.dtype) -> None:
        super().__init__()
        self.gamma = _zeros(1, dtype=dtype)

    def construct(self, x: Tensor) -> Tensor:
        maps = x.reshape((x.shape[0], x.shape[1], -1))
        energy = ops.matmul(maps, ops.transpose(maps, (0, 2, 1)))
        weights = ops.exp(ops.stop_gradient(ops.amin(energy, 2, keepdims=True)) - energy)
        attention = weights / weights.sum(2, keepdims=True)
        return x + self.gamma * ops.matmul(attention, maps).reshape(x.shape)
