"""k-means whose labels depend on nothing but the features and the seed.

Lloyd: "Least squares quantization in PCM", 1982. Seeding: Arthur and Vassilvitskii, "k-means++", 2007.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from core.distances import as_count, as_features, row_blocks, squared_norms
from core.random import rng


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
    """Cluster features (N, D), not necessarily normalised, and return the best of `restarts` runs.

    The same seed gives the same labels whatever the number of threads.
    """
    features = as_features(features, "features")
    clusters, restarts = as_count(clusters, "clusters"), as_count(restarts, "restarts")
    iterations = as_count(iterations, "iterations")
    if clusters > len(features):
        raise ValueError(
            f"clusters must be at most the number of points, but is {clusters} and features has {features.shape}"
        )
    runs = (
        lloyd(features, features[start_rows(features, clusters, seed=seed, restart=restart)], iterations=iterations)
        for restart in range(restarts)
    )
    return min(runs, key=lambda run: run.inertia)


def start_rows(features: np.ndarray, clusters: int, *, seed: int, restart: int = 0) -> np.ndarray:
    """Return rows of different points to start from: int64 (clusters,), by D^2 sampling."""
    random = rng(seed, "k-means", restart)
    count = len(features)
    rows = [int(random.integers(count))]
    nearest = np.full(count, np.inf)
    for _ in range(clusters - 1):
        offset = features - features[rows[-1]]
        nearest = np.minimum(nearest, np.einsum("ij,ij->i", offset, offset))
        nearest[rows[-1]] = 0
        total = np.cumsum(nearest)
        if total[-1] > 0:
            rows.append(int(np.searchsorted(total, random.random() * total[-1], side="right")))
        else:
            rows.append(int(random.choice(np.setdiff1d(np.arange(count), rows))))
    return np.array(rows)


def lloyd(features: np.ndarray, centroids: np.ndarray, *, iterations: int = 100) -> KMeans:
    """Run k-means from given centroids (K, D) until no label changes or `iterations` are done."""
    clusters = len(centroids)
    labels = np.full(len(features), -1, np.int32)
    for _ in range(iterations):
        assigned = _refill(features, centroids, _assign(features, centroids))
        if np.array_equal(assigned, labels):
            break
        labels = assigned
        centroids = _means(features, labels, clusters)
    return KMeans(labels, centroids, float(_own_distances(features, centroids, labels).sum()))


def _assign(features: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return the nearest centroid of each point, the first of equally near ones: int32 (N,)."""
    labels = np.empty(len(features), np.int32)
    half = 0.5 * np.einsum("ij,ij->i", centroids, centroids, dtype=np.float64)
    norms = np.sqrt(squared_norms(features))
    reach = float(np.sqrt(2 * half.max()))
    dimensions = features.shape[1]
    for block in row_blocks(len(features), len(centroids)):
        scores = features[block] @ centroids.T
        scores -= half.astype(np.float32)
        best = scores.argmax(1)
        labels[block] = best
        # the rounding of a float32 dot product is at most D 2^-24 |x| |c|, that of the rest a few units
        slack = 2 * (dimensions + 4) * 2.0**-24 * (norms[block] * reach + half.max())
        close = scores >= (scores[np.arange(len(best)), best] - slack)[:, None]
        for row in np.flatnonzero(close.sum(1) > 1):
            rivals = np.flatnonzero(close[row])
            offset = features[block][row].astype(np.float64) - centroids[rivals]
            labels[block.start + row] = rivals[np.argmin(np.einsum("ij,ij->i", offset, offset))]
    return labels


def _own_distances(features: np.ndarray, centroids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each point's squared distance to its own centroid: float64 (N,)."""
    distances = np.empty(len(features))
    for block in row_blocks(len(features), features.shape[1]):
        offset = features[block].astype(np.float64) - centroids[labels[block]]
        distances[block] = np.einsum("ij,ij->i", offset, offset)
    return distances


def _means(features: np.ndarray, labels: np.ndarray, clusters: int) -> np.ndarray:
    sums = np.zeros((clusters, features.shape[1]))
    for block in row_blocks(len(features), features.shape[1]):
        part = labels[block]
        member = sparse.csr_array((np.ones(len(part)), (part, np.arange(len(part)))), shape=(clusters, len(part)))
        sums += member @ features[block].astype(np.float64)
    return (sums / np.bincount(labels, minlength=clusters)[:, None]).astype(np.float32)


def _refill(features: np.ndarray, centroids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Give each empty cluster the point farthest from its own centroid, never a cluster's last member."""
    sizes = np.bincount(labels, minlength=len(centroids))
    empty = np.flatnonzero(sizes == 0)
    if not len(empty):
        return labels
    labels = labels.copy()
    farthest = iter(np.argsort(-_own_distances(features, centroids, labels), kind="stable"))
    for cluster in empty:
        row = next(row for row in farthest if sizes[labels[row]] > 1)
        sizes[labels[row]] -= 1
        labels[row] = cluster
    return labels
