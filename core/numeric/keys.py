"""The k most similar points of each point while products come in, as numbers that sort by similarity, then by index."""

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


def threshold_of(keys: np.ndarray, first: int) -> np.ndarray:
    """Return what a candidate of a tile that starts at index `first` must reach to be among a row's k."""
    last = keys[:, -1]
    full = last != NOTHING
    threshold = np.where(full, similarities_of(np.where(full, last, 0)), -np.inf).astype(np.float32)
    beaten = full & ((last & np.uint64(2**32 - 1)) < np.uint64(first))  # equal similarities lose to the lower index
    return np.where(beaten, np.nextafter(threshold, np.float32(np.inf)), threshold)


def bound(scores: np.ndarray, k: int) -> np.ndarray:
    """Return a lower bound of each row's k-th largest entry: the k-th largest maximum of groups of columns."""
    rows, columns = scores.shape
    if k >= columns:
        return np.full(rows, -np.inf, np.float32)
    groups = max(columns // GROUP, min(columns, 4 * k))
    depth = columns // groups
    maxima = scores[:, : depth * groups].reshape(rows, depth, groups).max(axis=1)
    maxima.partition(groups - k, axis=1)
    return maxima[:, groups - k]


def limit(keys: np.ndarray, scores: np.ndarray, first: int) -> np.ndarray:
    """Return what `threshold_of` does, and for rows that have fewer than k neighbours yet a bound from the scores.

    scores: (n, m), the tile whose columns are the candidates of these rows.
    """
    threshold = threshold_of(keys, first)
    short = np.isneginf(threshold)
    if short.any():
        threshold[short] = bound(np.ascontiguousarray(scores[short]), keys.shape[1])
    return threshold


def passing(scores: np.ndarray, threshold: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the entries that reach the threshold: (row, the other index, score), rows rising.

    threshold: (n, 1), of the rows of scores; (n,), of its columns, which then count as rows.
    """
    flat = np.flatnonzero(scores >= threshold)
    row, column = np.divmod(flat, scores.shape[1])
    values = scores.ravel()[flat]
    if threshold.ndim == 1:
        order = np.argsort(column, kind="stable")
        row, column, values = column[order], row[order], values[order]
    return row, column, values


def merge(keys: np.ndarray, scores: np.ndarray, threshold: np.ndarray, first: int) -> None:
    """Merge the entries of a tile that reach the threshold into the keys (n, k) of the rows it belongs to.

    threshold: (n, 1) for keys of the tile's rows, (n,) for those of its columns. first: index of the tile's first
    column or row respectively.
    """
    row, column, values = passing(scores, threshold)
    insert(keys, row, column + first, values)


def insert(keys: np.ndarray, row: np.ndarray, indices: np.ndarray, similarities: np.ndarray) -> None:
    """Merge candidates into the keys (n, k) of their rows, which rise: each row keeps its k first."""
    if not len(row):
        return
    first = np.flatnonzero(np.diff(row, prepend=-1))
    touched, count = row[first], np.diff(first, append=len(row))
    line, place = np.repeat(np.arange(len(first)), count), np.arange(len(row)) - np.repeat(first, count)
    k = keys.shape[1]
    merged = np.full((len(touched), k + count.max()), NOTHING)
    merged[:, :k] = keys[touched]
    merged[line, k + place] = keys_of(similarities, indices)
    merged.sort(axis=1)
    keys[touched] = merged[:, :k]


def opened(keys: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what keys say: (indices int32 (N, k), similarities float32 (N, k)). own: of each point with itself."""
    similarities = similarities_of(keys)
    similarities[:, 0] = own
    return indices_of(keys), similarities
