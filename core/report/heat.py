"""Where a network looks: how strongly each place of its last maps responds, laid over the picture.

The strength of a place is the length of its vector of channels (activation-based attention: Zagoruyko and Komodakis,
ICLR 2017, section 3.1). A backend's `activations.py` takes the maps out of its networks; the rest is here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from duoreid.core.errors import UserError
from duoreid.core.report.atlas import Atlas
from duoreid.core.report.blocks import Picture, Strip, Strips

Activations = Callable[[Any, np.ndarray], np.ndarray]
"""(learner, images uint8 (B, H, W, 3)) -> strengths float32 (M, B, h, w) of its embedding networks."""

RAMP = np.array([(20, 18, 60), (120, 28, 109), (228, 90, 49), (252, 205, 60)], float)
"""Colours from weak to strong: dark to bright, so that they also read in grey."""

MIXED = 0.62
"""Share of the colours in the overlay, the rest is the picture in grey."""


def strength(maps: np.ndarray, arch: str) -> np.ndarray:
    """Maps (B, C, h, w) of a network's last block -> the length of each place's vector, float32 (B, h, w).

    UserError where the block has no places in a plane, as a transformer's has not.

    >>> strength(np.array([[[[3.0]], [[4.0]]]]), "tiny").tolist()
    [[[5.0]]]
    """
    maps = np.asarray(maps)
    if maps.ndim != 4:
        raise UserError(
            f"the last block of {arch} has no places in a plane {maps.shape}: there are no activation maps."
        )
    return np.sqrt(np.square(maps, dtype=np.float64).sum(1)).astype(np.float32)


def overlay(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Images uint8 (B, H, W, 3), strengths (B, h, w) -> both together, uint8 (B, H, W, 3).

    Each picture's colours go from its own weakest place to its strongest.
    """
    if len(images) != len(strengths):
        raise ValueError(f"one map for each picture expected, got {len(strengths)} for {len(images)}")
    made = np.empty_like(images)
    for index, (image, values) in enumerate(zip(images, strengths, strict=True)):
        low, high = float(values.min()), float(values.max())
        share = (values - low) / ((high - low) or 1.0)
        size = image.shape[1], image.shape[0]
        large = Image.fromarray(share.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
        colours = _coloured(np.clip(np.asarray(large), 0, 1))
        grey = image.mean(2, keepdims=True)
        made[index] = np.clip(MIXED * colours + (1 - MIXED) * grey, 0, 255).astype(np.uint8)
    return made


def _coloured(share: np.ndarray) -> np.ndarray:
    """Shares (H, W) from 0 to 1 -> colours float64 (H, W, 3)."""
    knots = np.linspace(0, 1, len(RAMP))
    return np.stack([np.interp(share, knots, RAMP[:, channel]) for channel in range(3)], axis=2)


def block(
    groups: Sequence[tuple[str, np.ndarray, Sequence[str]]], find: Callable[[np.ndarray], np.ndarray], atlas: Atlas
) -> Strips:
    """Return pictures beside their maps.

    groups: (title, images uint8 (B, H, W, 3), a caption each). find: images -> maps (M, B, h, w), of which the mean is
    shown.
    """
    strips = []
    for title, images, captions in groups:
        overlays = overlay(images, find(images).mean(0))
        pictures = []
        for index, caption in enumerate(captions):
            seen = atlas.add_array(images[index])
            pictures.append(Picture(seen, caption, apart=index > 0))
            pictures.append(Picture(atlas.add_array(overlays[index]), "map"))
        strips.append(Strip(title, "", pictures))
    caption = (
        "Each picture beside its map: bright where the last block responds most, dark where least. A map should lie on "
        "the person; one on the background, or at an edge, tells of a camera that was learnt instead."
    )
    return Strips("", caption, strips)
