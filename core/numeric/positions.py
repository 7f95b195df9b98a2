"""Where a row's positives stand, without sorting the row: a rank is a count of what comes before."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

WORD = 8  # flags of one byte that are added at a time, as one uint64
WORDS = 255  # words whose bytes can be added before one could overflow
SCRATCH = 1 << 19  # bytes of flags held at a time: they stay in the processor's second cache
BUFFER = 512  # items; see _small_buffers
SORT_FROM = 32  # counting beats sorting up to about this many positives per bit of the row's length


class Positions:
    """Counts what stands ahead of positives in rows of one length. Each thread needs its own."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._lanes = max(1, -(-length // (WORD * WORDS)))  # words that hold the sums of one row
        padded = self._lanes * WORD * WORDS
        self._flags = np.zeros((max(1, SCRATCH // padded), padded), bool)  # the padding stays False
        self._words = self._flags.view(np.uint64).reshape(len(self._flags), self._lanes, WORDS)
        self._most = SORT_FROM * math.log2(length + 2)

    def ahead(self, rows: np.ndarray, positives: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return how many items of its row of (b, G) come before each positive: int64 (P,).

        positives: the columns of all rows' positives, row by row, rising in each. counts: (b,), how many each row has.
        An equal item comes before if its column is lower, as in a stable sort.
        """
        lanes = np.zeros((len(positives), self._lanes), np.uint64)
        extra = np.zeros(len(positives), np.int64)
        end = 0
        with _small_buffers():
            for row, count in enumerate(counts.tolist()):
                start, end = end, end + count
                if count > self._most:
                    place = np.empty(self._length, np.int64)
                    place[np.argsort(rows[row], kind="stable")] = np.arange(self._length)
                    extra[start:end] = place[positives[start:end]]
                    continue
                for begin in range(start, end, len(self._flags)):
                    part = slice(begin, min(begin + len(self._flags), end))
                    self._count(rows[row], positives[part], lanes[part], extra[part])
        return lanes.view(np.uint8).astype(np.int64).sum(axis=1) + extra

    def _count(self, row: np.ndarray, positives: np.ndarray, lanes: np.ndarray, extra: np.ndarray) -> None:
        """Up to the first positive equal items count, from there on they do not; then those between are extra."""
        first, last, value = positives[0], positives[-1], row[positives][:, None]
        flags = self._flags[: len(positives)]
        np.less_equal(row[:first], value, out=flags[:, :first])
        np.less(row[first:], value, out=flags[:, first : self._length])
        np.add.reduce(self._words[: len(positives)], axis=2, out=lanes)
        equal = row[first:last] == value
        if np.count_nonzero(equal) >= len(positives):  # more than each but the last with itself
            extra += (equal & (np.arange(first, last) < positives[:, None])).sum(axis=1)


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
