"""The best of n strangers: how likely one of them reaches a threshold, from each query's nearest strangers."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.special import gammaln

KEPT_DRAWS = 20
"""Nearest strangers kept per query are this many gallery lengths over n: with a chance of e^-20 the best of n lies
further down."""

TAIL_SHARE, TAIL_FEWEST, TAIL_MOST = 0.05, 10, 200
"""Which of a query's strangers tell the slope of its tail: the nearest 5%, at least 10, at most 200."""

STEEPEST = 10.0
"""A tail's shape is at least minus this; -1 is the uniform distribution's."""


@dataclass(frozen=True)
class Strangers:
    """Each query's nearest strangers.

    similarities: float32 (Q, K), falling; -inf behind the last. units: int32 (Q, K), whose weight an image has.
    own: int64 (Q,), the unit of the query itself. totals: float64 (U,), images of each unit in the gallery.
    counts: float64 (Q,), strangers of each query, those that are not kept included.
    """

    similarities: np.ndarray
    units: np.ndarray
    own: np.ndarray
    totals: np.ndarray
    counts: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.own)

    def take(self, rows: np.ndarray) -> Strangers:
        """Return those of some queries."""
        return Strangers(self.similarities[rows], self.units[rows], self.own[rows], self.totals, self.counts[rows])

    @cached_property
    def steps(self) -> np.ndarray:
        """All kept similarities, rising, each once: rates change just above them."""
        return np.unique(self.similarities[np.isfinite(self.similarities)])

    @cached_property
    def _keys(self) -> np.ndarray:
        """Integers that rise with the query and, within it, as the similarity falls."""
        return (np.arange(len(self))[:, None] << 32) - _ordered(self.similarities)

    def reached(self, threshold: float) -> np.ndarray:
        """Return how many kept strangers of each query reach a threshold, int64 (Q,)."""
        rows = np.arange(len(self))
        wanted = (rows << 32) - _ordered(np.array(threshold))
        return np.searchsorted(self._keys.ravel(), wanted, side="right") - rows * self.similarities.shape[1]

    def fewest(self) -> int:
        """Return the smallest number of strangers that a query has."""
        return int(self.counts.min(initial=np.inf)) if len(self) else 0


class BestOf:
    """The similarity of the best of n strangers, over queries.

    weights: float64 (U,), how often each unit counts, as query and in the gallery; None: once. In a resampled gallery
    of another length n changes by the same factor.
    """

    def __init__(self, strangers: Strangers, size: int, weights: np.ndarray | None = None) -> None:
        weights = np.ones(len(strangers.totals)) if weights is None else weights
        depth = kept(int(strangers.totals.sum()), size)
        self.beyond = size > strangers.fewest()
        self._values, self._strangers = strangers.similarities[:, :depth], strangers
        self._rows = np.arange(len(strangers))
        self._weight = weights[strangers.own]
        here = np.where(np.isfinite(self._values), weights[strangers.units[:, :depth]], 0.0)
        self._ahead = np.concatenate([np.zeros((len(strangers), 1)), np.cumsum(here, axis=1)], axis=1)
        self._count = weights @ strangers.totals - self._weight * strangers.totals[strangers.own]
        self._draws = size * self._count / np.maximum(strangers.counts, 1)
        if self.beyond:
            self._draws = np.full(len(strangers), float(size))
            self._fit(here)

    def rate(self, threshold: float) -> float:
        """Return the share of queries, by weight, for which the best of n strangers reaches a threshold."""
        reached = np.minimum(self._strangers.reached(threshold), self._values.shape[1])
        ahead = self._ahead[self._rows, reached]
        each = self._tail(threshold, ahead) if self.beyond else self._exact(ahead)
        return float((each * self._weight).sum() / self._weight.sum())

    def threshold(self, far: float) -> float:
        """Return the lowest threshold whose rate is at most `far`."""
        if self.beyond:
            low, high = -1.0, 3.0
            while high - low > 1e-6:
                middle = (low + high) / 2
                low, high = (low, middle) if self.rate(middle) <= far else (middle, high)
            return high
        steps = self._strangers.steps
        low, high = -1, len(steps) - 1  # just above steps[high] the rate is low enough: nobody reaches the last
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.rate(_above(steps[middle])) <= far else (middle, high)
        return _above(steps[high])

    def _exact(self, ahead: np.ndarray) -> np.ndarray:
        """Return 1 - C(M - c, n) / C(M, n): n of M strangers, drawn without replacement, hold one of the c ahead."""
        rest, draws = self._count - ahead, np.minimum(self._draws, self._count)
        possible = rest >= draws
        rest = np.where(possible, rest, draws)
        logarithm = gammaln(rest + 1) - gammaln(rest - draws + 1)
        logarithm -= gammaln(self._count + 1) - gammaln(self._count - draws + 1)
        return np.where(possible, -np.expm1(np.minimum(logarithm, 0)), 1.0)

    def _fit(self, here: np.ndarray) -> None:
        """Fit generalised Pareto distributions to the nearest strangers, each above the last of a query's own.

        Their scale is each query's own, their shape that of all, from the ratio of the first two L-moments; where the
        tail would then go beyond 1, which no similarity does, the shape with which it ends there.
        """
        length = int(np.clip(TAIL_SHARE * self._count.mean(), TAIL_FEWEST, TAIL_MOST))
        length = min(length, self._values.shape[1] - 1)
        weight = np.maximum(here[:, :length], 1e-9)
        total = weight.sum(axis=1)
        self._edge = self._values[:, length].astype(np.float64)
        over = self._values[:, :length] - self._edge[:, None]
        first = (weight * over).sum(axis=1) / total
        above = (np.cumsum(weight, axis=1) - weight / 2) / total[:, None]  # from the nearest down
        second = (weight * over * (1 - 2 * above)).sum(axis=1) / total * length / (length - 1)
        ratio = (second * self._weight).sum() / max((first * self._weight).sum(), 1e-12)
        room = np.maximum((1 - self._edge) / np.maximum(first, 1e-9) - 1, 1 / STEEPEST)
        self._shape = np.clip(min(2 - 1 / max(ratio, 1e-3), -1e-3), -STEEPEST, -1 / room)
        self._scale = np.maximum(first * (1 - self._shape), 1e-6)
        self._share = self._ahead[:, length] / np.maximum(self._count, 1)

    def _tail(self, threshold: float, ahead: np.ndarray) -> np.ndarray:
        over = np.maximum(threshold - self._edge, 0) / self._scale
        beyond = self._share * np.maximum(1 + self._shape * over, 0) ** (-1 / self._shape)
        one = np.where(over > 0, beyond, ahead / np.maximum(self._count, 1))
        return -np.expm1(self._draws * np.log1p(-np.minimum(one, 1 - 1e-12)))


def kept(gallery: int, size: int) -> int:
    """Return how many nearest strangers of a gallery the best of `size` strangers is decided by."""
    return min(gallery, max(2 * TAIL_MOST, -(-KEPT_DRAWS * gallery // size)))


def _ordered(values: np.ndarray) -> np.ndarray:
    """Return int64 numbers in the order of float32 values."""
    bits = (values.astype(np.float32) + np.float32(0)).view(np.int32).astype(np.int64)  # adding 0 makes -0 equal to 0
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _above(value: np.float32) -> float:
    return float(np.nextafter(np.float32(value), np.float32(np.inf)))
