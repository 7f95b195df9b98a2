"""What a backbone is: the layers between an image and the pooled feature, as data that every backend builds from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from duoreid.core.losses.float64.walk import Source, Walk
from duoreid.core.networks.layouts import Layout
from duoreid.core.networks.tensors import Entry


class BackboneConfig(NamedTuple):
    """What a backbone is built for.

    network: the NetworkConfig of core/settings/config.py. height, width: of the images, in pixels. attention: channel
    attention between its layers, as in MVD's public code. Where none is asked for, a LearnerConfig may stand in: it has
    a network, a height and a width too.
    """

    network: Any
    height: int
    width: int
    attention: bool = False


class Backbone(Protocol):
    """One backbone, by whose name `--arch` knows it.

    family: name of the file that builds it in each backend, backends/*/backbones/FAMILY.py. features: D, the width of
    the pooled feature. stages: names of its blocks in forward order; the parity report shows one line for each of them.
    options: fields of BackboneConfig and NetworkConfig that mean something to it; all others, but `arch`, `weights` and
    `batch_norm_group`, must stand at their defaults. layouts: how publishers name its tensors, beside this library's
    own names and the layouts of its family in core/checkpoints/layouts.
    """

    @property
    def family(self) -> str: ...

    @property
    def features(self) -> int: ...

    @property
    def stages(self) -> Sequence[str]: ...

    @property
    def options(self) -> frozenset[str]: ...

    @property
    def layouts(self) -> Sequence[Layout]: ...

    def tensors(self, config: BackboneConfig) -> list[Entry]:
        """List its tensors by canonical name, which has no prefix, in forward order.

        ValueError where it cannot be built for the images' size or the options.
        """
        ...

    def walk(self, walk: Walk, image: Source, config: BackboneConfig) -> Source:
        """Say in float64 what it computes, layer by layer: normalised images (B, 3, H, W) -> feature (B, D).

        Every layer that has tensors, or that a backend builds as a layer, is added to the walk under its name.
        """
        ...
