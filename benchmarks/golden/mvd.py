"""The public MVD codes' inputs: what their files hold, made from names, and the pictures that their networks see.

The golden numbers computed from them lie in tests/golden/mvd.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from duoreid.benchmarks.golden.values import images, trained_weights
from duoreid.core.checkpoints.formats import CKPT, PTH, Contents

CLASSES = 8


def shapes_of(document: dict[str, Any], classes: int = CLASSES) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a checkpoint by name, in the file's order, for some number of classes.

    document: the contents of mvd-torch.json or mvd-mindspore.json.
    """
    counted = set(document["classes"]["depend_on_class_count"])
    shapes = {tensor["name"]: tuple(tensor["shape"]) for tensor in document["tensors"]}
    return {name: (classes, *shape[1:]) if name in counted else shape for name, shape in shapes.items()}


def contents_of(document: dict[str, Any]) -> Contents:
    """Return what a file of the code would hold, made from names: tensors under the names that they have in it."""
    shapes = shapes_of(document)
    names = {tensor["name"]: tensor.get("prefix", "") + tensor["name"] for tensor in document["tensors"]}
    tensors = {names[name]: trained_weights(name, shape) for name, shape in shapes.items()}
    port = "prefixes_in_the_file" in document.get("names", {})
    if port:
        return Contents(Path("best_epoch_58_rank1_60.08_mAP_57.55.ckpt"), CKPT, tensors)
    return Contents(Path("model_best.pth.tar"), PTH, tensors, ("epoch", "best_top1"))


def embedded_pictures(height: int, width: int) -> np.ndarray:
    """Return 8 pictures, uint8 (8, height, width, 3): 4 visible ones, then 4 infrared."""
    return np.concatenate([images(kind, 4, height, width) for kind in ("visible", "infrared")])


def training_pictures() -> tuple[np.ndarray, np.ndarray]:
    """Return the pictures of one step, uint8 (2, 8, 128, 64, 3), visible first, and their labels int32 (8,)."""
    views = np.stack([images(kind, 8, 128, 64, per=2) for kind in ("visible", "infrared")])
    return views, np.repeat(np.arange(4), 2).astype(np.int32)
