"""Batch norm over groups of a batch in training, with ReLU and the addition of a residual, as kernels of our own.

    y = relu((x - mean_g) / sqrt(var_g + epsilon) * weight + bias + residual)

of each group g of images with its own mean and variance (Ioffe and Szegedy, 2015, algorithm 1). torch's own operations
need a call for each group, a copy that joins the groups, and one more pass each for sum and ReLU. Here x is read
twice and y written once, forward; backward x and dy are read twice. `layers.BatchNorm` holds the same in plain torch:
it is the reference, and what runs on the CPU, in double precision, and where triton is missing.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from duoreid.backends.torch.kernels.plans import plan

DTYPES = (torch.float32, torch.bfloat16)
LARGEST = 2**31
"""Places in a tensor: the kernels count them in 32 bits."""


def batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    *,
    groups: int = 1,
    momentum: float = 0.1,
    epsilon: float = 1e-5,
    residual: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """Normalise each of `groups` equal groups of a batch by its own statistics, in training.

    x: (B, C) or (B, C, H, W), float32 or bfloat16; channels last is what it is made for, other orders are copied first.
    weight, bias, running_mean, running_var: (C,), float32. The running statistics move in place by the groups' mean of
    means and of unbiased variances. residual: as x; added before the ReLU. Returns y as x, channels last. Statistics
    and sums are float32; y is rounded once. Gradients: of x, weight, bias, residual; once. ValueError where shapes or
    types are others. Nothing waits for the device, so that a CUDA graph can hold it.

        y = batch_norm(x, weight, bias, mean, var, groups=4, residual=shortcut, relu=True)
    """
    _check(x, (weight, bias, running_mean, running_var), groups, residual)
    return _BatchNorm.apply(x, weight, bias, residual, running_mean, running_var, groups, relu, momentum, epsilon)


def _check(x: Tensor, vectors: tuple[Tensor, ...], groups: int, residual: Tensor | None) -> None:
    if x.ndim not in (2, 4) or x.dtype not in DTYPES:
        raise ValueError(f"batch_norm takes x (B, C) or (B, C, H, W), float32 or bfloat16; got {_kind(x)}")
    if groups < 1 or x.shape[0] % groups or rows_of(x.shape) // groups < 2:
        raise ValueError(
            f"batch_norm of {groups} groups: they must share the batch evenly, with two values of a channel or more in "
            f"each, to have a variance; got x {tuple(x.shape)}"
        )
    if x.numel() >= LARGEST:
        raise ValueError(
            f"batch_norm counts places in 32 bits: x {tuple(x.shape)} has {x.numel()}, take a smaller batch"
        )
    for vector in vectors:
        if vector.shape != x.shape[1:2] or vector.dtype != torch.float32 or not vector.is_contiguous():
            raise ValueError(
                f"batch_norm takes weight, bias and running statistics ({x.shape[1]},) of float32, contiguous; got "
                f"{_kind(vector)}"
            )
    if residual is not None and (residual.shape, residual.dtype) != (x.shape, x.dtype):
        raise ValueError(f"batch_norm adds a residual of x's shape and type, {_kind(x)}; got {_kind(residual)}")
    if len({one.device for one in (x, *vectors, *(() if residual is None else (residual,)))}) > 1:
        raise ValueError(f"batch_norm needs everything on one device; x is on {x.device}")
    if x.device.type != "cuda" and not (x.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"):
        raise ValueError(
            f"the kernels of batch norm need CUDA, got tensors on {x.device}: layers.BatchNorm computes the same "
            "anywhere, and with TRITON_INTERPRET=1 in the environment from the beginning Triton interprets them"
        )


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} of {tensor.dtype}".replace("torch.", "")


def rows_of(shape: torch.Size) -> int:
    """Return how many values a channel has."""
    return shape[0] * (shape[2] * shape[3] if len(shape) == 4 else 1)


def _matrix(x: Tensor) -> Tensor:
    """Return x as rows of channels (rows, C), the channels side by side; a copy only where its order is another."""
    rows = (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).reshape(-1, x.shape[1])
    # A stride counts in 32 bits too: that of rows far apart, as of a few channels of very many, may be too large.
    near = rows.stride(1) == 1 and 0 < rows.stride(0) * rows.shape[0] < LARGEST
    return rows if near else rows.contiguous()


def _empty(x: Tensor) -> Tensor:
    """Return a tensor like x, channels last and without gaps."""
    order = torch.channels_last if x.ndim == 4 else torch.contiguous_format
    return torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=order)


class _BatchNorm(torch.autograd.Function):
    """See `batch_norm`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        residual: Tensor | None,
        running_mean: Tensor,
        running_var: Tensor,
        groups: int,
        relu: bool,
        momentum: float,
        epsilon: float,
    ) -> Tensor:
        from duoreid.backends.torch.kernels import programs

        rows, y = _matrix(x), _empty(x)
        shared = plan(len(rows) // groups, x.shape[1], groups)
        parts = torch.empty((2, groups, shared.splits, x.shape[1]), dtype=torch.float32, device=x.device)
        mean, inverse = torch.empty((2, groups, x.shape[1]), dtype=torch.float32, device=x.device)
        added = rows if residual is None else _matrix(residual)
        with torch.cuda.device_of(x):
            programs.moments[shared.grid](rows, *parts, stride=rows.stride(0), **shared.sizes, **shared.blocks)
            programs.statistics[shared.joint_grid](
                *parts,
                mean,
                inverse,
                running_mean,
                running_var,
                groups=groups,
                chunk=shared.chunk,
                momentum=momentum,
                epsilon=epsilon,
                **shared.sizes,
                **shared.joint,
            )
            programs.normalise[shared.grid](
                rows,
                added,
                _matrix(y),
                mean,
                inverse,
                weight,
                bias,
                stride=rows.stride(0),
                residual_stride=added.stride(0),
                ADD=residual is not None,
                RELU=relu,
                **shared.sizes,
                **shared.blocks,
            )
        ctx.shared, ctx.relu, ctx.added = shared, relu, residual is not None
        ctx.save_for_backward(rows, weight, bias, mean, inverse, *([y] if relu and ctx.added else []))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        from duoreid.backends.torch.kernels import programs

        rows, weight, bias, mean, inverse, *seen = ctx.saved_tensors
        shared, like = ctx.shared, {"dtype": torch.float32, "device": rows.device}
        dx, gradient = _empty(dy), _matrix(dy)
        sums, products = torch.empty((2, shared.groups, shared.splits, shared.channels), **like)
        mean_sum, mean_product = torch.empty((2, shared.groups, shared.channels), **like)
        dweight, dbias = torch.empty((2, shared.channels), **like)
        mask = programs.FROM_Y.value if seen else programs.FROM_X.value if ctx.relu else 0
        passed, kept = (_matrix(seen[0]), _empty(dy)) if seen else (rows, dx)
        common = (mean, inverse, weight, bias)
        strides = {"stride": rows.stride(0)}
        with torch.cuda.device_of(rows):
            programs.gradient_sums[shared.grid](
                gradient,
                rows,
                passed,
                _matrix(kept),
                *common,
                sums,
                products,
                dy_stride=gradient.stride(0),
                MASK=mask,
                **strides,
                **shared.sizes,
                **shared.blocks,
            )
            programs.gradient_totals[shared.joint_grid](
                sums,
                products,
                mean_sum,
                mean_product,
                dweight,
                dbias,
                groups=shared.groups,
                **shared.sizes,
                **shared.joint,
            )
            if seen:
                gradient = _matrix(kept)
            programs.gradient_input[shared.grid](
                gradient,
                rows,
                _matrix(dx),
                *common,
                mean_sum,
                mean_product,
                gradient_stride=gradient.stride(0),
                MASK=0 if seen else mask,
                **strides,
                **shared.sizes,
                **shared.blocks,
            )
        own = (kept if seen else dy) if ctx.added else None
        given = (dx, dweight, dbias, own)
        return (
            *(one if needed else None for one, needed in zip(given, ctx.needs_input_grad[:4], strict=True)),
            *[None] * 6,
        )
