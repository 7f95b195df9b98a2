"""k-means cells of many points, and which cells each point visits in an approximate search."""

from __future__ import annotations

import math

import numpy as np
from scipy import sparse

from duoreid.core.kmeans import lloyd
from duoreid.core.numeric.inputs import row_blocks
from duoreid.core.numeric.products import product
from duoreid.core.numeric.threads import each
from duoreid.core.random import rng

ROUNDS = 5  # of k-means over a sample
PER_CELL = 40  # points that each cell is trained on
FEWEST, SHARE = 128, 0.4  # members of a cell on average: at least so many, and this times sqrt(N)


class Visits:
    """Which points are the members of each cell, and which others visit it.

    labels: int32 (N,), the cell of each point. farthest: int32 (N,), the cell least similar to it.
    """

    def __init__(self, labels: np.ndarray, farthest: np.ndarray, visited: sparse.csr_array) -> None:
        """visited: (N, cells), an entry for each cell but its own that a point visits."""
        self.labels, self.farthest, self._visited = labels, farthest, visited
        self.cells = visited.shape[1]
        self._members = np.argsort(labels, kind="stable").astype(np.int32)
        self._ends = np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=self.cells))])
        self._visitors = visited.tocsc()

    def members(self, cell: int) -> np.ndarray:
        """Return the points of a cell, rising."""
        return self._members[self._ends[cell] : self._ends[cell + 1]]

    def visitors(self, cell: int) -> np.ndarray:
        """Return the points of other cells that visit this one, rising."""
        return self._visitors.indices[self._visitors.indptr[cell] : self._visitors.indptr[cell + 1]]

    def of(self, points: np.ndarray) -> np.ndarray:
        """Return which cells each of some points visits, its own left out: bool (n, cells)."""
        return self._visited[points].toarray().astype(bool)

    def share(self) -> float:
        """Return the share of all pairs of points that are multiplied."""
        sizes = np.diff(self._ends).astype(np.float64)
        return float((sizes @ (sizes + np.diff(self._visitors.indptr))) / sizes.sum() ** 2)


class Cells:
    """Cells of L2-normalised features (N, D): directions of the centroids of k-means on a sample."""

    def __init__(self, features: np.ndarray, cells: int | None = None) -> None:
        """cells: how many, at most N; by default so many that one has max(FEWEST, SHARE sqrt(N)) members."""
        count = len(features)
        cells = min(count, cells or math.ceil(count / max(FEWEST, SHARE * math.sqrt(count))))
        random = rng(0, "cells")
        rows = np.sort(random.choice(count, min(count, PER_CELL * cells), replace=False))
        start = np.sort(random.choice(rows, cells, replace=False))
        trained = lloyd(features[rows], features[start], iterations=ROUNDS)
        norms = np.sqrt(np.einsum("ij,ij->i", trained.centroids, trained.centroids))
        self._features = features
        self.centroids = trained.centroids / np.maximum(norms, np.finfo(np.float32).tiny)[:, None]
        self._sizes = np.bincount(trained.labels, minlength=cells) / len(rows)  # as shares

    def margin(self, sample: np.ndarray, true: np.ndarray, recall: float) -> float:
        """Return how much less similar than its best a centroid may be for a point to visit its cell.

        sample: rows (m,); true: their neighbours (m, k). With it a share `recall` of these pairs meets.
        """
        scores = product(self._features[sample], self.centroids.T)
        cells = scores.argmax(axis=1)
        scores -= scores.max(axis=1, keepdims=True)
        meeting = np.empty(true.shape, np.float32)

        def measure(block: slice) -> None:
            of_them = product(self._features[true[block].ravel()], self.centroids.T)
            place = np.arange(len(of_them))
            theirs = of_them.argmax(axis=1)
            row = np.repeat(np.arange(block.start, block.stop), true.shape[1])
            back = of_them[place, cells[row]] - of_them[place, theirs]
            meeting[block] = np.maximum(scores[row, theirs], back).reshape(-1, true.shape[1])

        each(measure, row_blocks(len(sample), true.shape[1] * len(self.centroids), entries=1 << 21, fewest=1))
        return float(np.quantile(meeting, 1 - recall, method="lower"))

    def share(self, margin: float, sample: np.ndarray) -> float:
        """Return what share of all pairs will be multiplied, as far as a sample (m,) shows it."""
        scores = product(self._features[sample], self.centroids.T)
        return float(((scores >= scores.max(axis=1, keepdims=True) + margin) @ self._sizes).mean())

    def visits(self, margin: float) -> Visits:
        """Return the cell of each point and the cells that it visits."""
        count, cells = len(self._features), len(self.centroids)
        labels, farthest = np.empty(count, np.int32), np.empty(count, np.int32)

        def visit(block: slice) -> tuple[np.ndarray, np.ndarray]:
            scores = product(self._features[block], self.centroids.T)
            place, own = np.arange(len(scores)), scores.argmax(axis=1)
            labels[block], farthest[block] = own, scores.argmin(axis=1)
            near = scores >= (scores[place, own] + np.float32(margin))[:, None]
            near[place, own] = False
            return np.count_nonzero(near, axis=1), (np.flatnonzero(near) % cells).astype(np.int32)

        parts = each(visit, row_blocks(count, cells, entries=1 << 21, fewest=64))
        indptr = np.concatenate([[0], np.cumsum(np.concatenate([lengths for lengths, _ in parts]))])
        columns = np.concatenate([indices for _, indices in parts])
        visited = sparse.csr_array((np.ones(len(columns), np.int8), columns, indptr), shape=(count, cells))
        return Visits(labels, farthest, visited)
