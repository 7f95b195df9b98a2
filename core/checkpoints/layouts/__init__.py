"""The layouts of other people's files: one object for each, in a file of its publisher.

A layout belongs to a family of backbones (core/networks/backbones/FAMILY.py), whose names its renames lead to. The
order is that in which they are tried: what is told by the most particular names comes first, torchvision's last, since
others are made of it.
"""

from __future__ import annotations

from duoreid.core.checkpoints.layouts import fastreid, imagenet, mindspore, mmt, moco, supervised
from duoreid.core.networks.layouts import Layout

LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "resnet": (
        *mmt.LAYOUTS,
        *fastreid.LAYOUTS,
        *moco.LAYOUTS,
        *mindspore.LAYOUTS,
        *supervised.LAYOUTS,
        *imagenet.LAYOUTS,
    ),
}
"""By family of backbones."""
