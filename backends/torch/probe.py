"""Losses, miners, networks and gradients with NumPy on both sides; see core/contract/probing.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from duoreid.backends.torch import losses
from duoreid.backends.torch.layers import MaxPool, plain
from duoreid.backends.torch.learner import TorchLearner
from duoreid.backends.torch.networks import ReIDNetwork, normalise
from duoreid.backends.torch.optimiser import SGD, Adam, update_teachers
from duoreid.backends.torch.runtime import RuntimeConfig, open_runtime
from duoreid.core.contract.learner import Batch
from duoreid.core.contract.probing import INPUTS, Decay, Device, Held, decaying, precision_of
from duoreid.core.losses.float64.operations import max_places
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.settings.config import LearnerConfig, NetworkConfig

COMPILED = False
_device = Device(RuntimeConfig(device="cpu"), open_runtime)
compute_on = _device.choose


def _tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    device = _device.open().device
    return [torch.tensor(np.asarray(array), device=device) for array in arrays]


def loss(name: str, inputs: tuple[np.ndarray, ...], labels: np.ndarray | None = None, **options: Any) -> tuple:
    """See Probe."""
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
    """See Probe."""
    tensors = [tensor.requires_grad_(True) for tensor in _tensors(*inputs)]
    if "classes" in options:
        options["classes"] = _tensors(np.int64(options["classes"]))[0]
    labels = _tensors(*(np.asarray(array, np.int64) for array in integers))
    value = getattr(losses, name)(*tensors, *labels, **options)
    derivatives = torch.autograd.grad(value, tensors, allow_unused=True, materialize_grads=True)
    return value.item(), [_copied(gradient) for gradient in derivatives]


def batch_hard(distances: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """See Probe."""
    positive, negative = losses.batch_hard(*_tensors(distances, np.asarray(labels, np.int64)))
    return _copied(positive), _copied(negative)


def forward(
    config: NetworkConfig, state: dict[str, np.ndarray], images: np.ndarray, *, train: bool
) -> dict[str, np.ndarray]:
    """See Probe."""
    runtime, size = _device.open(precision_of(state)), images.shape[1:3]
    network = ReIDNetwork.of(BackboneConfig(config, *size), len(state["classifier.weight"]))
    network.to(runtime.device, runtime.dtype)
    network.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    network.train(train)
    x = normalise(*_tensors(images), runtime.dtype)
    with torch.no_grad():
        features, logits = network(x)
        tensors = {"features": features, "logits": logits}
        if not train:
            tensors["embedding"] = network.embed(x)
    tensors.update(dict(network.named_buffers()))
    return {name: _copied(value) for name, value in tensors.items()}


def gradients(
    config: LearnerConfig, state: dict[str, np.ndarray], batch: Batch, *, precision: str = "float32"
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """See Probe."""
    learner = make_learner(config, precision=precision)
    learner.import_state(state)
    return gradients_of(learner, batch)


def gradients_of(learner: TorchLearner, batch: Batch) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """See Probe."""
    parts = learner.losses_of(batch)
    names, tensors = zip(*learner._trained(), strict=True)
    derivatives = torch.autograd.grad(parts["total"], tensors, allow_unused=True, materialize_grads=True)
    gradients = {name: _copied(value) for name, value in zip(names, derivatives, strict=True)}
    return {name: part.item() for name, part in parts.items()}, gradients


def held_gradients(learner: TorchLearner, batch: Batch, held: Held) -> dict[str, np.ndarray]:
    """See Probe."""
    with _holding(learner.networks, held):
        return gradients_of(learner, batch)[1]


@contextmanager
def _holding(networks: dict[str, Any], held: Held) -> Iterator[None]:
    """Replace ReLUs and pooling until the block ends."""

    def made(x: torch.Tensor, choose: Callable[[np.ndarray], np.ndarray]) -> torch.Tensor:
        before = _copied(x)
        return torch.from_numpy(held.make(before, choose(before))).to(x.device)

    def leaky_relu(x: torch.Tensor, slope: float) -> torch.Tensor:
        return torch.where(made(x, lambda before: before > 0), x, slope * x)

    def max_pool(pool: MaxPool, x: torch.Tensor) -> torch.Tensor:
        places = made(x, partial(max_places, uneven=pool.uneven))
        return x.flatten(2).gather(2, places.flatten(2)).view(places.shape)

    def entering(role: str) -> Any:
        return lambda *_: held.enter(role)

    hooks = [network.register_forward_pre_hook(entering(role)) for role, network in networks.items()]
    before = F.relu, F.leaky_relu, MaxPool.forward
    F.relu, F.leaky_relu, MaxPool.forward = (lambda x: leaky_relu(x, 0.0)), leaky_relu, max_pool
    try:
        with plain(networks.values()):
            yield
    finally:
        F.relu, F.leaky_relu, MaxPool.forward = before
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def layers(
    learner: TorchLearner, role: str, images: np.ndarray, *, train: bool, noise: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """See Probe."""
    network, arrays = learner.networks[role], {}

    def keep(name: str) -> Any:
        def hook(module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            if isinstance(output, torch.Tensor):  # not the bottleneck, which returns two
                arrays[name] = _copied(output)
            if name in INPUTS:
                arrays[INPUTS[name]] = _copied(inputs[0])

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in network.named_modules() if name]
    network.train(train)
    try:
        x = normalise(learner._to_device(images), learner.runtime.dtype)
        with learner._autocast(), plain([network]):
            network(x) if noise is None else network(x, learner._to_device(noise))
    finally:
        network.train()
        for handle in handles:
            handle.remove()
    return arrays | {name: _copied(value) for name, value in network.named_buffers()} | {"image": _copied(x)}


def _copied(tensor: torch.Tensor) -> np.ndarray:
    """A copy; bfloat16, which NumPy lacks, as float32."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().cpu().numpy().copy()


def _optimise(
    make: type[Adam] | type[SGD],
    parameters: list[np.ndarray],
    gradients: list[list[np.ndarray]],
    rates: list[float],
    weight_decay: Decay,
) -> list[np.ndarray]:
    tensors = [torch.nn.Parameter(tensor) for tensor in _tensors(*parameters)]
    optimiser = make(tensors, decaying(weight_decay, len(tensors)))
    for step, rate in zip(gradients, rates, strict=True):
        for tensor, gradient in zip(tensors, _tensors(*step), strict=True):
            tensor.grad = gradient
        optimiser.step(rate)
    return [_copied(tensor) for tensor in tensors]


adam, sgd = partial(_optimise, Adam), partial(_optimise, SGD)


def ema(teachers: list[np.ndarray], students: list[np.ndarray], decay: float) -> list[np.ndarray]:
    """See Probe."""
    moved = _tensors(*teachers)
    update_teachers(moved, _tensors(*students), decay)
    return [_copied(tensor) for tensor in moved]


def make_learner(config: LearnerConfig, *, precision: str = "float32", seed: int = 0) -> TorchLearner:
    """See Probe."""
    return TorchLearner(config, _device.open(precision), seed)
