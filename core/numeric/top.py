"""The k largest of each row of a product that comes in tiles: keys to sort by, bounds, and a merge that touches few.

A key is one number for a similarity and an index: it rises as the similarity falls and, where it is equal, as the index
rises. So the k best of a row are its k smallest keys.
"""

from __future__ import annotations

import numpy as np

GROUP = 16  # columns that share one maximum when the k-th largest of a row is bounded from below
NOTHING = np.uint64(2**64 - 1)  # sorts after every neighbour
SIGN = np.uint32(1 << 31)


def keys_of(similarities: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return numbers uint64 that rise as the similarity falls and, where it is equal, as the index rises."""
    bits = (similarities + np.float32(0)).view(np.uint32)  # adding 0 makes -0 equal to 0
    falling = np.where(bits & SIGN, bits, ~(bits | SIGN))
    return falling.astype(np.uint64) << np.uint64(32) | indices.astype(np.uint64)


def indices_of(keys: np.ndarray) -> np.ndarray:
    """Return the indices of keys, int32."""
    return (keys & np.uint64(2**32 - 1)).astype(np.int32)


def similarities_of(keys: np.ndarray) -> np.ndarray:
    """Return the similarities of keys, float32."""
    falling = (keys >> np.uint64(32)).astype(np.uint32)
    return np.where(falling & SIGN, falling, ~falling ^ SIGN).view(np.float32)


def threshold(keys: np.ndarray, first: int) -> np.ndarray:
    """Return what a candidate of a tile that starts at index `first` must reach to be among a row's k."""
    last = keys[:, -1]
    full = last != NOTHING
    lowest = np.where(full, similarities_of(np.where(full, last, 0)), -np.inf).astype(np.float32)
    beaten = full & ((last & np.uint64(2**32 - 1)) < np.uint64(first))  # equal similarities lose to the lower index
    return np.where(beaten, np.nextafter(lowest, np.float32(np.inf)), lowest)


def bound(product: np.ndarray, k: int) -> np.ndarray:
    """Return a lower bound of each row's k-th largest entry: the k-th largest maximum of groups of columns."""
    rows, columns = product.shape
    if k >= columns:
        return np.full(rows, -np.inf, np.float32)
    groups = max(columns // GROUP, min(columns, 4 * k))
    depth = columns // groups
    maxima = product[:, : depth * groups].reshape(rows, depth, groups).max(axis=1)
    maxima.partition(groups - k, axis=1)
    return maxima[:, groups - k]


def merge(keys: np.ndarray, product: np.ndarray, threshold: np.ndarray, first: int) -> None:
    """Merge the entries of a tile that reach the threshold into the keys (n, k) of the rows it belongs to.

    threshold: (n, 1) for keys of the tile's rows, (n,) for those of its columns. first: index of the tile's first
    column or row respectively.
    """
    flat = np.flatnonzero(product >= threshold)
    row, column = np.divmod(flat, product.shape[1])
    values = product.ravel()[flat]
    if threshold.ndim == 1:
        order = np.argsort(column, kind="stable")
        row, column, values = column[order], row[order], values[order]
    found = np.bincount(row, minlength=len(keys))
    touched = np.flatnonzero(found)
    if not len(touched):
        return
    k = keys.shape[1]
    place = np.arange(len(row)) - np.repeat(np.cumsum(found) - found, found)
    merged = np.full((len(touched), k + found.max()), NOTHING)
    merged[:, :k] = keys[touched]
    line = np.cumsum(found > 0) - 1
    merged[line[row], k + place] = keys_of(values, column + first)
    merged.sort(axis=1)
    keys[touched] = merged[:, :k]
