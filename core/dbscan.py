"""DBSCAN on a sparse similarity graph.

Ester, Kriegel, Sander, Xu: "A density-based algorithm for discovering clusters", KDD 1996.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from duoreid.core.numeric.equal_rows import Graph
from duoreid.core.numeric.inputs import as_count

ROUNDING = 1e-6
"""Jaccard distances up to this are those of equal encodings: they come out as 0 or a few units of 6e-8."""


def dbscan(similarity: sparse.csr_array | Graph, *, eps: float, min_samples: int = 4) -> np.ndarray:
    """Cluster points by density and return labels int32 (N,), -1 for outliers.

    similarity: symmetric sparse (N, N), or what `jaccard_graph` returns; the distance is 1 - similarity, absent entries
    are at distance 1.
    A point with at least min_samples points within eps, itself counted, is a core point. Core points within eps
    of each other share a cluster; a border point joins the first cluster that has a core point within eps.
    Clusters are numbered by their first core point, as scikit-learn does with metric="precomputed".
    Time and memory grow with the number of entries.

    Points 0, 1 and 2 make a chain with steps of 0.25; point 3 is near nobody.

    >>> chain = np.eye(4)
    >>> chain[0, 1] = chain[1, 0] = chain[1, 2] = chain[2, 1] = 0.75
    >>> dbscan(sparse.csr_array(chain), eps=0.25, min_samples=2).tolist()
    [0, 0, 0, -1]
    >>> dbscan(sparse.csr_array(chain), eps=0.2, min_samples=2).tolist()
    [-1, -1, -1, -1]
    """
    similarity, classes, sizes = _as_graph(similarity)
    min_samples = as_count(min_samples, "min_samples")
    if not eps >= 0:
        raise ValueError(f"eps must be a distance of at least 0, but is {eps!r}")
    count = len(classes)
    if eps >= 1:  # absent entries are neighbours too: everything touches everything
        return np.full(count, 0 if count >= min_samples else -1, np.int32)
    graph, near = _within(similarity, eps)
    row, column = np.repeat(np.arange(len(sizes)), np.diff(graph.indptr)), graph.indices
    core = graph @ sizes + np.where(near, sizes, 1) >= min_samples
    inner = core[row] & core[column]
    linked = sparse.csr_array((np.ones(inner.sum(), np.int8), (row[inner], column[inner])), shape=graph.shape)
    component = csgraph.connected_components(linked, directed=False)[1][classes]
    apart = ((sizes > 1) & ~near & (np.diff(linked.indptr) == 0))[classes]  # no path leads from one to another
    component[apart] = len(sizes) + np.flatnonzero(apart)
    labels, inside = np.full(count, -1, np.int32), core[classes]
    _, first, number = np.unique(component[inside], return_index=True, return_inverse=True)
    labels[inside] = np.argsort(np.argsort(first))[number.ravel()]
    of_class, reached = np.full((2, len(sizes)), count, np.int32)
    np.minimum.at(of_class, classes[inside], labels[inside])
    border = ~core[row] & core[column]
    np.minimum.at(reached, row[border], of_class[column[border]])
    return np.where(reached[classes] < count, reached[classes], labels)


def eps_from_share(similarity: sparse.csr_array | Graph, share: float = 1.6e-3) -> float:
    """Return the mean of the smallest `share` of all distances between two points whose encodings differ.

    similarity: symmetric sparse (N, N), or what `jaccard_graph` returns, whole (not pruned by a radius): absent entries
    count as distance 1. Distances of at most 1e-6 are those of equal encodings and left out. At least one distance is
    taken. Raises ValueError where there is none.
    Source: the public code of MMT, which leaves out distances of exactly 0: there rounding decides which pairs of equal
    encodings count.

    Three points have three distances, here 0.2, 0.4 and 1:

    >>> similarity = sparse.csr_array([[1.0, 0.8, 0.6], [0.8, 1.0, 0.0], [0.6, 0.0, 1.0]])
    >>> shares = (1 / 3, 2 / 3, 1.0)
    >>> print(*(f"{eps_from_share(similarity, share):.3f}" for share in shares))  # 0.2, 0.6 / 2, 1.6 / 3
    0.200 0.300 0.533
    """
    similarity, classes, sizes = _as_graph(similarity)
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], but is {share!r}")
    count = len(classes)
    distances, times = _distances(similarity, sizes)
    absent = count * (count - 1) // 2 - int(times.sum())
    differ = distances > ROUNDING
    distances, times = distances[differ], times[differ]
    total = int(times.sum()) + absent
    if total == 0:
        raise ValueError(
            f"similarity of {count} points holds no two different points at a distance other than 0, "
            "so no eps can be read from it"
        )
    taken = max(1, round(share * total))
    smallest = _smallest(distances, times, taken)
    # distances beyond 1 cannot occur, so absent entries come last
    return float((smallest.sum() + (taken - len(smallest))) / taken)


def _distances(similarity: sparse.csr_array, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances that are stored, and of how many pairs of points each is."""
    row = np.repeat(np.arange(len(sizes)), np.diff(similarity.indptr))
    upper = similarity.indices > row
    distances = 1 - similarity.data[upper].astype(np.float64)
    several = sizes > 1
    if not several.any():
        return distances, np.ones(len(distances), np.int8)
    inside = similarity.diagonal()
    several &= inside > 0
    return (
        np.concatenate([distances, 1 - inside[several].astype(np.float64)]),
        np.concatenate([sizes[row[upper]] * sizes[similarity.indices[upper]], (sizes * (sizes - 1) // 2)[several]]),
    )


def _smallest(distances: np.ndarray, times: np.ndarray, taken: int) -> np.ndarray:
    """Return the smallest `taken` distances, rising, of which each counts so many times."""
    if taken < len(distances):  # each counts once at least
        chosen = np.argpartition(distances, taken - 1)[:taken]
        distances, times = distances[chosen], times[chosen]
    order = np.argsort(distances)
    ends = np.minimum(np.cumsum(times[order], dtype=np.int64), taken)
    return np.repeat(distances[order], np.diff(ends, prepend=0))


def _as_graph(similarity: sparse.csr_array | Graph) -> tuple[sparse.csr_array, np.ndarray, np.ndarray]:
    """Return (similarity (C, C), the class of each point (N,), how many points each class has (C,))."""
    if isinstance(similarity, Graph):
        return _as_similarity(similarity.similarity), similarity.classes, similarity.sizes()
    similarity = _as_similarity(similarity)
    count = similarity.shape[0]
    return similarity, np.arange(count), np.ones(count, np.int64)


def _as_similarity(similarity: sparse.csr_array) -> sparse.csr_array:
    if not sparse.issparse(similarity) or similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1]:
        shape = getattr(similarity, "shape", None)
        raise ValueError(
            f"similarity must be a square scipy.sparse matrix, but is {type(similarity).__name__} of shape {shape}"
        )
    matrix = sparse.csr_array(similarity)
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    if matrix.nnz and not (matrix.data.min() >= 0 and matrix.data.max() <= 1 + 1e-5):
        raise ValueError(
            f"similarity of shape {matrix.shape} must lie in [0, 1], but its entries span "
            f"{matrix.data.min()} to {matrix.data.max()}"
        )
    return matrix


def _within(similarity: sparse.csr_array, eps: float) -> tuple[sparse.csr_array, np.ndarray]:
    """Return (the graph of different rows at distance <= eps, whether a row's diagonal is): checked to be symmetric."""
    count = similarity.shape[0]
    row = np.repeat(np.arange(count), np.diff(similarity.indptr))
    kept = (1 - similarity.data.astype(np.float64) <= eps) & (similarity.indices != row)
    row, column = row[kept], similarity.indices[kept]
    graph = sparse.csr_array((np.ones(len(row), np.int8), (row, column)), shape=similarity.shape)
    mirrored = graph.T.tocsr()
    if not (np.array_equal(graph.indptr, mirrored.indptr) and np.array_equal(graph.indices, mirrored.indices)):
        raise ValueError(
            f"similarity of shape {similarity.shape} must be symmetric, but some pair is within eps={eps} one way "
            "only; take the mean of the matrix and its transpose"
        )
    return graph, 1 - similarity.diagonal().astype(np.float64) <= eps
