"""Distances within a batch and the batch-hard miner: the definitions that both backends follow index for index."""

from __future__ import annotations

import numpy as np

MINIMUM_SQUARED_DISTANCE = 1e-12
"""Squared distances are clipped from below here, so that no distance, and no gradient, is 0 / 0."""


def euclidean_distances(x: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
    """Return d = sqrt(max(|x|^2 + |y|^2 - 2 x y, 1e-12)) between the rows of x and those of y, or within x.

    x: (B, D). y: (N, D), or None for the distances within x. Returns (B, N) or (B, B): float32 where both are
    float32, float64 otherwise. Raises ValueError on anything but matrices of one width.

    Within x, the diagonal is set to exactly sqrt(1e-12) = 1e-6 (its computed value is rounding noise, up to 1e-3
    in float32), in both backends as here. The gradient of a clipped distance, the diagonal's included, is 0.

    >>> euclidean_distances([[0.0, 0.0]], [[3.0, 4.0], [0.0, 2.0]]).tolist()
    [[5.0, 2.0]]
    >>> euclidean_distances([[0.0, 0.0], [3.0, 4.0]]).tolist()
    [[1e-06, 5.0], [5.0, 1e-06]]
    """
    x, y, within = np.asarray(x), np.asarray(x if y is None else y), y is None
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(
            f"Distances need features of shapes (B, D) and (N, D), but got {x.shape} and {y.shape}: "
            "pass one row per image, both of one width."
        )
    dtype = np.float32 if x.dtype == y.dtype == np.float32 else np.float64
    x, y = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
    squared = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1) - 2 * (x @ y.T)
    distances = np.sqrt(np.maximum(squared, dtype(MINIMUM_SQUARED_DISTANCE)))
    if within:
        np.fill_diagonal(distances, np.sqrt(MINIMUM_SQUARED_DISTANCE))
    return distances


def batch_hard(distances: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each anchor, the index of its farthest positive and that of its nearest negative.

    distances: (B, B), anchors in rows. labels: integers (B,). Returns two int64 (B,).
    The anchor itself is a candidate for the positive. Of equal distances the smallest index is taken.
    Raises ValueError on a NaN or infinite distance and where an anchor has no negative (one identity only).

    Source: Hermans, Beyer, Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017, eq. 5.

    Points 0, 1 and 5 of one identity and 7 of another: the farthest positive of each, and its nearest negative.

    >>> positive, negative = batch_hard(euclidean_distances([[0.0], [1.0], [5.0], [7.0]]), [0, 0, 0, 1])
    >>> positive.tolist(), negative.tolist()
    ([2, 2, 0, 3], [3, 3, 3, 2])
    """
    distances, same = np.asarray(distances), same_identity(distances, labels)
    if same.all():
        raise ValueError(
            f"Mining needs at least 2 identities in the batch, but all {len(same)} images have one label, so that no "
            "anchor has a negative: sample more identities in a batch, or ask for more clusters."
        )
    positive = np.where(same, distances, -np.inf).argmax(axis=1)
    negative = np.where(same, np.inf, distances).argmin(axis=1)
    return positive.astype(np.int64, copy=False), negative.astype(np.int64, copy=False)


def same_identity(distances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return which pairs of a batch show one identity, bool (B, B), after checking distances (B, B) and labels (B,).

    Raises ValueError on shapes that do not match, labels that are no integers, and a NaN or infinite distance.
    """
    distances, labels = np.asarray(distances), np.asarray(labels)
    if labels.ndim != 1 or distances.shape != (len(labels), len(labels)):
        raise ValueError(
            f"Mining needs distances (B, B) and labels (B,), but got {distances.shape} and {labels.shape}."
        )
    if labels.dtype.kind not in "iu":
        raise ValueError(
            f"Mining needs integer labels, but those of shape {labels.shape} are {labels.dtype}: pass class indices."
        )
    if not np.isfinite(distances).all():
        raise ValueError(
            f"Mining needs finite distances, but of those of shape {distances.shape} some are NaN or infinite, so that "
            "no positive is the farthest: the features have diverged; lower the learning rate."
        )
    return labels[:, None] == labels
