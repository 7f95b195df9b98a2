"""The k-reciprocal algorithm as its authors published it: dense matrices and a loop over the points.

Written from the formulas of Zhong, Zheng, Cao, Li, "Re-ranking Person Re-identification with k-reciprocal Encoding",
CVPR 2017, in the arrangement that the literature runs: a dense encoding, an inverted index of its columns, and for
each point and each of its columns one addition of minima.
"""

from __future__ import annotations

import numpy as np


def search(features: np.ndarray, k: int) -> np.ndarray:
    """Return each point's ranking of k points, itself first: int32 (N, k), by one dense product."""
    similarity = features @ features.T
    np.fill_diagonal(similarity, np.inf)
    nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(similarity, nearest, 1), axis=1, kind="stable")
    return np.take_along_axis(nearest, order, 1).astype(np.int32)


def squared_distances(features: np.ndarray, *, scale: str | None = "farthest") -> np.ndarray:
    """Return the dense squared distances float32 (N, N) that weigh an encoding, of L2-normalised features (N, D).

    scale: "farthest" divides each row by its largest, as the authors' code and MMT's do; None leaves them, as
    OpenUnReID and SpCL do.
    """
    squared = 2 - 2 * features @ features.T
    if scale == "farthest":
        squared /= squared.max(axis=1, keepdims=True)
    return squared


def distances(squared: np.ndarray, ranking: np.ndarray, *, k1: int = 30, k2: int = 6) -> np.ndarray:
    """Return the dense Jaccard distance float32 (N, N); squared (N, N), ranking (N, k1 + 1 or more)."""
    return jaccard(encoding(ranking, squared, k1, k2))


def reciprocal(ranking: np.ndarray, point: int, k: int) -> np.ndarray:
    """Return the points among a point's first k that have it among their own first k."""
    forward = ranking[point, :k]
    return forward[np.where(ranking[forward, :k] == point)[0]]


def encoding(ranking: np.ndarray, squared: np.ndarray, k1: int, k2: int) -> np.ndarray:
    """Return the dense encoding float32 (N, N), weighed by the squared distances (N, N)."""
    count = len(ranking)
    weights = np.zeros((count, count), np.float32)
    half = int(np.around(k1 / 2)) + 1
    for point in range(count):
        own = reciprocal(ranking, point, k1 + 1)
        members = own
        for candidate in own:
            theirs = reciprocal(ranking, candidate, half)
            if 3 * len(np.intersect1d(theirs, own)) > 2 * len(theirs):
                members = np.append(members, theirs)
        members = np.unique(members)
        weight = np.exp(-squared[point, members])
        weights[point, members] = weight / weight.sum()
    if k2 > 1:
        weights = np.stack([weights[ranking[point, :k2]].mean(axis=0) for point in range(count)])
    return weights


def jaccard(weights: np.ndarray, rows: int | None = None) -> np.ndarray:
    """Return the Jaccard distance of the first `rows` points (all) to all: dense float32."""
    count = len(weights)
    holders = [np.where(weights[:, column] != 0)[0] for column in range(count)]
    result = np.zeros((count if rows is None else rows, count), np.float32)
    for point in range(len(result)):
        shared = np.zeros(count, np.float32)
        for column in np.where(weights[point] != 0)[0]:
            others = holders[column]
            shared[others] += np.minimum(weights[point, column], weights[others, column])
        result[point] = 1 - shared / (2 - shared)
    return result


def rerank(query: np.ndarray, gallery: np.ndarray, *, k1: int = 20, k2: int = 6, weight: float = 0.3) -> np.ndarray:
    """Return re-ranked distances float32 (Q, G) of L2-normalised features, as the published code computes them."""
    original = squared_distances(np.concatenate([query, gallery]))
    ranking = np.argsort(original, axis=1).astype(np.int32)
    queries = len(query)
    distance = (1 - weight) * jaccard(encoding(ranking, original, k1, k2), queries) + weight * original[:queries]
    return distance[:, queries:]
