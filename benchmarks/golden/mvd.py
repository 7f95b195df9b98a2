"""The public MVD codes' inputs: which tensors their networks have, and the pictures of their features and steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from duoreid.benchmarks.golden.values import images, trained_weights

CLASSES = 8


def shapes_of(document: dict[str, Any], classes: int = CLASSES) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a checkpoint by name, in the file's order, for some number of classes.

    document: the contents of mvd-torch.json or mvd-mindspore.json.
    """
    counted = set(document["classes"]["depend_on_class_count"])
    shapes = {tensor["name"]: tuple(tensor["shape"]) for tensor in document["tensors"]}
    return {name: (classes, *shape[1:]) if name in counted else shape for name, shape in shapes.items()}


def tensors_of(document: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return every tensor of a network with 8 classes, as the golden numbers were computed with."""
    return {name: trained_weights(name, shape) for name, shape in shapes_of(document).items()}


def embedded_pictures(height: int, width: int) -> np.ndarray:
    """Return 8 pictures, uint8 (8, height, width, 3): 4 visible ones, then 4 infrared."""
    return np.concatenate([images(kind, 4, height, width) for kind in ("visible", "infrared")])


def training_pictures() -> tuple[np.ndarray, np.ndarray]:
    """Return the pictures of one step, uint8 (2, 8, 128, 64, 3), visible first, and their labels int32 (8,)."""
    views = np.stack([images(kind, 8, 128, 64, per=2) for kind in ("visible", "infrared")])
    return views, np.repeat(np.arange(4), 2).astype(np.int32)
