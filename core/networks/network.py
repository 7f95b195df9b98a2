"""A whole network as data: backbone, neck and classifier, and MVD's bottleneck where it has one."""

from __future__ import annotations

import numpy as np

from duoreid.core.errors import UserError
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.backbones import backbone, check_options
from duoreid.core.networks.heads import Heads, bottleneck, neck_and_classifier
from duoreid.core.networks.tensors import Entry, draw
from duoreid.core.settings.config import NetworkConfig


def network_tensors(
    config: BackboneConfig,
    capacity: int,
    *,
    representation: int = 0,
    biases: bool = False,
    neck_bias: bool = False,
) -> list[Entry]:
    """List every tensor of a network. capacity: rows of its classifiers. The others: see `Heads`.

    UserError for an option that means nothing to the backbone.
    """
    check_options(config.network, attention=config.attention)
    chosen = backbone(config.network.arch)
    heads = Heads(representation, biases, neck_bias)
    entries = [*chosen.tensors(config), *neck_and_classifier(chosen.features, capacity, heads)]
    if heads.representation:
        entries += bottleneck(chosen.features, capacity, heads)
    return entries


def initial_state(config: BackboneConfig, capacity: int, seed: int) -> dict[str, np.ndarray]:
    """Draw the initial weights of a network without a bottleneck; see `draw`."""
    return draw(network_tensors(config, capacity), seed)


def check_size(network: NetworkConfig, trained: tuple[int, int], asked: tuple[int, int]) -> None:
    """Raise UserError where a network that was trained on images of one (height, width) does not fit another."""
    chosen = backbone(network.arch)
    own, other = (
        {entry.name: entry.shape for entry in chosen.tensors(BackboneConfig(network, *size))}
        for size in (trained, asked)
    )
    changed = [name for name, shape in own.items() if other.get(name) != shape]
    if changed:
        name, (before, after) = changed[0], ("x".join(map(str, size)) for size in (trained, asked))
        raise UserError(
            f"this {network.arch} was trained on images of {before}: its {name} {own[name]} would have to be "
            f"{other.get(name)} for {after}. Leave --height and --width out."
        )
