"""`python -m benchmarks.kernels`: why float32 differs where it does, one thing changed at a time. On the CPU.

Each experiment computes the same numbers in several ways, all beside NumPy in float64, and prints the largest error
relative to the largest number. What docs/parity-kernels.md says is read off these tables. With --switches, instead, and
the options of an exam: which ReLUs rounding has switched in torch's gradients of its batches, whether they explain how
far these are from float64, and both again with channels first in memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import duoreid.core.losses
from duoreid.benchmarks.parity import choices
from duoreid.benchmarks.parity.exam import Exam
from duoreid.benchmarks.parity.options import exam_of, parser_of
from duoreid.benchmarks.parity.sampling import relative, together
from duoreid.core.commands.command import guarded
from duoreid.core.losses.float64 import network as judge
from duoreid.core.losses.float64 import operations
from duoreid.core.random import rng
from duoreid.core.training.tables import table

Rows = Iterator[tuple[str, float]]


def convolution() -> Rows:
    """3x3, 256 -> 256 channels: orders in memory, kernels, and NumPy's sums in several orders."""
    import torch

    draw = rng(0, "parity/bisect")
    x = np.maximum(draw.standard_normal((4, 256, 8, 4)), 0).astype(np.float32)
    weight = (draw.standard_normal((256, 256, 3, 3)) * 0.03).astype(np.float32)
    true = operations.convolve(x.astype(np.float64), weight.astype(np.float64), 1)
    for order, layout in (("first", torch.contiguous_format), ("last", torch.channels_last)):
        images, kernel = (torch.from_numpy(a).contiguous(memory_format=layout) for a in (x, weight))
        for enabled, name in ((True, "oneDNN"), (False, "its own")):
            before, torch.backends.mkldnn.enabled = torch.backends.mkldnn.enabled, enabled
            output = torch.nn.functional.conv2d(images, kernel, padding=1).numpy()
            torch.backends.mkldnn.enabled = before
            yield f"torch, channels {order}, {name} kernel", judge.distance(output, true)
    yield "MindSpore", judge.distance(_mindspore_convolution(x, weight), true)
    for at_once in (256, 64, 16):
        yield f"NumPy, {at_once} channels x 9 at a time", judge.distance(summed(x, weight, at_once), true)


def summed(x: np.ndarray, weight: np.ndarray, at_once: int) -> np.ndarray:
    """Convolve in float32: running sums over some channels and all places of the kernel, then the sum of these."""
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    total = np.zeros((len(x), len(weight), height, width), np.float32)
    for first in range(0, x.shape[1], at_once):
        part = np.zeros_like(total)
        for row, column in np.ndindex(3, 3):
            for channel in range(first, first + at_once):
                window = padded[:, channel : channel + 1, row : row + height, column : column + width]
                part += window * weight[None, :, channel, row, column, None, None]
        total += part
    return total


def _mindspore_convolution(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    from mindspore import Tensor, ops

    import duoreid.backends.mindspore  # noqa: F401  sets the environment before the framework is imported

    return ops.Conv2D(len(weight), 3, pad_mode="pad", pad=1)(Tensor(x), Tensor(weight)).asnumpy().copy()


def batch_norm() -> Rows:
    """Training mode over 4 x 32 x 16 places of a channel, whose mean is not 0."""
    import torch

    draw = rng(1, "parity/bisect")
    x = (draw.standard_normal((4, 32, 32, 16)) + draw.standard_normal((1, 32, 1, 1))).astype(np.float32)
    scale, shift = draw.random((2, 32)).astype(np.float32)
    true = operations.by_groups(x.astype(np.float64), 0, scale.astype(np.float64), shift.astype(np.float64))[0]
    for order, layout in (("first", torch.contiguous_format), ("last", torch.channels_last)):
        images = torch.from_numpy(x).contiguous(memory_format=layout)
        output = torch.nn.functional.batch_norm(images, None, None, *map(torch.from_numpy, (scale, shift)), True)
        yield f"torch, channels {order}", judge.distance(output.numpy(), true)
    from mindspore import Tensor, ops

    state = (Tensor(a) for a in (scale, shift, np.zeros(32, np.float32), np.ones(32, np.float32)))
    output = ops.BatchNorm(is_training=True, epsilon=operations.EPSILON)(Tensor(x), *state)[0]
    yield "MindSpore", judge.distance(output.asnumpy(), true)
    rows = x.transpose(1, 0, 2, 3).reshape(32, -1)
    yield "NumPy, statistics in pairs", judge.distance(_normalised(x, scale, shift, rows.mean(1), rows.var(1)), true)
    mean = np.cumsum(rows, axis=1)[:, -1] / np.float32(rows.shape[1])
    var = np.cumsum((rows - mean[:, None]) ** 2, axis=1)[:, -1] / np.float32(rows.shape[1])
    yield "NumPy, statistics as running sums", judge.distance(_normalised(x, scale, shift, mean, var), true)


def _normalised(x: np.ndarray, *statistics: np.ndarray) -> np.ndarray:
    scale, shift, mean, var = (value.astype(np.float32).reshape(1, -1, 1, 1) for value in statistics)
    return (x - mean) / np.sqrt(var + np.float32(operations.EPSILON)) * scale + shift


def exponential() -> Rows:
    """Exp of numbers from -15 to 0, relative to each value; log of 1 to 2."""
    import torch
    from mindspore import Tensor, ops

    x = rng(2, "parity/bisect").uniform(-15, 0, 100_000).astype(np.float32)
    y = np.float32(1) + np.exp(x)
    for name, exp, log in (
        ("torch", torch.exp(torch.from_numpy(x)).numpy(), torch.log(torch.from_numpy(y)).numpy()),
        ("MindSpore", ops.exp(Tensor(x)).asnumpy(), ops.log(Tensor(y)).asnumpy()),
        ("NumPy", np.exp(x), np.log(y)),
    ):
        yield f"{name}, exp", float(np.abs(exp / np.exp(x.astype(np.float64)) - 1).max())
        yield f"{name}, log", float(np.abs(log - np.log(y.astype(np.float64))).max())


def moments() -> Rows:
    """The weight of a new square in Adam's second moment, 1 - 0.999, relative to 0.001."""
    from mindspore import Parameter, Tensor, ops

    size, one = 1000, np.ones(1000, np.float32)
    square = rng(3, "parity/bisect").random(size).astype(np.float32)
    state = [Parameter(Tensor(0 * one), name=name) for name in ("weight", "first", "second")]
    numbers = (Tensor(np.float32(number)) for number in (0.0, 0.0, 0.1, 0.9, 0.999, 1e-8))
    ops.Adam()(*state, *numbers, Tensor(np.sqrt(square)))
    expected = 0.001 * np.sqrt(square).astype(np.float64) ** 2
    yield "MindSpore's fused Adam, one step from 0", judge.distance(state[2].asnumpy(), expected)
    yield "1 - 0.999 in float32", abs(float(np.float32(1) - np.float32(0.999)) / 0.001 - 1)
    yield "0.001 in float32", abs(float(np.float32(0.001)) / 0.001 - 1)


def distances() -> Rows:
    """The soft triplet loss's gradient over 8 rows of 2048 features: the distances as they are, and less rounded."""
    import torch

    from duoreid.backends.mindspore import probe
    from duoreid.backends.torch import losses

    draw = rng(4, "parity/bisect")
    features, teacher = (draw.standard_normal((2, 8, 2048)) + 2 * draw.random((2, 8, 1))).astype(np.float32)
    labels = np.repeat(np.arange(4), 2)
    _, true = duoreid.core.losses.soft_softmax_triplet(features, teacher, labels)[:2]
    _, gradient = probe.loss("soft_softmax_triplet", (features, teacher), labels)
    yield "MindSpore, x x + y y - 2 x y", judge.distance(gradient, true)
    own = losses.euclidean_distances

    def differences(x: torch.Tensor) -> torch.Tensor:
        return (x[:, None] - x[None]).square().sum(2).clamp(min=1e-12).sqrt()

    for name, way in (
        ("x x + y y - 2 x y", own),
        ("that in float64, rounded", lambda x: own(x.double()).float()),
        ("from the differences x - y", differences),
    ):
        x = torch.tensor(features, requires_grad=True)
        losses.euclidean_distances = way
        try:
            losses.soft_softmax_triplet(x, torch.tensor(teacher), torch.tensor(labels)).backward()
        finally:
            losses.euclidean_distances = own
        yield f"torch, {name}", judge.distance(x.grad.numpy(), true)


EXPERIMENTS = {
    "convolution": convolution,
    "batch norm in training": batch_norm,
    "exponential and logarithm": exponential,
    "Adam's second moment": moments,
    "distances in the soft triplet loss": distances,
}


def to_channels_first(learner: Any) -> None:
    """Let a learner's networks compute with channels first in memory, not last as they do in training."""
    import torch

    for network in learner.networks.values():
        network.to(memory_format=torch.contiguous_format)
        network.conv1.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))


def switched(exam: Exam) -> None:
    """Print the switched choices of every batch of an exam, and its gradients' distances from float64."""
    from duoreid.backends.torch import probe

    single, double = (probe.make_learner(exam.learner, precision=precision) for precision in ("float32", "float64"))
    for order in ("last, as in training", "first, for which torch's kernels sum in another order"):
        print(f"torch in float32, channels {order}:")
        if order.startswith("first"):
            to_channels_first(single)
        for index in range(exam.batches):
            held = choices.held(exam, probe, single, index)
            true, raw = (choices.gradients(exam, probe, learner, index, {})[0] for learner in (double, single))
            print(f"  batch {index}: {len(held.places)} of {held.count} choices are not those of float64")
            print("".join(f"    {words}\n" for words in held.places[: choices.SHOWN]), end="")
            errors = [
                f"{relative(together(gradients, true), together(true, true)):.1e}"
                for gradients in (raw, held.gradients)
            ]
            print(f"    gradients {errors[0]} from float64's, {errors[1]} with its choices")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables, or the switches of an exam."""
    made = parser_of("python -m benchmarks.kernels", __doc__)
    made.add_argument("--switches", action="store_true", help="which ReLUs rounding has switched in torch's gradients")
    given = made.parse_args(argv)
    return guarded(lambda: switched(exam_of(given)) if given.switches else tables())


def tables() -> None:
    """Run every experiment and print its table."""
    for name, run in EXPERIMENTS.items():
        print(table((name, "error"), [(words, f"{value:.1e}") for words, value in run()]) + "\n")


if __name__ == "__main__":
    import duoreid.benchmarks.kernels as module

    sys.exit(module.main())
