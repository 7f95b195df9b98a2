"""When batch norm takes its kernels: where they fit, and where they were seen to be right."""

from __future__ import annotations

import logging
import subprocess
from functools import cache

import torch
from torch import Tensor

from duoreid.backends.torch.kernels.batch_norm import DTYPES, LARGEST, batch_norm, rows_of
from duoreid.core.random import rng

log = logging.getLogger(__name__)

DEVICES = ("cuda",)
"""Kinds of devices; tests add the CPU, on which Triton interprets the kernels."""
SHAPE, GROUPS = (6, 70, 7, 5), 3
"""Of what `works` tries: neither rows nor channels fill their blocks."""
ACCURACY = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""Mean error that `works` allows, of the mean size: rounding leaves 1e-7 and 1 / 500, a wrong sum far more."""


def fits(x: Tensor, weight: Tensor, groups: int, residual: Tensor | None = None) -> bool:
    """Whether `batch_norm` takes these inputs where they lie; the first time it is tried there on a few numbers."""
    return (
        x.device.type in DEVICES
        and x.ndim in (2, 4)
        and x.dtype in DTYPES
        and weight.dtype == torch.float32
        and 0 < x.numel() < LARGEST
        and rows_of(x.shape) // groups > 1
        and (residual is None or (residual.shape, residual.dtype) == (x.shape, x.dtype))
        and works(x.device)
    )


@cache
def works(device: torch.device) -> bool:
    """Whether the kernels can be built on a device and compute what float64 does; a warning says why not."""
    from triton.errors import TritonError

    try:
        wrong = [problem for dtype in DTYPES for relu in (False, True) for problem in errors(device, dtype, relu)]
    except (ImportError, OSError, RuntimeError, subprocess.SubprocessError, TritonError) as error:
        wrong = [f"{type(error).__name__}: {error}"]
    if wrong:
        log.warning(
            "the kernels of batch norm are not used on %s, and plain torch takes their place, slower: %s. Triton needs "
            "a C compiler and Python's headers; --no-triton leaves the kernels out from the beginning.",
            device,
            "; ".join(wrong),
        )
    return not wrong


@torch.enable_grad()
def errors(device: torch.device, dtype: torch.dtype, relu: bool) -> list[str]:
    """Try the kernels with and without a residual; return in words what is not as in float64."""
    draws = rng(0, "batch norm", int(relu)).standard_normal((3, *SHAPE))
    x, residual, dy = (torch.tensor(draw, dtype=dtype, device=device) for draw in draws)
    vectors = rng(1, "batch norm", int(relu)).uniform(0.5, 1.5, (4, SHAPE[1]))
    faults = []
    for added in (None, residual):
        results = []
        for kind in (dtype, torch.float64):
            place = {"dtype": torch.promote_types(kind, torch.float32), "device": device}
            weight, bias, mean, var = (torch.tensor(vector, **place) for vector in vectors)
            trained = [x.to(kind), weight, bias, *([] if added is None else [added.to(kind)])]
            trained = [one.detach().clone().requires_grad_() for one in trained]
            options = {"groups": GROUPS, "relu": relu, "residual": None if added is None else trained[3]}
            compute = exact if kind == torch.float64 else batch_norm
            y = compute(*trained[:3], mean, var, **options)
            results.append([y, *torch.autograd.grad(y, trained, dy.to(kind)), mean, var])
        names = ("y", "dx", "dweight", "dbias", *([] if added is None else ["dresidual"]), "mean", "variance")
        for name, ours, true in zip(names, *results, strict=True):
            error = ((ours.double() - true).abs().mean() / true.abs().mean()).item()
            if not error <= ACCURACY[dtype]:  # nor NaN
                faults.append(f"{name} of {str(dtype).removeprefix('torch.')} is off by {error:.2g}")
    return faults


def exact(
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
    """The same as `batch_norm` by its definition, in whatever type the inputs have: what is exact in float64."""
    split = x.unflatten(0, (groups, -1))
    places = (1, *range(3, split.ndim))
    mean, var = split.mean(places, keepdim=True), split.var(places, correction=0, keepdim=True)
    channels = (1, -1, *[1] * (x.ndim - 2))
    y = ((split - mean) / (var + epsilon).sqrt()).flatten(0, 1) * weight.view(channels) + bias.view(channels)
    y = y if residual is None else y + residual
    with torch.no_grad():
        count = rows_of(x.shape) // groups
        for running, now in ((running_mean, mean), (running_var, var * count / (count - 1))):
            running.mul_(1 - momentum).add_(momentum * now.reshape(groups, -1).mean(0))
    return y.relu() if relu else y
