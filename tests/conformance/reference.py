"""The networks, the optimiser and the mean teachers in float64 NumPy, written for plainness alone.

Nothing here knows of a backend. Statistics of batch norm are returned, not kept.
"""

from __future__ import annotations

import numpy as np

from duoreid.core.contract.learner import Batch
from duoreid.core.contract.state import network
from duoreid.core.losses import cross_entropy, mmt, softmax_triplet
from duoreid.core.methods.registry import spec_of
from duoreid.core.networks.architectures import Block, architecture, blocks
from duoreid.core.settings.config import LearnerConfig, NetworkConfig

EPSILON = 1e-5
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
WEIGHTS = ("hard_ce", "hard_triplet", "soft_ce", "soft_triplet")

State = dict[str, np.ndarray]


def convolve(x: np.ndarray, weight: np.ndarray, stride: int = 1) -> np.ndarray:
    """Convolve (B, C, H, W) with (O, C, k, k), padded by k // 2, as one product of gathered windows."""
    size = weight.shape[2]
    padded = np.pad(x, ((0, 0), (0, 0), (size // 2,) * 2, (size // 2,) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]
    return np.tensordot(windows, weight, axes=([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2)


def max_pool(x: np.ndarray) -> np.ndarray:
    """Take the maximum of 3 x 3 windows, stride 2, padding 1."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2].max(axis=(4, 5))


def _per_channel(values: np.ndarray, axes: int) -> np.ndarray:
    return values.reshape(1, -1, *([1] * (axes - 2)))


class Network:
    """One network over a state of canonical names. buffers: the running statistics, moved by forwards in training."""

    def __init__(self, config: NetworkConfig, state: State) -> None:
        self.config = config
        self.state = {name: np.asarray(value, np.float64) for name, value in state.items()}
        self.buffers = {name: value.copy() for name, value in self.state.items() if ".running_" in name}

    def batch_norm(self, x: np.ndarray, name: str, train: bool) -> np.ndarray:
        """Normalise over all axes but the channels: by the batch's (or group's) statistics, or by the running ones."""
        weight, bias = (_per_channel(self.state[f"{name}.{part}"], x.ndim) for part in ("weight", "bias"))
        mean_name, var_name = f"{name}.running_mean", f"{name}.running_var"
        if not train:
            mean, var = (_per_channel(self.buffers[n], x.ndim) for n in (mean_name, var_name))
            return (x - mean) / np.sqrt(var + EPSILON) * weight + bias
        group = self.config.batch_norm_group or len(x)
        parts, means, variances = [], [], []
        for start in range(0, len(x), group):
            part = x[start : start + group]
            axes = (0, *range(2, x.ndim))
            mean, var = part.mean(axes, keepdims=True), part.var(axes, keepdims=True)
            parts.append((part - mean) / np.sqrt(var + EPSILON) * weight + bias)
            count = part.size // part.shape[1]
            means.append(mean.ravel())
            variances.append(var.ravel() * count / (count - 1))
        for buffer, values in ((mean_name, means), (var_name, variances)):
            self.buffers[buffer] = 0.9 * self.buffers[buffer] + 0.1 * np.mean(values, axis=0)
        return np.concatenate(parts)

    def instance_norm(self, x: np.ndarray, name: str) -> np.ndarray:
        """Normalise each channel of each image by itself."""
        mean, var = x.mean((2, 3), keepdims=True), x.var((2, 3), keepdims=True)
        weight, bias = (_per_channel(self.state[f"{name}.{part}"], 4) for part in ("weight", "bias"))
        return (x - mean) / np.sqrt(var + EPSILON) * weight + bias

    def block(self, x: np.ndarray, block: Block, kind: str, train: bool) -> np.ndarray:
        """Run one residual block."""
        strides = (block.stride, 1) if kind == "basic" else (1, block.stride, 1)
        y = x
        for index, stride in enumerate(strides, start=1):
            y = convolve(y, self.state[f"{block.name}.conv{index}.weight"], stride)
            norm = f"{block.name}.bn{index}"
            if block.ibn and index == 1:
                half = y.shape[1] // 2
                first, second = y[:, :half], y[:, half:]
                y = np.concatenate(
                    [self.instance_norm(first, f"{norm}.IN"), self.batch_norm(second, f"{norm}.BN", train)], axis=1
                )
            else:
                y = self.batch_norm(y, norm, train)
            if index < len(strides):
                y = np.maximum(y, 0)
        if block.downsample:
            x = convolve(x, self.state[f"{block.name}.downsample.0.weight"], block.stride)
            x = self.batch_norm(x, f"{block.name}.downsample.1", train)
        return np.maximum(x + y, 0)

    def __call__(self, images: np.ndarray, train: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images uint8 (B, H, W, 3) -> features (B, D), logits (B, capacity), embedding (B, D)."""
        x = ((images / 255 - MEAN) / DEVIATION).transpose(0, 3, 1, 2)
        x = self.batch_norm(convolve(x, self.state["conv1.weight"], 2), "bn1", train)
        x = max_pool(np.maximum(x, 0) if self.config.stem_relu else x)
        arch = architecture(self.config.arch)
        for layer in blocks(arch, self.config.last_stride):
            for block in layer:
                x = self.block(x, block, arch.block, train)
        features = x.mean((2, 3))
        neck = self.batch_norm(features, "neck", train)
        return features, neck @ self.state["classifier.weight"].T, neck / np.linalg.norm(neck, axis=1, keepdims=True)


def embeddings(config: LearnerConfig, state: State, roles: tuple[str, ...], images: np.ndarray) -> np.ndarray:
    """Return the test-mode embeddings of some networks of a learner's state, (M, N, D)."""
    return np.stack([Network(config.network, network(state, role))(images, train=False)[2] for role in roles])


def mmt_losses(config: LearnerConfig, outputs: dict[str, tuple], labels: np.ndarray, classes: int) -> dict[str, float]:
    """Return the losses of MMT by name, of (features, logits) by role."""
    students, teachers = ([outputs[f"{kind}{k}"][1::-1] for k in (1, 2)] for kind in ("student", "teacher"))
    weights = {name: getattr(config.section, name) for name in WEIGHTS}
    total, parts, _ = mmt(students, teachers, labels, **weights, smoothing=config.section.smoothing, classes=classes)
    return parts | {"total": total}


def supervised_losses(
    config: LearnerConfig, outputs: dict[str, tuple], labels: np.ndarray, classes: int
) -> dict[str, float]:
    """Return the losses of the one-network methods by name, of the student's (features, logits)."""
    features, logits = outputs["student"][:2]
    parts = {
        "hard_ce": cross_entropy(logits, labels, smoothing=config.section.smoothing, classes=classes)[0],
        "hard_triplet": softmax_triplet(features, labels)[0],
    }
    return parts | {"total": sum(parts.values())}


VIEWS = {"student": 0, "student1": 0, "teacher1": 0, "student2": 1, "teacher2": 1}
"""Which view of the batch a network sees."""


class Objective:
    """The losses of one batch as a function of the networks' weights. outputs: what each network returned."""

    def __init__(self, config: LearnerConfig, state: State, batch: Batch) -> None:
        self.config, self.batch, self.classes = config, batch, int(state["classes"])
        chosen = spec_of(config.method).all
        self.networks = {role: Network(config.network, network(state, role)) for role in chosen}
        self.outputs = {role: net(batch.images[VIEWS[role]], train=True) for role, net in self.networks.items()}
        if config.method == "source" and len(batch.images) > 1:
            self.networks["student"](batch.images[1], train=True)

    def losses(self) -> dict[str, float]:
        """Return the losses by name."""
        function = mmt_losses if self.config.method == "mmt" else supervised_losses
        return function(self.config, self.outputs, self.batch.labels, self.classes)

    def slope(self, role: str, name: str, direction: np.ndarray, step: float = 1e-7) -> float:
        """Return the derivative of "total" when one tensor of one student moves along a direction."""
        net, values = self.networks[role], []
        original, kept, buffers = net.state[name], self.outputs[role], dict(net.buffers)
        for sign in (1, -1):
            net.state[name] = original + sign * step * direction
            self.outputs[role] = net(self.batch.images[VIEWS[role]], train=True)
            values.append(self.losses()["total"])
        net.state[name], self.outputs[role], net.buffers = original, kept, buffers
        return (values[0] - values[1]) / (2 * step)


def adam(parameter: np.ndarray, gradients: list[np.ndarray], rates: list[float], weight_decay: float) -> np.ndarray:
    """Apply Adam (Kingma and Ba, ICLR 2015, algorithm 1) with weight decay added to the gradient."""
    parameter = np.asarray(parameter, np.float64)
    first, second = np.zeros_like(parameter), np.zeros_like(parameter)
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        gradient = np.asarray(gradient, np.float64) + weight_decay * parameter
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        mean, square = first / (1 - 0.9**step), second / (1 - 0.999**step)
        parameter = parameter - rate * mean / (np.sqrt(square) + 1e-8)
    return parameter
