"""Exact nearest neighbours by cosine similarity.

The similarity of two points is computed once and serves both: tiles of the product on and above the diagonal are
enough, half the work of the whole product.
"""

from __future__ import annotations

from itertools import combinations, pairwise
from threading import Lock

import numpy as np

from duoreid.core.numeric.inputs import as_count, as_features
from duoreid.core.numeric.products import product
from duoreid.core.numeric.threads import each

TILE = 2048  # rows and columns of a tile at most: 16 MiB, large enough for the product to run at full speed
TILES = 8  # at least so many, unless they would get too small, so that threads share them evenly
GROUP = 16  # columns that share one maximum when the k-th largest of a row is bounded from below
NOTHING = np.uint64(2**64 - 1)  # sorts after every neighbour
SIGN = np.uint32(1 << 31)


def nearest(features: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each point's k most similar points: (indices int32 (N, k), similarities float32 (N, k)).

    features: L2-normalised float32 (N, D). The point itself always comes first, whatever its duplicates; the rest
    follow by falling similarity, equal ones by index. Exact up to the rounding of float32 products: similarities
    that differ by less may change places. Time grows with N^2 D, memory with N k.
    Raises ValueError for k outside 1..N and for features that are not finite unit vectors.

    >>> indices, similarities = nearest([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], 2)
    >>> indices.tolist()
    [[0, 1], [1, 0], [2, 1]]
    >>> similarities.round(3).tolist() == np.float32([[1, 0.8], [1, 0.8], [1, 0.6]]).tolist()
    True
    """
    features = as_features(features, "features", normalised=True)
    k = as_count(k, "k")
    if k > len(features):
        raise ValueError(f"k must be at most the number of points, but k is {k} and features has {features.shape}")
    indices, similarities, _ = search(features, k)
    return indices, similarities


def search(features: np.ndarray, k: int, *, lowest: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Do what `nearest` does on features that were checked; `lowest` adds each point's lowest similarity (N,)."""
    count = len(features)
    keys = np.full((count, k), NOTHING)  # falling similarity, then index: one number to sort by
    own = np.empty(count, np.float32)
    least = np.full(count, np.inf, np.float32) if lowest else None
    tiles = _tiles(count)
    locks = [Lock() for _ in tiles]  # of a tile's rows of keys: their order decides nothing, only that they take turns

    def on_diagonal(place: int) -> None:
        tile = tiles[place]
        scores = product(features[tile], features[tile].T)
        _lower(least, tile, scores, 1)
        own[tile] = scores.diagonal()
        np.fill_diagonal(scores, np.inf)
        _merge(keys[tile], scores, _bound(scores, k)[:, None], tile.start)

    def off_diagonal(pair: tuple[int, int]) -> None:
        tile, other = tiles[pair[0]], tiles[pair[1]]
        scores = product(features[tile], features[other].T)
        with locks[pair[0]]:
            _lower(least, tile, scores, 1)
            _merge(keys[tile], scores, _threshold(keys[tile], other.start)[:, None], other.start)
        with locks[pair[1]]:
            _lower(least, other, scores, 0)
            _merge(keys[other], scores, _threshold(keys[other], tile.start), tile.start)

    each(on_diagonal, range(len(tiles)))  # first: from here on each row has a bound that few candidates pass
    each(off_diagonal, list(combinations(range(len(tiles)), 2)))
    similarities = _similarities(keys)
    similarities[:, 0] = own
    return (keys & np.uint64(2**32 - 1)).astype(np.int32), similarities, least


def _tiles(count: int) -> list[slice]:
    """Cut the points into tiles of nearly equal size."""
    size = min(TILE, max(TILE // 4, count // TILES))
    edges = np.linspace(0, count, -(-count // size) + 1).astype(np.int64).tolist() if count else [0]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _lower(least: np.ndarray | None, tile: slice, scores: np.ndarray, axis: int) -> None:
    if least is not None:
        least[tile] = np.minimum(least[tile], scores.min(axis=axis))


def _keys(similarities: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return numbers uint64 that rise as the similarity falls and, where it is equal, as the index rises."""
    bits = (similarities + np.float32(0)).view(np.uint32)  # adding 0 makes -0 equal to 0
    falling = np.where(bits & SIGN, bits, ~(bits | SIGN))
    return falling.astype(np.uint64) << np.uint64(32) | indices.astype(np.uint64)


def _similarities(keys: np.ndarray) -> np.ndarray:
    falling = (keys >> np.uint64(32)).astype(np.uint32)
    return np.where(falling & SIGN, falling, ~falling ^ SIGN).view(np.float32)


def _threshold(keys: np.ndarray, first: int) -> np.ndarray:
    """Return what a candidate of a tile that starts at index `first` must reach to be among a row's k."""
    last = keys[:, -1]
    full = last != NOTHING
    threshold = np.where(full, _similarities(np.where(full, last, 0)), -np.inf).astype(np.float32)
    beaten = full & ((last & np.uint64(2**32 - 1)) < np.uint64(first))  # equal similarities lose to the lower index
    return np.where(beaten, np.nextafter(threshold, np.float32(np.inf)), threshold)


def _bound(scores: np.ndarray, k: int) -> np.ndarray:
    """Return a lower bound of each row's k-th largest entry: the k-th largest maximum of groups of columns."""
    rows, columns = scores.shape
    if k >= columns:
        return np.full(rows, -np.inf, np.float32)
    groups = max(columns // GROUP, min(columns, 4 * k))
    depth = columns // groups
    maxima = scores[:, : depth * groups].reshape(rows, depth, groups).max(axis=1)
    maxima.partition(groups - k, axis=1)
    return maxima[:, groups - k]


def _merge(keys: np.ndarray, scores: np.ndarray, threshold: np.ndarray, first: int) -> None:
    """Merge the entries of a tile that reach the threshold into the keys (n, k) of the rows it belongs to.

    threshold: (n, 1) for keys of the tile's rows, (n,) for those of its columns. first: index of the tile's first
    column or row respectively.
    """
    flat = np.flatnonzero(scores >= threshold)
    row, column = np.divmod(flat, scores.shape[1])
    values = scores.ravel()[flat]
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
    merged[line[row], k + place] = _keys(values, column + first)
    merged.sort(axis=1)
    keys[touched] = merged[:, :k]
