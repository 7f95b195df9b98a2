"""What a learner checks of the arrays that are handed to it: on the host, so that no device is waited for.

Without these checks labels outside the classifier, or images of another type, would train without a word on nonsense.
"""

from __future__ import annotations

import numpy as np

from duoreid.core.contract.learner import Batch
from duoreid.core.methods.registry import spec_of
from duoreid.core.networks.backbones import backbone
from duoreid.core.settings.config import LearnerConfig


def check_batch(batch: Batch, config: LearnerConfig, classes: int) -> None:
    """Raise ValueError for a batch that does not fit the method. classes: how many of the classifier are live."""
    images, labels, noise = (None if part is None else np.asarray(part) for part in batch)
    _check_pixels(images, "images of a batch", "(V, B, H, W, 3)", 5)
    spec = spec_of(config.method)
    if len(images) not in spec.view_counts:
        raise ValueError(
            f"{config.method} takes {' or '.join(map(str, spec.view_counts))} views of a batch ({spec.views}), got "
            f"{len(images)} in images of shape {images.shape}."
        )
    rows = images.shape[1]
    if labels.shape != (rows,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be {rows} integers, one for each row of images {images.shape}, got {labels.dtype} of shape "
            f"{labels.shape}."
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= classes:
        raise ValueError(
            f"labels must lie from 0 to {classes - 1}, below the {classes} live classes, got {lowest} to {highest}: "
            "they are of another labelling than the last `relabel` or `import_state`. Leave rows without a class out."
        )
    if noise is not None and noise.dtype.kind != "f":
        raise ValueError(f"noise must be floating uniforms in [0, 1), got {noise.dtype} of shape {noise.shape}.")


def check_chunk(images: np.ndarray) -> None:
    """Raise ValueError for images to embed that are not uint8 (b, H, W, 3)."""
    _check_pixels(np.asarray(images), "a chunk of images to embed", "(b, H, W, 3)", 4)


def check_centroids(centroids: np.ndarray, config: LearnerConfig) -> None:
    """Raise ValueError for centroids that are not finite numbers (K, D), D the feature's length of the network.

    Also where the method has true labels: nobody sets its classifiers.
    """
    if not spec_of(config.method).pseudo_labels:
        raise ValueError(f"{config.method} trains on true labels: its classifiers are not set from centroids")
    centroids, length = np.asarray(centroids), backbone(config.network.arch).features
    if centroids.ndim != 2 or not len(centroids) or centroids.shape[1] != length or centroids.dtype.kind != "f":
        raise ValueError(
            f"centroids must be floating (K, {length}), K of at least 1, for {config.network.arch}, got "
            f"{centroids.dtype} of shape {centroids.shape}."
        )
    if not np.isfinite(centroids).all():
        row = int(np.flatnonzero(~np.isfinite(centroids).all(axis=1))[0])
        raise ValueError(f"centroids must be finite, but row {row} is not: the features they are means of are broken.")


def _check_pixels(images: np.ndarray, what: str, form: str, axes: int) -> None:
    if images.dtype != np.uint8 or images.ndim != axes or images.shape[-1] != 3 or not images.size:
        raise ValueError(
            f"{what} must be uint8 {form} and not empty, got {images.dtype} of shape {images.shape}: they are "
            "normalised on the device, and other types or orders of axes would be taken for other pixels."
        )
