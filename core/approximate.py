"""Approximate nearest neighbours for more points than the exact search has time for: opt-in, by faiss.

Jegou, Douze, Schmid: "Product Quantization for Nearest Neighbor Search", 2011, section 4: an inverted file of k-means
cells, of which a query visits a few. Similarities are exact; some neighbours are missed.
"""

from __future__ import annotations

import math

import numpy as np

from duoreid.core.numeric.inputs import as_count, as_features, row_blocks

ROUNDS = 5  # of k-means over the cells
PER_CELL = 40  # points that each cell is trained on


def nearest_approximate(
    features: np.ndarray, k: int, *, cells: int | None = None, probes: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Do what `core.neighbours.nearest` does, but miss some neighbours: (int32 (N, k), float32 (N, k)).

    features: L2-normalised float32 (N, D). cells: of the inverted file, 4 sqrt(N) by default. probes: cells that each
    point visits, a fiftieth of them and at least 8 by default; more probes find more and take longer. Hand the result
    to `core.jaccard.jaccard_similarity(features, neighbours=...)`; `benchmarks.growth` measures time and recall.
    Raises ValueError as `nearest` does, and for cells or probes out of range.

    Where every cell is visited nothing is missed:

    >>> indices, similarities = nearest_approximate([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], 2, cells=1, probes=1)
    >>> indices.tolist()
    [[0, 1], [1, 0], [2, 1]]
    """
    import faiss  # nothing else in core needs it

    features = as_features(features, "features", normalised=True)
    count, width = features.shape
    k = as_count(k, "k")
    if k > count:
        raise ValueError(f"k must be at most the number of points, but k is {k} and features has {features.shape}")
    cells = min(count, as_count(cells or math.ceil(4 * math.sqrt(count)), "cells"))
    probes = min(cells, as_count(probes or max(8, cells // 50), "probes"))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter = ROUNDS
    index.cp.min_points_per_centroid = 1
    index.train(features[:: max(1, count // (PER_CELL * cells))])
    index.add(features)
    index.nprobe = probes
    indices, similarities = np.empty((count, k), np.int32), np.empty((count, k), np.float32)
    for block in row_blocks(count, width):
        found, names = index.search(features[block], k)
        short = np.flatnonzero(names[:, -1] < 0)  # the cells visited held fewer than k points
        if len(short):
            index.nprobe = cells
            found[short], names[short] = index.search(features[block][short], k)
            index.nprobe = probes
        indices[block], similarities[block] = _itself_first(names, found, np.arange(block.start, block.stop))
    return indices, similarities


def _itself_first(names: np.ndarray, found: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move each point to the front of its own list; where it is missing, it takes the place of the last."""
    itself = names == rows[:, None]
    itself[~itself.any(axis=1), -1] = True
    order = np.argsort(~itself, axis=1, kind="stable")
    names, found = np.take_along_axis(names, order, 1), np.take_along_axis(found, order, 1)
    found[names[:, 0] != rows, 0] = 1
    names[:, 0] = rows
    return names, found
