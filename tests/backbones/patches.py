"""A small patch embedding: one tensor has a shape that depends on the images' size, and takes no weight decay."""

from __future__ import annotations

from duoreid.core.losses.float64.walk import Source, Walk
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.tensors import Entry, conv, norm

NAME, SIZE, WIDTH = "patches", 8, 16


class Patches:
    """Patches of 8 x 8 pixels, each with its position added; a convolution; the mean over all patches."""

    family = NAME
    features = WIDTH
    stages = ("patches", "mix")
    options = frozenset()
    layouts = ()

    def tensors(self, config: BackboneConfig) -> list[Entry]:
        """See Backbone."""
        if config.height % SIZE or config.width % SIZE:
            raise ValueError(f"images must be whole patches of {SIZE} pixels, got {config.height}x{config.width}")
        places = (config.height // SIZE, config.width // SIZE)
        return [
            conv("patches", 3, WIDTH, SIZE),
            Entry("positions", (WIDTH, *places), "embedding", decays=False),
            *norm("norm1", WIDTH),
            conv("mix", WIDTH, WIDTH, 3),
            *norm("norm2", WIDTH),
        ]

    def walk(self, walk: Walk, image: Source, config: BackboneConfig) -> Source:
        """See Backbone."""
        x, positions = walk.convolve("patches", image, SIZE, padding=0), walk.tensors["positions"]
        placed = Source(f"{x.text} + positions", lambda outputs: x.of(outputs) + positions)
        y = walk.convolve("mix", walk.relu(walk.batch_norm("norm1", placed)))
        return walk.mean_over_places(walk.relu(walk.batch_norm("norm2", y)))
