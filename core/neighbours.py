"""Exact nearest neighbours by cosine similarity.

The similarity of two points is computed once and serves both: tiles of the product on and above the diagonal are
enough, half the work of the whole product.
"""

from __future__ import annotations

from itertools import combinations, pairwise
from threading import Lock

import numpy as np

from duoreid.core.numeric.inputs import as_count, as_features
from duoreid.core.numeric.keys import NOTHING, bound, limit, merge, opened
from duoreid.core.numeric.products import product
from duoreid.core.numeric.sharing import ALONE, Processes, extreme, merged_keys, share
from duoreid.core.numeric.threads import each

TILE = 2048  # rows and columns of a tile at most: 16 MiB, large enough for the product to run at full speed
TILES = 8  # at least so many, unless they would get too small, so that threads share them evenly


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


def search(
    features: np.ndarray, k: int, *, lowest: bool = False, processes: Processes = ALONE
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Do what `nearest` does on features that were checked; `lowest` adds each point's lowest similarity (N,).

    processes: they share the tiles, and all return the same.
    """
    count = len(features)
    keys = np.full((count, k), NOTHING)  # falling similarity, then index: one number to sort by
    own = np.full(count, -np.inf, np.float32)
    least = np.full(count, np.inf, np.float32) if lowest else None
    tiles = _tiles(count)
    locks = [Lock() for _ in tiles]  # of a tile's rows of keys: their order decides nothing, only that they take turns

    def on_diagonal(place: int) -> None:
        tile = tiles[place]
        scores = product(features[tile], features[tile].T)
        _lower(least, tile, scores, 1)
        own[tile] = scores.diagonal()
        np.fill_diagonal(scores, np.inf)
        merge(keys[tile], scores, bound(scores, k)[:, None], tile.start)

    def off_diagonal(pair: tuple[int, int]) -> None:
        tile, other = tiles[pair[0]], tiles[pair[1]]
        scores = product(features[tile], features[other].T)
        with locks[pair[0]]:
            _lower(least, tile, scores, 1)
            merge(keys[tile], scores, limit(keys[tile], scores, other.start)[:, None], other.start)
        with locks[pair[1]]:
            _lower(least, other, scores, 0)
            merge(keys[other], scores, limit(keys[other], scores.T, tile.start), tile.start)

    each(
        on_diagonal, share(range(len(tiles)), processes)
    )  # first: from here on each row has a bound that few candidates pass
    each(off_diagonal, share(list(combinations(range(len(tiles)), 2)), processes))
    least = None if least is None else extreme(least, processes, largest=False)
    return *opened(merged_keys(keys, processes), extreme(own, processes, largest=True)), least


def _tiles(count: int) -> list[slice]:
    """Cut the points into tiles of nearly equal size."""
    size = min(TILE, max(TILE // 4, count // TILES))
    edges = np.linspace(0, count, -(-count // size) + 1).astype(np.int64).tolist() if count else [0]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _lower(least: np.ndarray | None, tile: slice, scores: np.ndarray, axis: int) -> None:
    if least is not None:
        least[tile] = np.minimum(least[tile], scores.min(axis=axis))
