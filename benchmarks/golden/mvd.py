"""The public MVD codes' inputs: the tensors of their networks by our names, and the pictures that these see.

The golden numbers computed from them lie in tests/golden/mvd.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from duoreid.benchmarks.golden.values import images, trained_weights
from duoreid.core.methods.augmentation import GREY_WEIGHTS

CLASSES = 8
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
PORT_GREY_WEIGHTS = (0.2989, 0.5870, 0.1440)
"""Of the MindSpore port, where the slip in the last number is meant to be kept."""

RENAMES = (
    (r"^(?:RGB_backbone|rgb_backbone\.visible)\.", "visible."),
    (r"^(?:IR_backbone|ir_backbone\.thermal)\.", "infrared."),
    (r"^shared_backbone\.", "shared."),
    (r"^(?:RGB|rgb)_[Bb]ottleneck\.", "visible.z."),
    (r"^(?:IR|ir)_[Bb]ottleneck\.", "infrared.z."),
    (r"^shared_[Bb]ottleneck\.", "shared.z."),
)
"""Of the branches; what a bottleneck and its classifier hold is under `z`."""

INSIDE = (
    (r"^base\.", ""),
    (r"^cam_256\._cam_module\.", "attention2."),
    (r"^cam_512\._cam_module\.", "attention3."),
    (r"^cam_1024\._cam_module\.", "attention4."),
    (r"^z\.bottleneck\.model\.0\.", "bottleneck.linear1."),
    (r"^z\.bottleneck\.model\.1\.", "bottleneck.bn1."),
    (r"^z\.bottleneck\.model\.3\.", "bottleneck.linear2."),
    (r"^z\.bottleneck\.model\.4\.", "bottleneck.bn2."),
    (r"^z\.bottleneck\.model\.6\.", "bottleneck.linear3."),
    (r"^z\.classifier\.0\.", "bottleneck.hidden."),
    (r"^z\.classifier\.1\.", "bottleneck.hidden_bn."),
    (r"^z\.classifier\.4\.", "bottleneck.classifier."),
    (r"^bottleneck\.(?=(?:weight|bias|gamma|beta|running_|moving_)\w*$)", "neck."),
    (r"^classifier\.0\.", "classifier."),
    (r"\.down_sample_layer\.", ".downsample."),
    (r"(?<!attention[234])\.gamma$", ".weight"),
    (r"\.beta$", ".bias"),
    (r"\.moving_mean$", ".running_mean"),
    (r"\.moving_variance$", ".running_var"),
)
"""Of the tensors of a branch."""

BEFORE_A_NORM = {"linear1": "bn1", "linear2": "bn2", "hidden": "hidden_bn"}
"""Linear layers of the bottleneck, and the norms behind them, which take a bias away again."""


def shapes_of(document: dict[str, Any], classes: int = CLASSES) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a checkpoint by name, in the file's order, for some number of classes.

    document: the contents of mvd-torch.json or mvd-mindspore.json.
    """
    counted = set(document["classes"]["depend_on_class_count"])
    shapes = {tensor["name"]: tuple(tensor["shape"]) for tensor in document["tensors"]}
    return {name: (classes, *shape[1:]) if name in counted else shape for name, shape in shapes.items()}


def our_name(name: str) -> str | None:
    """Return ROLE.TENSOR for a tensor of either code; None for a counter and for ImageNet's classifier."""
    if name.endswith("num_batches_tracked") or re.search(r"\.fc\.(weight|bias)$", name):
        return None
    for pattern, role in RENAMES:
        if re.match(pattern, name):
            name = re.sub(pattern, role, name)
            break
    role, _, inside = name.partition(".")
    for pattern, replacement in INSIDE:
        inside = re.sub(pattern, replacement, inside)
    return f"{role}.{inside}"


def tensors_of(document: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the tensors behind the golden numbers by our names, those included that our networks do not have."""
    named = {our_name(name): trained_weights(name, shape) for name, shape in shapes_of(document).items()}
    return {name: value for name, value in named.items() if name is not None}


def without_biases(tensors: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return (tensors, biases) where our networks have no bias: in front of a norm, and in the classifier of v.

    The running mean of such a norm is moved by the bias, so that the network computes the same when it is tested; in
    training the bias has no effect there.
    """
    kept, biases = dict(tensors), {}
    for role in ("visible", "infrared", "shared"):
        biases[f"{role}.classifier.bias"] = kept.pop(f"{role}.classifier.bias")
        for linear, norm in BEFORE_A_NORM.items():
            bias = kept.pop(f"{role}.bottleneck.{linear}.bias")
            mean = f"{role}.bottleneck.{norm}.running_mean"
            kept[mean] = kept[mean].astype(np.float64) - bias
            biases[mean] = bias
    return kept, biases


def embedded_pictures(height: int, width: int) -> np.ndarray:
    """Return 8 pictures, uint8 (8, height, width, 3): 4 visible ones, then 4 infrared."""
    return np.concatenate([images(kind, 4, height, width) for kind in ("visible", "infrared")])


def training_pictures() -> tuple[np.ndarray, np.ndarray]:
    """Return the pictures of one step, uint8 (2, 8, 128, 64, 3), visible first, and their labels int32 (8,)."""
    views = np.stack([images(kind, 8, 128, 64, per=2) for kind in ("visible", "infrared")])
    return views, np.repeat(np.arange(4), 2).astype(np.int32)


def grey(pixels: np.ndarray, weights: Sequence[float] = GREY_WEIGHTS) -> np.ndarray:
    """Return pictures (B, H, W, 3) whose normalised form is the grey form of both codes: float64, 0 to 255 and beyond.

    The codes weigh the channels of the NORMALISED picture and copy the sum three times.
    """
    normalised = (pixels / 255 - MEAN) / DEVIATION
    return 255 * ((normalised @ np.array(weights))[..., None] * DEVIATION + MEAN)
