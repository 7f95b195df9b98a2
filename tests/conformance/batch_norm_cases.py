"""`python -m tests.conformance.batch_norm_cases cpu`: the kernels of batch norm beside float64, as one line of JSON.

A process of its own: TRITON_INTERPRET=1, with which Triton interprets its kernels on the CPU, counts where triton is
first imported. The line holds, by case and by what was compared, the largest error at the scale of the largest value.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from duoreid.backends.torch.graph import WARM, Replay
from duoreid.backends.torch.kernels import choice, plans
from duoreid.backends.torch.layers import BatchNorm, plain
from duoreid.backends.torch.learner import TorchLearner
from duoreid.backends.torch.runtime import RuntimeConfig, open_runtime
from duoreid.core.random import rng
from tests.conformance.examples import MMT, example_batch, example_state


class Case(NamedTuple):
    """A batch, its groups, and what is done beside the norm. far: x's distance from zero, in deviations."""

    shape: tuple[int, ...]
    group: int
    relu: bool = True
    residual: bool = True
    dtype: torch.dtype = torch.float32
    order: str = "channels last"
    far: float = 0.0


CASES = {
    "one group": Case((4, 20, 5, 3), 0, residual=False),
    "groups of two, the norm alone": Case((6, 16, 5, 7), 2, relu=False, residual=False),
    "ReLU": Case((4, 35, 6, 5), 2, residual=False),
    "residual": Case((4, 18, 6, 5), 2, relu=False),
    "residual and ReLU": Case((6, 35, 4, 5), 2),
    "one after the other": Case((4, 18, 6, 5), 2, order="contiguous"),
    "channels of a wider tensor": Case((4, 18, 6, 5), 2, residual=False, order="split"),
    "bfloat16": Case((4, 35, 6, 5), 2, dtype=torch.bfloat16),
    "bfloat16, ReLU": Case((4, 18, 6, 5), 2, residual=False, dtype=torch.bfloat16, order="split"),
    "rows": Case((16, 33), 4, residual=False),
    "one channel": Case((4, 1, 6, 5), 2),
    "far from zero": Case((4, 16, 12, 11), 2, relu=False, residual=False, far=1000.0),
}
MOMENTUM, EPSILON = 0.3, 1e-3
SMALL = {"TILE": 512, "COLUMNS": 32, "PROGRAMS": 4}
"""So that a few numbers make several chunks, and chunks several tiles."""


def tensors(name: str, device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
    """Return (x, and the residual where there is one) and dy of a case, in its order and type."""
    case = CASES[name]
    draw = rng(0, f"batch norm, {name}")

    def drawn(order: str, far: float = 0.0) -> Tensor:
        sample = torch.tensor(draw.standard_normal(case.shape) + far).to(device, case.dtype)
        if order == "split":
            wide = torch.cat([torch.zeros_like(sample), sample], 1).to(memory_format=torch.channels_last)
            return wide[:, case.shape[1] :]
        return sample.to(memory_format=torch.channels_last) if order == "channels last" and sample.ndim == 4 else sample

    inputs = {"x": drawn(case.order, case.far)}
    if case.residual:
        inputs["residual"] = drawn("contiguous" if case.order == "contiguous" else "channels last")
    return inputs, drawn("contiguous")


def layer(name: str, device: torch.device) -> BatchNorm:
    """Return a case's norm in training, with drawn weights and running statistics."""
    case, draw = CASES[name], rng(1, f"batch norm, {name}")
    norm = BatchNorm(case.shape[1], case.group, momentum=MOMENTUM, epsilon=EPSILON)
    for tensor in (*norm.parameters(), *norm.buffers()):
        tensor.data = torch.tensor(draw.uniform(0.5, 1.5, case.shape[1]), dtype=torch.float32)
    norm.triton = True
    return norm.to(device)


def computed(name: str, norm: BatchNorm, inputs: dict[str, Tensor], dy: Tensor) -> dict[str, Tensor]:
    """Return what a layer computes of a case, forward and backward."""
    case = CASES[name]
    leaves = {key: value.detach().requires_grad_() for key, value in inputs.items()}
    x, residual = leaves["x"], leaves.get("residual")
    if case.relu:
        y = norm.rectified(x, residual)
    elif norm.triton and residual is not None:
        y = norm._in_one(x, residual)
    else:
        y = norm(x) if residual is None else norm(x) + residual
    trained = {**leaves, "weight": norm.weight, "bias": norm.bias}
    gradients = torch.autograd.grad(y, list(trained.values()), dy)
    derivatives = {f"d{key}": value for key, value in zip(trained, gradients, strict=True)}
    return {"y": y.detach(), **derivatives, "mean": norm.running_mean.clone(), "variance": norm.running_var.clone()}


def exactly(name: str, norm: BatchNorm, inputs: dict[str, Tensor], dy: Tensor) -> dict[str, Tensor]:
    """Return the same by the definition, in float64."""
    case = CASES[name]
    leaves = {key: value.detach().double().requires_grad_() for key, value in inputs.items()}
    weight, bias = (one.detach().double().requires_grad_() for one in (norm.weight, norm.bias))
    mean, var = norm.running_mean.double(), norm.running_var.double()
    groups = case.shape[0] // case.group if case.group else 1
    rules = {"groups": groups, "momentum": MOMENTUM, "epsilon": EPSILON, "relu": case.relu}
    y = choice.exact(leaves["x"], weight, bias, mean, var, residual=leaves.get("residual"), **rules)
    trained = {**leaves, "weight": weight, "bias": bias}
    gradients = torch.autograd.grad(y, list(trained.values()), dy.double())
    derivatives = {f"d{key}": value for key, value in zip(trained, gradients, strict=True)}
    return {"y": y.detach(), **derivatives, "mean": mean, "variance": var}


def errors(outputs: dict[str, Tensor], true: dict[str, Tensor]) -> dict[str, float]:
    """Return the largest errors at the scale of the largest value; 9.0 for another shape or type than is due."""
    if outputs.keys() != true.keys() or any(outputs[key].shape != true[key].shape for key in true):
        return {"shapes": 9.0}
    return {key: ((outputs[key].double() - true[key]).abs().max() / true[key].abs().max()).item() for key in true}


def compare(name: str, device: torch.device) -> dict[str, Any]:
    """Return errors of the kernels and of plain torch, and whether a second run, on CUDA, gave the same bits."""
    inputs, dy = tensors(name, device)
    true = exactly(name, layer(name, device), inputs, dy)
    outputs = computed(name, layer(name, device), inputs, dy)
    again = computed(name, layer(name, device), inputs, dy) if device.type == "cuda" else outputs
    norm = layer(name, device)
    with plain([norm]):
        reference = computed(name, norm, inputs, dy)
    y, order = outputs["y"], torch.channels_last if outputs["y"].ndim == 4 else torch.contiguous_format
    return {
        "kernel": errors(outputs, true),
        "plain": errors(reference, true),
        "same bits": all(torch.equal(outputs[key], again[key]) for key in outputs),
        "types": [str(y.dtype), str(outputs["dx"].dtype), str(outputs["dweight"].dtype)],
        "channels last": y.is_contiguous(memory_format=order),
    }


def replayed(device: torch.device) -> dict[str, float]:
    """Return the errors of a step that a CUDA graph holds, kernels included, beside the same without one."""
    name = "residual and ReLU"
    inputs, dy = tensors(name, device)
    norm, other = layer(name, device), layer(name, device)
    replay = Replay(list(norm.parameters()), device)

    def step(x: Tensor, residual: Tensor) -> Tensor:
        y = norm.rectified(x, residual)
        (y * dy).sum().backward()
        return y.detach()

    for turn in range(WARM + 3):
        given = {key: value * (1 + turn) for key, value in inputs.items()}
        for parameter in norm.parameters():
            parameter.grad = None
        y = replay(step, given["x"], given["residual"])
        true = computed(name, other, given, dy)
    running = {"mean": norm.running_mean, "variance": norm.running_var}
    outputs = {"y": y, "dweight": norm.weight.grad, "dbias": norm.bias.grad, **running}
    return errors(outputs, {key: true[key].double() for key in outputs})


def trained(device: torch.device) -> dict[str, float]:
    """Return how far MMT's losses and statistics with kernels, replayed where graphs are, lie from those without."""
    config = replace(MMT, network=replace(MMT.network, batch_norm_group=4))
    runtime = open_runtime(RuntimeConfig(device=device.type))
    runs = []
    for triton in (False, True):
        learner = TorchLearner(config, replace(runtime, triton=triton), seed=0)
        for _ in range(WARM + 2 if runtime.graph else 1):  # each from the same state; the last ones are replayed
            learner.import_state(example_state(config))
            learner.step(example_batch(), rate=1e-3, ema=0.9)
            losses = learner.losses()
        state = {name: value for name, value in learner.export_state().items() if "running_" in name}
        runs.append({name: torch.tensor(value) for name, value in (losses | state).items()})
    return errors(runs[1], {name: value.double() for name, value in runs[0].items()})


def main() -> None:
    """Run every case on a device, with the kernels' own sizes on CUDA and small ones where they are interpreted."""
    device = torch.device(sys.argv[1])
    torch.set_num_threads(1)
    choice.DEVICES = (device.type,)
    extra = {}
    if device.type == "cpu":
        choice.works = lambda _: True
        for key, value in SMALL.items():
            setattr(plans, key, value)
    else:
        torch.backends.cuda.matmul.allow_tf32 = False
        extra["replayed"] = replayed(device)
        extra["trained"] = trained(device)
        extra["works"] = choice.works(device)
    print(json.dumps({**{name: compare(name, device) for name in CASES}, **extra}))


if __name__ == "__main__":
    main()
