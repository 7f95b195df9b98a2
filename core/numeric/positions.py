"""Where a row's positives stand, without sorting the row: a rank is a count of what comes before.

Most positives stand near the front, so that few items of the row need to be looked at twice: one comparison finds the
items that are as near as the positives, and these few are sorted. Where they are many, every positive is compared with
the whole row, and the comparisons are summed eight at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

WORD = 8  # flags of one byte that are added at a time, as one uint64
WORDS = 255  # words whose bytes can be added before one could overflow
SCRATCH = 1 << 19  # bytes of flags held at a time: they stay in the processor's second cache
BUFFER = 512  # items; see _small_buffers
SORT_FROM = 32  # sorting an item costs as much as comparing it with so many positives per bit of their number
FEW = 8  # fewer positives than these are counted sooner than anything could be learnt about their row
FAR = 8  # one positive in so many may stand far behind the others


class Positions:
    """Counts what stands ahead of positives in rows of one length. Each thread needs its own."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._lanes = max(1, -(-length // (WORD * WORDS)))  # words that hold the sums of one row
        padded = self._lanes * WORD * WORDS
        self._flags = np.zeros((max(1, SCRATCH // padded), padded), bool)  # the padding stays False
        self._words = self._flags.view(np.uint64).reshape(len(self._flags), self._lanes, WORDS)
        self._near = np.empty(length, bool)
        self._marked = np.zeros(length, bool)  # False between calls
        self._sorting = SORT_FROM * math.log2(length + 2)

    def ahead(self, rows: np.ndarray, positives: np.ndarray, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return how many items of its row of (b, G) come before each positive: int64 (P,).

        positives: the columns of all rows' positives, row by row, the nearest first, equal ones by column. values: how
        far each is. counts: (b,), how many each row has.
        An equal item comes before if its column is lower, as in a stable sort.
        """
        places = np.zeros(len(positives), np.int64)
        counted = [np.empty(0, np.int64)]
        lanes = [np.empty((0, self._lanes), np.uint64)]
        end = 0
        with _small_buffers():
            for row, count in zip(rows, counts.tolist(), strict=True):
                start, end = end, end + count
                if count >= FEW:
                    start += self._sort_near(row, positives[start:end], values[start:end], places[start:end])
                for begin in range(start, end, len(self._flags)):
                    part = slice(begin, min(begin + len(self._flags), end))
                    order = positives[part].argsort()
                    counted.append(begin + order)
                    lanes.append(self._compare(row, positives[part][order], values[part][order]))
                    places[counted[-1]] = self._equal_between(row, positives[part][order], values[part][order])
        places[np.concatenate(counted)] += np.add.reduce(np.concatenate(lanes).view(np.uint8), axis=1, dtype=np.int64)
        return places

    def _sort_near(self, row: np.ndarray, positives: np.ndarray, values: np.ndarray, places: np.ndarray) -> int:
        """Where few items are as near as the positives, or as most of them, sort those; return how many it placed."""
        for placed in (len(positives), len(positives) - len(positives) // FAR):
            near = np.less_equal(row, values[placed - 1], out=self._near)
            if np.count_nonzero(near) * self._sorting > len(positives) * self._length:
                continue
            columns = near.nonzero()[0]
            columns = columns[row[columns].argsort(kind="stable")]
            self._marked[positives] = True
            places[:placed] = self._marked[columns].nonzero()[0][:placed]
            self._marked[positives] = False
            return placed
        return 0

    def _compare(self, row: np.ndarray, positives: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return sums, a byte each, of what comes before each positive: equal items count up to the first one only.

        positives: columns, rising. Returns uint64 (p, lanes).
        """
        first, value, flags = positives[0], values[:, None], self._flags[: len(positives)]
        np.less_equal(row[:first], value, out=flags[:, :first])
        np.less(row[first:], value, out=flags[:, first : self._length])
        return np.add.reduce(self._words[: len(positives)], axis=2)

    @staticmethod
    def _equal_between(row: np.ndarray, positives: np.ndarray, values: np.ndarray) -> np.ndarray | int:
        """Return how many equal items stand between the first positive and each: they come before it, too."""
        first, last = positives[0], positives[-1]
        equal = row[first:last] == values[:, None]
        if np.count_nonzero(equal) < len(positives):  # each but the last with itself
            return 0
        return (equal & (np.arange(first, last) < positives[:, None])).sum(axis=1)


@contextmanager
def _small_buffers() -> Iterator[None]:
    """Let NumPy compare rows shorter than its buffer of 8,192 items in place.

    Where the inner axis of a broadcast comparison is shorter than the buffer, NumPy copies both operands into buffers,
    although they need no cast: three times slower. Buffers much smaller than these slow the sums of flags down. The
    setting belongs to the calling thread.
    """
    size = np.setbufsize(BUFFER)
    try:
        yield
    finally:
        np.setbufsize(size)
