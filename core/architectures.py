"""The networks as data: shapes, canonical names and initial weights, the same for every backend.

A network is a residual backbone (He et al., CVPR 2016), global average pooling, a BNNeck (Luo et al., CVPRW 2019)
and a linear classifier without bias. Names are torchvision's for the backbone (IBN-Net's for the split
normalisation), `neck.*` and `classifier.weight` for the rest; weights are OIHW.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from core.errors import unknown
from core.random import rng


@dataclass(frozen=True)
class Architecture:
    """A residual backbone.

    block: "basic" (two 3x3 convolutions) or "bottleneck" (1x1, 3x3, 1x1 with four times the width).
    depths, widths: blocks and channels of the four layers.
    ibn: IBN-Net-a (Pan et al., ECCV 2018): in layers 1 to 3 half the channels of a block's first normalisation
        are instance-normalised.
    stem: channels of the first convolution.
    """

    block: str
    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    ibn: bool = False
    stem: int = 64

    @property
    def expansion(self) -> int:
        return 4 if self.block == "bottleneck" else 1

    @property
    def features(self) -> int:
        """D, the width of the pooled feature."""
        return self.widths[3] * self.expansion


ARCHITECTURES = {
    "tiny": Architecture("basic", (1, 1, 1, 1), (32, 64, 128, 256), stem=32),
    "resnet18": Architecture("basic", (2, 2, 2, 2), (64, 128, 256, 512)),
    "resnet50": Architecture("bottleneck", (3, 4, 6, 3), (64, 128, 256, 512)),
    "resnet50_ibn_a": Architecture("bottleneck", (3, 4, 6, 3), (64, 128, 256, 512), ibn=True),
}


def architecture(name: str) -> Architecture:
    """Return the architecture of a name; ValueError names the known ones."""
    if name not in ARCHITECTURES:
        raise unknown("architecture", name, ARCHITECTURES)
    return ARCHITECTURES[name]


class Block(NamedTuple):
    """One residual block as the backends build it. name: "layer1.0"; downsample: has a projection shortcut."""

    name: str
    inputs: int
    width: int
    outputs: int
    stride: int
    downsample: bool
    ibn: bool


def blocks(arch: Architecture, last_stride: int = 1) -> list[list[Block]]:
    """Return the blocks of the four layers, in order. last_stride: stride of layer4, 1 or 2."""
    if last_stride not in (1, 2):
        raise ValueError(f"last_stride must be 1 or 2 (the stride of layer4), got {last_stride}")
    layers, inputs = [], arch.stem
    for layer, (depth, width, stride) in enumerate(zip(arch.depths, arch.widths, (1, 2, 2, last_stride), strict=True)):
        outputs = width * arch.expansion
        layers.append([])
        for index in range(depth):
            step = stride if index == 0 else 1
            projected = step != 1 or inputs != outputs
            ibn = arch.ibn and layer < 3
            layers[-1].append(Block(f"layer{layer + 1}.{index}", inputs, width, outputs, step, projected, ibn))
            inputs = outputs
    return layers


class Entry(NamedTuple):
    """One tensor of the canonical state. kind: "conv", "ones", "zeros", "classifier"; trained: has a gradient."""

    name: str
    shape: tuple[int, ...]
    kind: str
    trained: bool


def _norm(name: str, channels: int, *, frozen_bias: bool = False) -> Iterator[Entry]:
    yield Entry(f"{name}.weight", (channels,), "ones", True)
    yield Entry(f"{name}.bias", (channels,), "zeros", not frozen_bias)
    yield Entry(f"{name}.running_mean", (channels,), "zeros", False)
    yield Entry(f"{name}.running_var", (channels,), "ones", False)


def _ibn(name: str, channels: int) -> Iterator[Entry]:
    half = channels // 2
    yield Entry(f"{name}.IN.weight", (half,), "ones", True)
    yield Entry(f"{name}.IN.bias", (half,), "zeros", True)
    yield from _norm(f"{name}.BN", channels - half)


def _block(arch: Architecture, block: Block) -> Iterator[Entry]:
    if arch.block == "basic":
        kernels = [(block.inputs, block.width, 3), (block.width, block.outputs, 3)]
    else:
        kernels = [
            (block.inputs, block.width, 1),
            (block.width, block.width, 3),
            (block.width, block.outputs, 1),
        ]
    for index, (inputs, outputs, size) in enumerate(kernels, start=1):
        yield Entry(f"{block.name}.conv{index}.weight", (outputs, inputs, size, size), "conv", True)
        normalise = _ibn if block.ibn and index == 1 else _norm
        yield from normalise(f"{block.name}.bn{index}", outputs)
    if block.downsample:
        yield Entry(f"{block.name}.downsample.0.weight", (block.outputs, block.inputs, 1, 1), "conv", True)
        yield from _norm(f"{block.name}.downsample.1", block.outputs)


def entries(arch: Architecture, capacity: int) -> list[Entry]:
    """List every tensor of a network with a classifier of `capacity` rows, in forward order."""
    found = [Entry("conv1.weight", (arch.stem, 3, 7, 7), "conv", True), *_norm("bn1", arch.stem)]
    for layer in blocks(arch):
        for block in layer:
            found.extend(_block(arch, block))
    found.extend(_norm("neck", arch.features, frozen_bias=True))
    found.append(Entry("classifier.weight", (capacity, arch.features), "classifier", True))
    return found


def initial_state(arch: Architecture, capacity: int, seed: int) -> dict[str, np.ndarray]:
    """Draw initial weights, float32: convolutions He-normal by fan-out, classifier normal(0.001), norms (1, 0).

    Every tensor has a generator of its own, keyed by its name: a wider classifier or another architecture does
    not move the numbers of the tensors they share.
    """
    state = {}
    for entry in entries(arch, capacity):
        if entry.kind in ("conv", "classifier"):
            fan_out = entry.shape[0] * math.prod(entry.shape[2:])
            deviation = math.sqrt(2.0 / fan_out) if entry.kind == "conv" else 0.001
            drawn = rng(seed, f"weights/{entry.name}").standard_normal(entry.shape)
            state[entry.name] = (drawn * deviation).astype(np.float32)
        else:
            state[entry.name] = np.full(entry.shape, entry.kind == "ones", dtype=np.float32)
    return state
