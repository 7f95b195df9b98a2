"""Residual backbones (He et al., CVPR 2016), also with split normalisation (IBN-Net-a; Pan et al., ECCV 2018).

Names are torchvision's, IBN-Net's for the split normalisation. With channel attention there are also `attention2.gamma`
to 4, before the layers of these numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from duoreid.core.errors import UserError
from duoreid.core.losses.float64.walk import Source, Walk
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.heads import channel_attention, gem
from duoreid.core.networks.tensors import Entry, conv, norm

ATTENTIVE_LAYERS = (2, 3, 4)
"""Layers with channel attention before them, where there is any."""


class Block(NamedTuple):
    """One residual block as the backends build it. name: "layer1.0"; downsample: has a projection shortcut."""

    name: str
    inputs: int
    width: int
    outputs: int
    stride: int
    downsample: bool
    ibn: bool


@dataclass(frozen=True)
class ResNet:
    """A residual backbone.

    block: "basic" (two 3x3 convolutions) or "bottleneck" (1x1, 3x3, 1x1 with four times the width).
    depths, widths: blocks and channels of the four layers.
    ibn: in layers 1 to 3 half the channels of a block's first normalisation are instance-normalised.
    stem: channels of the first convolution.
    """

    block: str
    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    ibn: bool = False
    stem: int = 64

    family = "resnet"
    layouts = ()
    options = frozenset(
        {
            *("stem_relu", "stem_pool", "last_stride", "pooling", "attention"),
            *("conv_padding", "last_norm_epsilon", "last_norm_momentum"),
        }
    )

    @property
    def expansion(self) -> int:
        """Outputs of a block, as a multiple of its width."""
        return 4 if self.block == "bottleneck" else 1

    @property
    def features(self) -> int:
        """D, the width of the pooled feature."""
        return self.widths[3] * self.expansion

    @property
    def stages(self) -> Sequence[str]:
        """Its residual blocks."""
        return [block.name for layer in self.blocks() for block in layer]

    def blocks(self, last_stride: int = 1) -> list[list[Block]]:
        """Return the blocks of the four layers, in order. last_stride: stride of layer4, 1 or 2."""
        if last_stride not in (1, 2):
            raise ValueError(f"last_stride must be 1 or 2 (the stride of layer4), got {last_stride}")
        layers, inputs, strides = [], self.stem, (1, 2, 2, last_stride)
        for layer, (depth, width, stride) in enumerate(zip(self.depths, self.widths, strides, strict=True)):
            outputs = width * self.expansion
            layers.append([])
            for index in range(depth):
                step = stride if index == 0 else 1
                projected, ibn = step != 1 or inputs != outputs, self.ibn and layer < 3
                layers[-1].append(Block(f"layer{layer + 1}.{index}", inputs, width, outputs, step, projected, ibn))
                inputs = outputs
        return layers

    def kernels(self, block: Block) -> list[tuple[int, int, int, int]]:
        """Return a block's convolutions in order: (inputs, outputs, size, stride)."""
        if self.block == "basic":
            return [(block.inputs, block.width, 3, block.stride), (block.width, block.outputs, 3, 1)]
        middle = (block.width, block.width, 3, block.stride)
        return [(block.inputs, block.width, 1, 1), middle, (block.width, block.outputs, 1, 1)]

    # -- as data ----------------------------------------------------------------------------------------------

    def tensors(self, config: BackboneConfig) -> list[Entry]:
        """See Backbone: the same for images of any size."""
        if config.network.stem_pool == "end" and (config.height % 4 or config.width % 4):
            raise UserError(
                f"--stem-pool end needs images whose height and width are multiples of 4, not "
                f"{config.height}x{config.width}: the codes that pad so differ on others. Choose another size."
            )
        entries = [conv("conv1", 3, self.stem, 7), *norm("bn1", self.stem)]
        for layer in self.blocks(config.network.last_stride):
            for block in layer:
                entries.extend(self._block(block))
        entries += [channel_attention(layer) for layer in ATTENTIVE_LAYERS if config.attention]
        return entries + ([gem()] if config.network.pooling == "gem" else [])

    def _block(self, block: Block) -> Iterator[Entry]:
        for index, (inputs, outputs, size, _) in enumerate(self.kernels(block), start=1):
            yield conv(f"{block.name}.conv{index}", inputs, outputs, size)
            normalise = _split_norm if block.ibn and index == 1 else norm
            yield from normalise(f"{block.name}.bn{index}", outputs)
        if block.downsample:
            yield conv(f"{block.name}.downsample.0", block.inputs, block.outputs, 1)
            yield from norm(f"{block.name}.downsample.1", block.outputs)

    # -- in float64 -------------------------------------------------------------------------------------------

    def walk(self, walk: Walk, image: Source, config: BackboneConfig) -> Source:
        """See Backbone."""
        network = config.network
        uneven = network.conv_padding == "same"
        x = walk.batch_norm("bn1", walk.convolve("conv1", image, 2, uneven=uneven))
        x = walk.relu(x) if network.stem_relu else x
        x = walk.max_pool("maxpool", x, uneven=uneven or network.stem_pool == "end")
        for number, layer in enumerate(self.blocks(network.last_stride), start=1):
            x = walk.attention(f"attention{number}", x)
            for block in layer:
                x = self._walk_block(walk, x, block, network)
        return walk.gem_over_places(x) if network.pooling == "gem" else walk.mean_over_places(x)

    def _walk_block(self, walk: Walk, x: Source, block: Block, network: Any) -> Source:
        y, kernels = x, self.kernels(block)
        for index, (_, _, _, stride) in enumerate(kernels, start=1):
            y = walk.convolve(f"{block.name}.conv{index}", y, stride, uneven=network.conv_padding == "same")
            name = f"{block.name}.bn{index}"
            if index == len(kernels):
                y = walk.batch_norm(name, y, network.last_norm_epsilon, network.last_norm_momentum)
            else:
                y = walk.relu(walk.split_norm(name, y) if block.ibn and index == 1 else walk.batch_norm(name, y))
        if block.downsample:
            x = walk.convolve(f"{block.name}.downsample.0", x, block.stride)
            x = walk.batch_norm(f"{block.name}.downsample.1", x)
        total = walk.relu(Source(f"{y.text} + {x.text}", lambda outputs: x.of(outputs) + y.of(outputs)))
        return walk.add(block.name, total.text, total.of)


def _split_norm(name: str, channels: int) -> Iterator[Entry]:
    half = channels // 2
    yield Entry(f"{name}.IN.weight", (half,), "ones")
    yield Entry(f"{name}.IN.bias", (half,), "zeros")
    yield from norm(f"{name}.BN", channels - half)


BACKBONES = {
    "tiny": ResNet("basic", (1, 1, 1, 1), (32, 64, 128, 256), stem=32),
    "resnet18": ResNet("basic", (2, 2, 2, 2), (64, 128, 256, 512)),
    "resnet50": ResNet("bottleneck", (3, 4, 6, 3), (64, 128, 256, 512)),
    "resnet50_ibn_a": ResNet("bottleneck", (3, 4, 6, 3), (64, 128, 256, 512), ibn=True),
}
