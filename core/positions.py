"""Where a row's positives stand, without sorting the row: a rank is a count of what comes before."""

from __future__ import annotations

import math

import numpy as np

WORD = 8  # flags of one byte that are added at a time, as one uint64
WORDS = 255  # words whose bytes can be added before one could overflow
SCRATCH = 1 << 19  # bytes of flags held at a time: they stay in the processor's second cache
SORT_FROM = 32  # counting beats sorting up to about this many positives per bit of the row's length


class Positions:
    """Counts what stands ahead of positives in rows of one length. Each thread needs its own."""

    def __init__(self, length: int) -> None:
        self._length = length
        padded = max(1, -(-length // (WORD * WORDS))) * WORD * WORDS
        self._flags = np.zeros((max(1, SCRATCH // padded), padded), bool)  # the padding stays False
        self._most = SORT_FROM * math.log2(length + 2)

    def ahead(self, row: np.ndarray, positives: np.ndarray) -> np.ndarray:
        """Return how many items of row (G,) come before each of its positives: int64 (P,).

        positives: columns, rising. An equal item comes before if its column is lower, as in a stable sort.
        """
        if len(positives) > self._most:
            place = np.empty(self._length, np.int64)
            place[np.argsort(row, kind="stable")] = np.arange(self._length)
            return place[positives]
        own = row[positives]
        step = len(self._flags)
        if len(own) <= step:
            return self._count(row, positives, own)
        parts = (slice(start, start + step) for start in range(0, len(own), step))
        return np.concatenate([self._count(row, positives[part], own[part]) for part in parts])

    def _count(self, row: np.ndarray, positives: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Up to the first positive equal items count, from there on they do not; then those between are added."""
        first, last = positives[0], positives[-1]
        flags, value = self._flags[: len(own)], own[:, None]
        np.less_equal(row[:first], value, out=flags[:, :first])
        np.less(row[first:], value, out=flags[:, first : self._length])
        lanes = flags.view(np.uint64).reshape(len(own), -1, WORDS).sum(axis=2)
        counts = lanes.view(np.uint8).reshape(len(own), -1).sum(axis=1, dtype=np.int64)
        equal = row[first:last] == value
        if np.count_nonzero(equal) >= len(own):  # more than each but the last with itself
            equal &= np.arange(first, last) < positives[:, None]
            counts += equal.sum(axis=1)
        return counts
