"""The networks as data: shapes, canonical names and initial weights, the same for every backend.

A network is a residual backbone (He et al., CVPR 2016), global average pooling, a BNNeck (Luo et al., CVPRW 2019)
and a linear classifier without bias. Names are torchvision's for the backbone (IBN-Net's for the split
normalisation), `neck.*` and `classifier.weight` for the rest; weights are OIHW.

A network of MVD (Tian et al., CVPR 2021) also has an information bottleneck, `bottleneck.*`: v -> 1000 -> 500 -> z with
batch norm and ReLU between, and a classifier of z with one hidden layer. A linear layer in front of a batch norm
has no bias, which the norm would remove. With channel attention there are also `attention2.gamma` to 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from duoreid.core.errors import unknown
from duoreid.core.random import rng


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


HEADS = ("neck.", "classifier.", "bottleneck.")
"""How the names of the tensors begin that are no part of the backbone."""

BOTTLENECK_WIDTHS = (1000, 500)
"""Channels between v and z."""

HEAD_WIDTH = 256
"""Channels of the hidden layer between z and its classes; dropout acts on these."""

ATTENTIVE_LAYERS = (2, 3, 4)
"""Layers with channel attention before them, where there is any."""


def is_head(name: str) -> bool:
    """Tell whether a tensor is no part of the backbone, and so trains at the full rate."""
    return name.startswith(HEADS)


class Entry(NamedTuple):
    """One tensor of the canonical state. trained: has a gradient.

    kind: how it starts: "conv", "linear", "classifier", "ones" or "zeros" (see `draw`).
    """

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


def variational_entries(arch: Architecture, capacity: int, representation: int, *, attention: bool) -> list[Entry]:
    """List every tensor of a network of MVD: those of `entries`, the bottleneck's and the attention's.

    representation: dimension of z. attention: channel attention before layers 2, 3 and 4.
    """
    found = entries(arch, capacity)
    if attention:
        found += [Entry(f"attention{layer}.gamma", (1,), "zeros", True) for layer in ATTENTIVE_LAYERS]
    widths = (arch.features, *BOTTLENECK_WIDTHS, representation)
    for index, (inputs, outputs) in enumerate(pairwise(widths), start=1):
        found.append(Entry(f"bottleneck.linear{index}.weight", (outputs, inputs), "linear", True))
        if index < len(widths) - 1:
            found.extend(_norm(f"bottleneck.bn{index}", outputs))
    found.append(Entry(f"bottleneck.linear{len(widths) - 1}.bias", (representation,), "zeros", True))
    found.append(Entry("bottleneck.hidden.weight", (HEAD_WIDTH, representation), "linear", True))
    found.extend(_norm("bottleneck.hidden_bn", HEAD_WIDTH))
    found.append(Entry("bottleneck.classifier.weight", (capacity, HEAD_WIDTH), "classifier", True))
    found.append(Entry("bottleneck.classifier.bias", (capacity,), "zeros", True))
    return found


def initial_state(arch: Architecture, capacity: int, seed: int) -> dict[str, np.ndarray]:
    """Draw the initial weights of a network without a bottleneck; see `draw`."""
    return draw(entries(arch, capacity), seed)


def draw(tensors: Iterable[Entry], seed: int) -> dict[str, np.ndarray]:
    """Draw initial weights, float32: He-normal by fan-out, classifiers normal(0.001), norms (1, 0), biases 0.

    Every tensor has a generator of its own, keyed by its name: a wider classifier or another architecture does
    not move the numbers of the tensors they share.
    """
    state = {}
    for entry in tensors:
        if entry.kind in ("conv", "linear", "classifier"):
            fan_out = entry.shape[0] * math.prod(entry.shape[2:])
            deviation = 0.001 if entry.kind == "classifier" else math.sqrt(2.0 / fan_out)
            drawn = rng(seed, f"weights/{entry.name}").standard_normal(entry.shape)
            state[entry.name] = (drawn * deviation).astype(np.float32)
        else:
            state[entry.name] = np.full(entry.shape, entry.kind == "ones", dtype=np.float32)
    return state
