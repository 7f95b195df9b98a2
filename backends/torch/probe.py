"""Losses, miners, networks and gradients with NumPy on both sides, for conformance and parity checks.

Every backend has this file with these functions; the precision is that of the arrays that come in.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from duoreid.backends.torch import losses
from duoreid.backends.torch.learner import TorchLearner
from duoreid.backends.torch.networks import ReIDNetwork, normalise
from duoreid.backends.torch.optimiser import SGD, Adam, update_teachers
from duoreid.backends.torch.runtime import Runtime, RuntimeConfig, open_runtime
from duoreid.core.contract.learner import Batch
from duoreid.core.settings.config import LearnerConfig, NetworkConfig

INPUTS = {"layer1.0": "maxpool", "neck": "features"}
"""Layers whose input `layers` also returns, and its name: what has no tensors of its own runs in no module."""


_chosen = RuntimeConfig(device="cpu")


def compute_on(config: RuntimeConfig) -> None:
    """Choose where and how the functions without a learner compute from now on; at first, on the CPU."""
    global _chosen
    _chosen = config


def _open(precision: str) -> Runtime:
    return open_runtime(replace(_chosen, precision=precision))


def _tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    device = open_runtime(_chosen).device
    return [torch.tensor(np.asarray(array), device=device) for array in arrays]


def loss(name: str, inputs: tuple[np.ndarray, ...], labels: np.ndarray | None = None, **options: Any) -> tuple:
    """Return (value, gradient of inputs[0]) of one loss of backends/*/losses.py.

    inputs: the student's array and, for soft losses, the teacher's. labels: integers (B,) for those that take them.
    """
    tensors = _tensors(*inputs)
    tensors[0].requires_grad_(True)
    arguments = list(tensors)
    if labels is not None:
        arguments += _tensors(np.asarray(labels, np.int64))
    if "classes" in options:
        options["classes"] = _tensors(np.int64(options["classes"]))[0]
    value = getattr(losses, name)(*arguments, **options)
    value.backward()
    return value.item(), _copied(tensors[0].grad)


def gradients_of_loss(
    name: str, inputs: tuple[np.ndarray, ...], integers: tuple[np.ndarray, ...] = (), **options: Any
) -> tuple[float, list[np.ndarray]]:
    """Return (value, gradient of every input) of one loss of backends/*/losses.py; 0 where none flows.

    integers: labels and modalities (B,), for losses that take them.
    """
    tensors = [tensor.requires_grad_(True) for tensor in _tensors(*inputs)]
    if "classes" in options:
        options["classes"] = _tensors(np.int64(options["classes"]))[0]
    labels = _tensors(*(np.asarray(array, np.int64) for array in integers))
    value = getattr(losses, name)(*tensors, *labels, **options)
    found = torch.autograd.grad(value, tensors, allow_unused=True, materialize_grads=True)
    return value.item(), [_copied(gradient) for gradient in found]


def batch_hard(distances: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the miner's (positive, negative) indices, int64 (B,) each."""
    positive, negative = losses.batch_hard(*_tensors(distances, np.asarray(labels, np.int64)))
    return _copied(positive), _copied(negative)


def forward(
    config: NetworkConfig, state: dict[str, np.ndarray], images: np.ndarray, *, train: bool
) -> dict[str, np.ndarray]:
    """Run one network. Returns features, logits, embedding (test mode only) and, by name, its buffers afterwards."""
    runtime = _open(np.asarray(state["conv1.weight"]).dtype.name)
    network = ReIDNetwork(config, len(state["classifier.weight"])).to(runtime.device, runtime.dtype)
    network.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    network.train(train)
    x = normalise(*_tensors(images), runtime.dtype)
    with torch.no_grad():
        features, logits = network(x)
        found = {"features": features, "logits": logits}
        if not train:
            found["embedding"] = network.embed(x)
    found.update(dict(network.named_buffers()))
    return {name: _copied(value) for name, value in found.items()}


def gradients(
    config: LearnerConfig, state: dict[str, np.ndarray], batch: Batch, *, precision: str = "float32"
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return the losses of one batch and the gradient of "total" for every trained tensor, by canonical name."""
    learner = make_learner(config, precision=precision)
    learner.import_state(state)
    return gradients_of(learner, batch)


def gradients_of(learner: TorchLearner, batch: Batch) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """As `gradients`, of a learner as it is, on its device; its running statistics move."""
    parts = learner.losses_of(batch)
    names, tensors = zip(*learner._trained(), strict=True)
    found = torch.autograd.grad(parts["total"], tensors, allow_unused=True, materialize_grads=True)
    gradients = {name: _copied(value) for name, value in zip(names, found, strict=True)}
    return {name: part.item() for name, part in parts.items()}, gradients


@torch.no_grad()
def layers(
    learner: TorchLearner, role: str, images: np.ndarray, *, train: bool, noise: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Run one network of a learner and return the output of every layer, by canonical name, on its device's terms.

    images: uint8 (B, H, W, 3), seen as they are. noise: uniforms (B, hidden) for MVD's dropout. Beside the layers that
    have tensors: "image", the normalised images; "maxpool" and "features", what layer1 and the neck take; and the
    running statistics as they are afterwards (they move in training).
    """
    network, found = learner.networks[role], {}

    def keep(name: str) -> Any:
        def hook(module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            if isinstance(output, torch.Tensor):  # not the bottleneck, which returns two
                found[name] = _copied(output)
            if name in INPUTS:
                found[INPUTS[name]] = _copied(inputs[0])

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in network.named_modules() if name]
    network.train(train)
    try:
        x = normalise(learner._to_device(images), learner.runtime.dtype)
        with learner._autocast():
            network(x) if noise is None else network(x, learner._to_device(noise))
    finally:
        network.train()
        for handle in handles:
            handle.remove()
    return found | {name: _copied(value) for name, value in network.named_buffers()} | {"image": _copied(x)}


def _copied(tensor: torch.Tensor) -> np.ndarray:
    """A copy; bfloat16, which NumPy lacks, as float32."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().cpu().numpy().copy()


def adam(
    parameters: list[np.ndarray], gradients: list[list[np.ndarray]], rates: list[float], weight_decay: float
) -> list[np.ndarray]:
    """Apply one Adam step for each list of gradients; return the parameters afterwards."""
    return _optimise(Adam, parameters, gradients, rates, weight_decay)


def sgd(
    parameters: list[np.ndarray], gradients: list[list[np.ndarray]], rates: list[float], weight_decay: float
) -> list[np.ndarray]:
    """Apply one step of SGD for each list of gradients; return the parameters afterwards."""
    return _optimise(SGD, parameters, gradients, rates, weight_decay)


def _optimise(
    make: type[Adam] | type[SGD],
    parameters: list[np.ndarray],
    gradients: list[list[np.ndarray]],
    rates: list[float],
    weight_decay: float,
) -> list[np.ndarray]:
    tensors = [torch.nn.Parameter(tensor) for tensor in _tensors(*parameters)]
    optimiser = make(tensors, weight_decay)
    for step, rate in zip(gradients, rates, strict=True):
        for tensor, gradient in zip(tensors, _tensors(*step), strict=True):
            tensor.grad = gradient
        optimiser.step(rate)
    return [_copied(tensor) for tensor in tensors]


def ema(teachers: list[np.ndarray], students: list[np.ndarray], decay: float) -> list[np.ndarray]:
    """Return the teachers' tensors after one update."""
    moved = _tensors(*teachers)
    update_teachers(moved, _tensors(*students), decay)
    return [_copied(tensor) for tensor in moved]


def make_learner(config: LearnerConfig, *, precision: str = "float32", seed: int = 0) -> TorchLearner:
    """Return a learner on the chosen device."""
    return TorchLearner(config, _open(precision), seed)
