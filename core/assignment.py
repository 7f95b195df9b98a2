"""Nearest centroids, certified: the label is that of float64 arithmetic although most of the work is in float32.

Bounds save most products: Elkan, "Using the triangle inequality to accelerate k-means", ICML 2003; in groups of
centroids where a bound for each would need too much memory: Ding et al., "Yinyang K-means", ICML 2015.
"""

from __future__ import annotations

import numpy as np

from core.distances import row_blocks, squared_norms

BOUNDS = 1 << 27  # lower bounds held at most: 512 MiB


class Assignment:
    """Labels of features (N, D) among centroids that move.

    labels: int32 (N,), the nearest centroid, the first of equally near ones. distances: float64 (N,), squared, to the
    centroid of the label. Matrix products only propose: rows whose two nearest centroids a float32 product cannot
    tell apart are decided in float64, so labels depend on no summation order, hence not on the number of threads.
    """

    def __init__(self, features: np.ndarray, centroids: np.ndarray) -> None:
        self.features, self.centroids = features, centroids
        count, clusters = len(features), len(centroids)
        groups = max(1, min(clusters, BOUNDS // count))
        self._first = (np.arange(groups) * clusters) // groups  # first centroid of each group
        self._bounds = np.empty((count, groups), np.float32)  # of the distance to a group, the own centroid left out
        self._squared = squared_norms(features)
        self.labels = np.zeros(count, np.int32)
        self.distances = np.empty(count)
        self._search(np.arange(count))
        self._measure(np.arange(count))

    def move(self, centroids: np.ndarray) -> None:
        """Follow the centroids to new places; labels stay until `assign`."""
        offset = centroids.astype(np.float64) - self.centroids
        drift = np.sqrt(np.einsum("ij,ij->i", offset, offset))
        self.centroids = centroids
        self._measure(np.flatnonzero(drift[self.labels] > 0))
        if drift.any():
            longest = np.maximum.reduceat(drift, self._first) * (1 + 1e-6)
            self._bounds -= np.nextafter(longest, np.inf).astype(np.float32)
            self._bounds *= np.float32(1 - 1e-6)  # rounding never lifts a bound

    def assign(self) -> None:
        """Give every point its nearest centroid."""
        doubtful = np.flatnonzero(np.sqrt(self.distances) * (1 + 1e-6) >= self._bounds.min(axis=1))
        before = self.labels[doubtful]
        self._search(doubtful)
        self._measure(doubtful[self.labels[doubtful] != before])

    def relabel(self, rows: np.ndarray, labels: np.ndarray) -> None:
        """Put rows into clusters that are not their nearest; the next `assign` looks at them again."""
        self.labels[rows] = labels
        self._bounds[rows] = 0
        self._measure(rows)

    def _measure(self, rows: np.ndarray) -> None:
        for block in row_blocks(len(rows), self.features.shape[1]):
            part = rows[block]
            offset = self.features[part].astype(np.float64)
            offset -= self.centroids[self.labels[part]]
            self.distances[part] = np.einsum("ij,ij->i", offset, offset)

    def _search(self, rows: np.ndarray) -> None:
        """Set labels and bounds of rows from their products with all centroids."""
        half = (squared_norms(self.centroids) / 2).astype(np.float32)
        reach = float(np.sqrt(2 * half.max()))
        # a float32 product of D terms is off by at most D 2^-24 |x| |c|; the rest of the sum adds a few units
        unit = (self.features.shape[1] + 8) * 2.0**-24
        for block in row_blocks(len(rows), max(len(self.centroids), self.features.shape[1])):
            part = rows[block]
            squared = self._squared[part].astype(np.float64)
            slack = unit * (np.sqrt(squared) * reach + reach**2 + squared)
            scores = self._rows(part) @ self.centroids.T
            np.subtract(half, scores, out=scores)  # half the squared distance, less |x|^2 / 2
            own = scores.argmin(axis=1)
            place = np.arange(len(part))
            best = scores[place, own].astype(np.float64)
            close = scores <= np.nextafter((best + 2 * slack).astype(np.float32), np.float32(np.inf))[:, None]
            for row in np.flatnonzero(np.count_nonzero(close, axis=1) > 1):
                own[row] = self._decide(part[row], np.flatnonzero(close[row]))
            self.labels[part] = own
            scores[place, own] = np.inf
            others = np.minimum.reduceat(scores, self._first, axis=1) if len(self._first) < len(half) else scores
            others = 2 * (others - slack[:, None].astype(np.float32)) + self._squared[part, None]
            self._bounds[part] = np.sqrt(np.maximum(others, 0)) * np.float32(1 - 1e-6)

    def _rows(self, rows: np.ndarray) -> np.ndarray:
        """Gather rows, without a copy where they are a run."""
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
            return self.features[rows[0] : rows[-1] + 1]
        return self.features[rows]

    def _decide(self, row: int, rivals: np.ndarray) -> int:
        offset = self.features[row].astype(np.float64) - self.centroids[rivals]
        return rivals[np.einsum("ij,ij->i", offset, offset).argmin()]
