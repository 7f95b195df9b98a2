"""Nearest centroids, certified: the label is that of float64 arithmetic although most of the work is in float32.

Bounds save most products: Elkan, "Using the triangle inequality to accelerate k-means", ICML 2003; in groups of
centroids where a bound for each would need too much memory: Ding et al., "Yinyang K-means", ICML 2015. Of the rows
that these leave in doubt, bounds from narrow copies of features and centroids settle most: see
`core.numeric.projections`.
"""

from __future__ import annotations

import numpy as np

from duoreid.core.numeric.inputs import row_blocks, squared_norms
from duoreid.core.numeric.products import product
from duoreid.core.numeric.projections import narrowed
from duoreid.core.numeric.threads import each

BOUNDS = 1 << 27  # lower bounds held at most: 512 MiB
SHRINK = np.float32(1 - 2e-6)  # keeps a rounded bound a bound


class Assignment:
    """Labels of features (N, D) among centroids that move.

    labels: int32 (N,), the nearest centroid, the first of equally near ones. Matrix products only propose: rows whose
    nearest centroids a float32 product cannot tell apart are decided in float64, so labels depend on no summation
    order, hence not on the number of threads.
    """

    def __init__(self, features: np.ndarray, centroids: np.ndarray) -> None:
        self.features, self.centroids = features, centroids
        count, clusters = len(features), len(centroids)
        groups = max(1, min(clusters, BOUNDS // count))
        self._first = (np.arange(groups) * clusters) // groups  # first centroid of each group
        self._group = np.repeat(np.arange(groups), np.diff(self._first, append=clusters))
        self._lower = np.zeros((count, groups), np.float32)  # bounds of the distance to a group, own centroid left out
        self._upper = np.full(count, np.inf, np.float32)  # bounds of the distance to the own centroid
        self._drift = np.zeros(groups, np.float32)  # how far a group has moved since the bounds were last right
        self._squared = squared_norms(features)
        self._narrow = narrowed(features, self._squared, clusters)
        self.labels = np.zeros(count, np.int32)
        self._search_all(np.arange(count))

    def move(self, centroids: np.ndarray) -> None:
        """Follow the centroids to new places, once before each `assign`; labels stay."""
        offset = centroids.astype(np.float64) - self.centroids
        drift = np.sqrt(np.einsum("ij,ij->i", offset, offset)) * (1 + 1e-6)
        self.centroids = centroids
        self._upper += drift[self.labels]
        self._upper /= SHRINK
        self._drift = np.nextafter(np.maximum.reduceat(drift, self._first).astype(np.float32), np.float32(np.inf))

    def assign(self) -> None:
        """Give every point its nearest centroid."""
        rows = np.concatenate(each(self._doubtful, row_blocks(*self._lower.shape, entries=1 << 17, fewest=16)))
        if self._narrow is not None:
            rows = self._unsettled(rows)
        if 2 * len(rows) < len(self.features):
            rows = rows[np.argsort(self.labels[rows], kind="stable")]  # rows of one cluster doubt the same centroids
        self._search_all(rows)

    def _search_all(self, rows: np.ndarray) -> None:
        half = squared_norms(self.centroids) / 2
        reach = float(np.sqrt(2 * half.max()))
        entries = 1 << 19 if 2 * len(rows) < len(self.features) else 1 << 21
        blocks = row_blocks(len(rows), self.features.shape[1], entries=entries, fewest=64)
        each(lambda block: self._search(rows[block], half, reach), blocks)

    def _unsettled(self, rows: np.ndarray) -> np.ndarray:
        """Improve the bounds of rows by narrow products; return the rows that these leave in doubt."""
        squared = squared_norms(self.centroids)
        half, reach = squared / 2, float(np.sqrt(squared.max()))
        centroids = self._narrow.of(self.centroids, squared)

        def settle(block: slice) -> np.ndarray:
            part = rows[block]
            points, label, slack = self._narrow.points[part], self.labels[part], self._slack(part, reach)
            scores = product(points, centroids.T)
            np.subtract(half, scores, out=scores)
            place = np.arange(len(part))
            own = scores[place, label] + 2 * points[:, -1] * centroids[label, -1] + slack
            self._upper[part] = np.minimum(self._upper[part], self._distance(part, own) / SHRINK)
            scores[place, label] = np.inf
            if len(self._first) < len(half):
                scores = np.minimum.reduceat(scores, self._first, axis=1)
            scores -= slack[:, None]
            lower = self._distance(part[:, None], scores)
            lower *= SHRINK
            np.maximum(lower, self._lower[part], out=lower)
            self._lower[part] = lower
            return part[(lower <= self._upper[part, None]).any(axis=1)]

        return np.concatenate(each(settle, row_blocks(len(rows), len(half), entries=1 << 18)) or [rows])

    def _doubtful(self, block: slice) -> np.ndarray:
        """Bring bounds up to date; return the rows whose bounds leave doubt."""
        lower = self._lower[block]
        lower -= self._drift
        lower *= SHRINK
        return block.start + np.flatnonzero((lower <= self._upper[block, None]).any(axis=1))

    def relabel(self, rows: np.ndarray, labels: np.ndarray) -> None:
        """Put rows into clusters that are not their nearest; the next `assign` looks at them again."""
        self.labels[rows] = labels
        self._lower[rows] = 0
        self._upper[rows] = np.inf

    def distances(self) -> np.ndarray:
        """Return each point's squared distance to the centroid of its label: float64 (N,)."""
        distances = np.empty(len(self.features))

        def measure(block: slice) -> None:
            offset = self.features[block].astype(np.float64)
            offset -= self.centroids[self.labels[block]]
            distances[block] = np.einsum("ij,ij->i", offset, offset)

        each(measure, row_blocks(*self.features.shape, entries=1 << 17, fewest=16))
        return distances

    def _search(self, rows: np.ndarray, half: np.ndarray, reach: float) -> None:
        """Set labels and bounds of rows."""
        points, label = self._points(rows), self.labels[rows]
        own_score = np.full(len(rows), np.inf, np.float32)
        if np.isfinite(self._upper[rows]).any():  # not in the first search
            own_score = half[label] - np.einsum("ij,ij->i", points, self.centroids[label])
        slack = self._slack(rows, reach)
        self._upper[rows] = self._distance(rows, own_score + slack) / SHRINK
        doubtful = self._lower[rows] <= self._upper[rows, None]
        left = np.flatnonzero(doubtful.any(axis=1))
        if len(left) < len(rows):
            rows, points, own_score, slack = rows[left], points[left], own_score[left], slack[left]
        if len(rows):
            self._compare(rows, points, own_score, slack, doubtful.any(axis=0), half)

    def _compare(
        self,
        rows: np.ndarray,
        points: np.ndarray,
        own_score: np.ndarray,
        slack: np.ndarray,
        doubtful: np.ndarray,
        half: np.ndarray,
    ) -> None:
        """Set labels and bounds of rows that only their own centroid and those of some groups can be nearest to."""
        columns = np.flatnonzero(doubtful[self._group])
        others = self.centroids if len(columns) == len(self.centroids) else self.centroids[columns]
        scores = product(points, others.T)
        np.subtract(half[columns], scores, out=scores)  # half the squared distance, less |x|^2 / 2
        place, before = np.arange(len(rows)), self.labels[rows]
        column = np.minimum(np.searchsorted(columns, before), len(columns) - 1)
        inside = np.flatnonzero(columns[column] == before)  # one score of each centroid
        own_score[inside] = scores[inside, column[inside]]
        best_column = scores.argmin(axis=1)
        best_score = scores[place, best_column]
        label = np.where(own_score <= best_score, before, columns[best_column])
        reachable = np.nextafter(np.minimum(best_score, own_score) + 2 * slack, np.float32(np.inf))
        scores[place, best_column] = np.inf  # for the second best
        second = np.where(before == columns[best_column], np.inf, np.maximum(best_score, own_score))
        contested = np.minimum(scores.min(axis=1), second) <= reachable
        scores[place, best_column] = best_score
        for row in np.flatnonzero(contested):
            rivals = columns[scores[row] <= reachable[row]]
            label[row] = self._decide(rows[row], np.union1d(rivals, before[row]))
        self.labels[rows] = label
        self._rebound(rows, np.flatnonzero(doubtful), columns, scores, slack, before, own_score)

    def _rebound(
        self,
        rows: np.ndarray,
        groups: np.ndarray,
        columns: np.ndarray,
        scores: np.ndarray,
        slack: np.ndarray,
        before: np.ndarray,
        own_score: np.ndarray,
    ) -> None:
        label = self.labels[rows]
        column = np.minimum(np.searchsorted(columns, label), len(columns) - 1)
        inside = np.flatnonzero(columns[column] == label)
        score = own_score.copy()
        score[inside] = scores[inside, column[inside]]
        self._upper[rows] = self._distance(rows, score + slack) / SHRINK
        scores[inside, column[inside]] = np.inf
        if len(groups) < len(columns):
            scores = np.minimum.reduceat(scores, np.searchsorted(columns, self._first[groups]), axis=1)
        scores -= slack[:, None]
        lower = self._distance(rows[:, None], scores)
        lower *= SHRINK
        if len(groups) == len(self._first):
            self._lower[rows] = lower
        else:
            self._lower[rows[:, None], groups] = lower
        left = np.flatnonzero(label != before)  # the centroid a row has left counts in its group from now on
        group = self._group[before[left]]
        theirs = self._distance(rows[left], own_score[left] - slack[left]) * SHRINK
        self._lower[rows[left], group] = np.minimum(self._lower[rows[left], group], theirs)

    def _slack(self, rows: np.ndarray, reach: float) -> np.ndarray:
        """Return how far a score of float32 can be off: a product of D terms by at most D 2^-24 |x| |c|."""
        unit = (self.features.shape[1] + 8) * 2.0**-24
        squared = self._squared[rows].astype(np.float64)
        return (unit * (np.sqrt(squared) * reach + reach**2 + squared)).astype(np.float32)

    def _distance(self, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        distance = scores * np.float32(2)
        distance += self._squared[rows]
        np.maximum(distance, 0, out=distance)
        return np.sqrt(distance, out=distance)

    def _points(self, rows: np.ndarray) -> np.ndarray:
        """Gather rows, without a copy where they are a run."""
        if len(rows) and (np.diff(rows) == 1).all():
            return self.features[rows[0] : rows[-1] + 1]
        return self.features[rows]

    def _decide(self, row: int, rivals: np.ndarray) -> int:
        offset = self.features[row].astype(np.float64) - self.centroids[rivals]
        return rivals[np.einsum("ij,ij->i", offset, offset).argmin()]
