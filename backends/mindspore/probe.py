"""Losses, miners, networks and gradients with NumPy on both sides; see core/contract/probing.py.

Single functions run without compilation, which would take longer than they do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from duoreid.backends.mindspore import layers as parts
from duoreid.backends.mindspore import losses
from duoreid.backends.mindspore.learner import MindSporeLearner
from duoreid.backends.mindspore.networks import ReIDNetwork, normalise
from duoreid.backends.mindspore.optimiser import SGD, Adam, MeanTeachers, load
from duoreid.backends.mindspore.runtime import RuntimeConfig, open_runtime
from duoreid.core.contract.learner import Batch
from duoreid.core.contract.probing import INPUTS, Decay, Device, Held, decaying, precision_of
from duoreid.core.losses.float64.operations import max_places
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.settings.config import LearnerConfig, NetworkConfig

COMPILED = True
_device = Device(RuntimeConfig(device="cpu"), open_runtime)
compute_on = _device.choose


def _parameters(arrays: list[np.ndarray], name: str) -> list[Parameter]:
    return [Parameter(Tensor(np.array(array)), name=f"{name}{index}") for index, array in enumerate(arrays)]


def loss(name: str, inputs: tuple[np.ndarray, ...], labels: np.ndarray | None = None, **options: Any) -> tuple:
    """See Probe."""
    _device.open()
    student, *rest = [Tensor(np.array(array)) for array in inputs]
    if labels is not None:
        rest.append(Tensor(np.asarray(labels, np.int32)))
    options, function = _options(options, student.dtype), getattr(losses, name)
    value, gradient = ms.value_and_grad(lambda x: function(x, *rest, **options))(student)
    return float(value.asnumpy()), gradient.asnumpy().copy()


def gradients_of_loss(
    name: str, inputs: tuple[np.ndarray, ...], integers: tuple[np.ndarray, ...] = (), **options: Any
) -> tuple[float, list[np.ndarray]]:
    """See Probe."""
    _device.open()
    tensors = [Tensor(np.array(array)) for array in inputs]
    labels = [Tensor(np.asarray(array, np.int32)) for array in integers]
    options, function = _options(options, tensors[0].dtype), getattr(losses, name)
    differentiated = ms.value_and_grad(lambda *x: function(*x, *labels, **options), tuple(range(len(tensors))))
    value, derivatives = differentiated(*tensors)
    derivatives = derivatives if isinstance(derivatives, tuple) else (derivatives,)
    return float(value.asnumpy()), [gradient.asnumpy().copy() for gradient in derivatives]


def _options(options: dict[str, Any], dtype: ms.dtype) -> dict[str, Any]:
    """Return a loss's options as it takes them: numbers that float32 would round, and classes, are tensors."""
    converted = {name: Tensor(value, dtype) if isinstance(value, float) else value for name, value in options.items()}
    return converted | {name: Tensor(int(value), ms.int32) for name, value in options.items() if name == "classes"}


def batch_hard(distances: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """See Probe."""
    _device.open()
    positive, negative = losses.batch_hard(Tensor(np.array(distances)), Tensor(np.asarray(labels, np.int32)))
    return positive.asnumpy().copy(), negative.asnumpy().copy()


def forward(
    config: NetworkConfig, state: dict[str, np.ndarray], images: np.ndarray, *, train: bool
) -> dict[str, np.ndarray]:
    """See Probe."""
    dtype, size = _device.open(precision_of(state)).dtype, images.shape[1:3]
    network = ReIDNetwork.of(BackboneConfig(config, *size), len(state["classifier.weight"]), dtype)
    for parameter in network.get_parameters():
        load(parameter, state[parameter.name])
    network.check_batch(len(images), train)
    x = normalise(Tensor(np.ascontiguousarray(images)), dtype)
    features, logits = network(x, train)
    tensors = {"features": features, "logits": logits}
    if not train:
        tensors["embedding"] = network.embed(x)
    tensors.update({p.name: p for p in network.get_parameters() if ".running_" in p.name})
    return {name: value.asnumpy().copy() for name, value in tensors.items()}


def gradients(
    config: LearnerConfig, state: dict[str, np.ndarray], batch: Batch, *, precision: str = "float32"
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """See Probe."""
    learner = make_learner(config, precision=precision)
    learner.import_state(state)
    return gradients_of(learner, batch)


def gradients_of(learner: MindSporeLearner, batch: Batch) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """See Probe."""
    values, derivatives = learner.losses_and_gradients(batch)
    names = [parameter.name for parameter in learner.optimiser.parameters]
    parts = dict(zip(learner.method.NAMES, values.asnumpy().tolist(), strict=True))
    return parts, {name: value.asnumpy().copy() for name, value in zip(names, derivatives, strict=True)}


def held_gradients(learner: MindSporeLearner, batch: Batch, held: Held) -> dict[str, np.ndarray]:
    """See Probe."""
    with _holding(learner, held):
        return gradients_of(learner, batch)[1]


@contextmanager
def _holding(learner: Any, held: Held) -> Iterator[None]:
    """Replace the compiled losses by the cells themselves, and ReLUs and pooling, until the block ends."""

    def made(x: Tensor, chosen: Tensor) -> Tensor:
        return Tensor(held.make(x.asnumpy().copy(), chosen.asnumpy().copy()))

    def relu(x: Tensor) -> Tensor:
        return ops.where(made(x, x > 0), x, ops.zeros_like(x))

    def leaky_relu(x: Tensor) -> Tensor:
        return ops.where(made(x, x > 0), x, parts.of(parts.SLOPE, x.dtype) * x)

    def max_pool(pool: parts.MaxPool2d, x: Tensor) -> Tensor:
        places = made(x, Tensor(max_places(x.asnumpy().copy(), uneven=pool.uneven)))
        flat = ops.gather_elements(x.reshape((*x.shape[:2], -1)), 2, places.reshape((*x.shape[:2], -1)))
        return flat.reshape(places.shape)

    def entering(role: str) -> Any:
        return lambda *_: held.enter(role)

    method, parameters = learner.method, learner.optimiser.parameters
    hooks = [learner.network(role).register_forward_pre_hook(entering(role)) for role in learner.spec.all]
    before = parts.relu, parts.leaky_relu, parts.MaxPool2d.construct, learner._losses_and_gradients
    parts.relu, parts.leaky_relu, parts.MaxPool2d.construct = relu, leaky_relu, max_pool
    learner._losses_and_gradients = ms.value_and_grad(method, None, parameters, has_aux=True)
    try:
        yield
    finally:
        parts.relu, parts.leaky_relu, parts.MaxPool2d.construct, learner._losses_and_gradients = before
        for hook in hooks:
            hook.remove()


def layers(
    learner: MindSporeLearner, role: str, images: np.ndarray, *, train: bool, noise: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """See Probe. Nothing is compiled: one operation after another."""
    network, arrays = learner.network(role), {}

    def keep(name: str) -> Any:
        def hook(cell: nn.Cell, inputs: tuple, output: Tensor) -> None:
            if isinstance(output, Tensor):  # not the bottleneck, which returns two
                arrays[name] = output.asnumpy().copy()
            if name in INPUTS:
                arrays[INPUTS[name]] = inputs[0].asnumpy().copy()

        return hook

    cells = [(name, cell) for name, cell in network.cells_and_names() if name and not isinstance(cell, nn.CellList)]
    handles = [cell.register_forward_hook(keep(name)) for name, cell in cells]
    try:
        x = normalise(Tensor(np.ascontiguousarray(images)), learner.runtime.dtype)
        network(x, train) if noise is None else network(x, train, Tensor(noise))
    finally:
        for handle in handles:
            handle.remove()
    buffers = {p.name.split(".", 1)[1]: p for p in network.get_parameters() if ".running_" in p.name}
    arrays |= {name: value.asnumpy().copy() for name, value in buffers.items()}
    return arrays | {"image": x.asnumpy().copy()}


def _optimise(
    make: type[Adam] | type[SGD],
    parameters: list[np.ndarray],
    gradients: list[list[np.ndarray]],
    rates: list[float],
    weight_decay: Decay,
) -> list[np.ndarray]:
    _device.open()
    moved = _parameters(parameters, "parameter")
    optimiser = make(moved, decaying(weight_decay, len(moved)), graph=False)
    places = {parameter.name: place for place, parameter in enumerate(moved)}
    order = [places[parameter.name] for parameter in optimiser.parameters]
    for step, rate in zip(gradients, rates, strict=True):
        optimiser.step(tuple(Tensor(np.array(step[place])) for place in order), rate)
    return [parameter.asnumpy().copy() for parameter in moved]


adam, sgd = partial(_optimise, Adam), partial(_optimise, SGD)


def ema(teachers: list[np.ndarray], students: list[np.ndarray], decay: float) -> list[np.ndarray]:
    """See Probe."""
    _device.open()
    moved = _parameters(teachers, "teacher")
    MeanTeachers(moved, _parameters(students, "student"), graph=False).step(decay)
    return [parameter.asnumpy().copy() for parameter in moved]


def make_learner(config: LearnerConfig, *, precision: str = "float32", seed: int = 0) -> MindSporeLearner:
    """See Probe."""
    return MindSporeLearner(config, _device.open(precision), seed)
