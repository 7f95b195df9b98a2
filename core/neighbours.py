"""Exact nearest neighbours by cosine similarity."""

from __future__ import annotations

import numpy as np

from core.distances import as_count, as_features, row_blocks

GROUP = 16  # columns that share one maximum when the k-th largest of a row is bounded from below


def nearest(features: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each point's k most similar points: (indices int32 (N, k), similarities float32 (N, k)).

    features: L2-normalised float32 (N, D). The point itself always comes first, whatever its duplicates; the rest
    follow by falling similarity, equal ones by index. Memory grows with N k.
    Raises ValueError for k outside 1..N and for features that are not finite unit vectors.
    """
    features = as_features(features, "features", normalised=True)
    k = as_count(k, "k")
    if k > len(features):
        raise ValueError(f"k must be at most the number of points, but k is {k} and features has {features.shape}")
    indices, similarities, _ = search(features, k)
    return indices, similarities


def search(features: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Do what `nearest` does on features that were checked, and add each point's lowest similarity: float32 (N,)."""
    count = len(features)
    indices = np.empty((count, k), np.int32)
    similarities = np.empty((count, k), np.float32)
    lowest = np.empty(count, np.float32)
    for block in row_blocks(count, count):
        product = features[block] @ features.T
        rows = np.arange(block.start, block.stop)
        lowest[block] = product.min(axis=1)
        own = product[rows - block.start, rows]
        product[rows - block.start, rows] = np.inf
        indices[block], similarities[block] = largest(product, k)
        similarities[block, 0] = own
    return indices, similarities, lowest


def largest(values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k largest of each row, falling, equal ones by column: (columns int64 (b, k), values (b, k)).

    A row's k-th largest is bounded from below by the k-th largest maximum of groups of columns; the few entries
    that reach this bound are then sorted.
    """
    count, width = values.shape
    groups = max(width // GROUP, min(width, 4 * k))
    depth = width // groups
    maxima = values[:, : depth * groups].reshape(count, depth, groups).max(axis=1)
    bound = np.partition(maxima, groups - k, axis=1)[:, groups - k]
    flat = np.flatnonzero(values >= bound[:, None])
    row, column = np.divmod(flat, width)
    found = np.bincount(row, minlength=count)
    place = np.arange(len(flat)) - np.repeat(np.cumsum(found) - found, found)
    padded = np.full((count, found.max(initial=k)), np.inf, values.dtype)
    padded[row, place] = -values.ravel()[flat]
    columns = np.zeros(padded.shape, np.int64)
    columns[row, place] = column
    order = np.argsort(padded, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(columns, order, 1), -np.take_along_axis(padded, order, 1)
