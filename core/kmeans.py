"""k-means whose labels depend on nothing but the features and the seed.

Lloyd: "Least squares quantization in PCM", 1982.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from duoreid.core.numeric.assignment import Assignment
from duoreid.core.numeric.inputs import as_count, as_features, row_blocks
from duoreid.core.numeric.starts import start_rows


@dataclass(frozen=True)
class KMeans:
    """A clustering of N points into K clusters, none of them empty.

    labels: int32 (N,). centroids: float32 (K, D), the means of the members. inertia: sum of squared distances of
    the points to the centroids of their clusters.
    """

    labels: np.ndarray
    centroids: np.ndarray
    inertia: float


def kmeans(features: np.ndarray, clusters: int, *, seed: int, restarts: int = 1, iterations: int = 100) -> KMeans:
    """Cluster features (N, D), not necessarily normalised, and return the run of lowest inertia.

    Each of `restarts` runs starts from `core.numeric.starts.start_rows` and ends when no label changes or after
    `iterations` rounds. A cluster that loses its last point gets the point farthest from its own centroid.
    The same seed gives the same bytes whatever the number of threads. Memory: N K bounds, 512 MiB at most,
    and 128 numbers for each point.
    Raises ValueError for features that are not finite and for clusters, restarts or iterations out of range.

    >>> result = kmeans([[0.0], [2.0], [10.0], [12.0]], 2, seed=1)
    >>> sorted(result.centroids.ravel().tolist()), result.inertia  # each point is 1 from its centroid
    ([1.0, 11.0], 4.0)
    >>> bool(result.labels[0] == result.labels[1] != result.labels[2] == result.labels[3])
    True
    """
    features = as_features(features, "features")
    restarts, iterations = as_count(restarts, "restarts"), as_count(iterations, "iterations")
    best: KMeans | None = None
    for restart in range(restarts):
        start = features[start_rows(features, clusters, seed=seed, restart=restart)]
        run = lloyd(features, start, iterations=iterations)
        best = run if best is None or run.inertia < best.inertia else best
    return best


def lloyd(features: np.ndarray, centroids: np.ndarray, *, iterations: int = 100) -> KMeans:
    """Run k-means on features (N, D) from given centroids (K, D), 1 <= K <= N.

    >>> result = lloyd([[0.0], [2.0], [10.0], [12.0]], [[0.0], [2.0]])
    >>> result.labels.tolist(), result.centroids.ravel().tolist()  # the second centroid moves to 8, then to 11
    ([0, 0, 1, 1], [1.0, 11.0])
    """
    features, centroids = as_features(features, "features"), as_features(centroids, "centroids")
    if features.shape[1] != centroids.shape[1] or not 0 < len(centroids) <= len(features):
        raise ValueError(
            f"centroids must be at least one and at most as many as the points, and of their width, but have shape "
            f"{centroids.shape}, and features {features.shape}"
        )
    sums = np.zeros(centroids.shape)
    sizes = np.zeros(len(centroids), np.int64)
    previous = np.full(len(features), -1, np.int32)
    assignment = Assignment(features, centroids)
    for round_ in range(as_count(iterations, "iterations")):
        if round_:
            assignment.assign()
        _refill(assignment)
        changed = np.flatnonzero(assignment.labels != previous)
        if not len(changed):
            break
        touched = _transfer(sums, sizes, features, changed, previous[changed], assignment.labels[changed])
        previous[changed] = assignment.labels[changed]
        moved = assignment.centroids.copy()
        moved[touched] = sums[touched] / sizes[touched, None]
        assignment.move(moved)
    return KMeans(assignment.labels, assignment.centroids, float(assignment.distances().sum()))


def _transfer(
    sums: np.ndarray, sizes: np.ndarray, features: np.ndarray, rows: np.ndarray, old: np.ndarray, new: np.ndarray
) -> np.ndarray:
    """Move rows from their old clusters (-1: none) to the new ones in sums and sizes; return the clusters touched."""
    clusters = len(sums)
    for block in row_blocks(len(rows), features.shape[1], entries=1 << 20):
        place = np.arange(block.stop - block.start)
        leaving = old[block] >= 0
        sign = np.concatenate([np.ones(len(place)), -np.ones(leaving.sum())])
        cluster = np.concatenate([new[block], old[block][leaving]])
        touched, line = np.unique(cluster, return_inverse=True)
        entries = (sign, (line.ravel(), np.concatenate([place, place[leaving]])))
        member = sparse.csr_array(entries, shape=(len(touched), len(place)))
        sums[touched] += member @ features[rows[block]].astype(np.float64)
    sizes += np.bincount(new, minlength=clusters) - np.bincount(old[old >= 0], minlength=clusters)
    return np.unique(np.concatenate([new, old[old >= 0]]))


def _refill(assignment: Assignment) -> None:
    """Give each empty cluster the point farthest from its own centroid, never a cluster's last member."""
    sizes = np.bincount(assignment.labels, minlength=len(assignment.centroids))
    empty = np.flatnonzero(sizes == 0)
    if not len(empty):
        return
    rows = np.empty(len(empty), np.int64)
    farthest = iter(np.argsort(-assignment.distances(), kind="stable"))
    for place in range(len(empty)):
        rows[place] = next(row for row in farthest if sizes[assignment.labels[row]] > 1)
        sizes[assignment.labels[rows[place]]] -= 1
    assignment.relabel(rows, empty)
