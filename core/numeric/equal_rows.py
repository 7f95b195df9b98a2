"""Points whose rows are equal, and a graph of similarities that keeps one row for those that it cannot tell apart.

Where many rows are equal, all their pairs are similar: as many entries as pairs. One row and one column for all of them
say the same in the memory of one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from duoreid.core.numeric.inputs import row_blocks

LOOKED_AT = 4  # columns that are compared first: ordinary rows differ in them already


class Graph(NamedTuple):
    """Similarities of N points, of which those of one class have the same to everybody.

    similarity: symmetric float32 CSR (C, C). On its diagonal stands the similarity of two different points of a class;
    a point has 1 to itself. classes: int (N,), the class of each point, numbered by their first points.
    """

    similarity: sparse.csr_array
    classes: np.ndarray

    def sizes(self) -> np.ndarray:
        """Return how many points each class has: int (C,)."""
        return np.bincount(self.classes, minlength=self.similarity.shape[0])

    def expanded(self) -> sparse.csr_array:
        """Return the similarities of all points: symmetric float32 CSR (N, N) with a diagonal of ones.

        Points 0 and 2 are of one class:

        >>> similarity = sparse.csr_array(np.array([[0.5, 0.2], [0.2, 1]], np.float32))
        >>> Graph(similarity, np.array([0, 1, 0])).expanded().toarray().round(1).tolist() == np.float32(
        ...     [[1, 0.2, 0.5], [0.2, 1, 0.2], [0.5, 0.2, 1]]).tolist()
        True
        """
        count = len(self.classes)
        if count == self.similarity.shape[0]:
            return self.similarity
        ones = np.ones(count, np.float32)
        member = sparse.csr_array((ones, self.classes, np.arange(count + 1)), shape=(count, self.similarity.shape[0]))
        similarities = sparse.csr_array(member @ self.similarity @ member.T.tocsr())
        kept = similarities.indices != np.repeat(np.arange(count), np.diff(similarities.indptr))
        ends = np.concatenate([[0], np.cumsum(kept)])[similarities.indptr]
        others = sparse.csr_array((similarities.data[kept], similarities.indices[kept], ends), shape=similarities.shape)
        full = sparse.csr_array(others + sparse.dia_array((ones[None], [0]), shape=similarities.shape))
        full.sort_indices()
        return full


def equal_rows(rows: np.ndarray, more_than: int) -> list[np.ndarray]:
    """Return the groups, each of rising indices, of more than so many rows (N, D) float32 that are equal bit by bit.

    >>> equal_rows(np.float32([[1, 0], [0, 1], [1, 0], [1, 0]]), 2)
    [array([0, 2, 3])]
    """
    columns = np.unique(np.linspace(0, rows.shape[1] - 1, LOOKED_AT).astype(np.int64))
    groups = []
    for some in _groups(_hashes(rows[:, columns]), more_than):
        for group in _groups(_hashes(rows[some]), more_than):
            group = some[group]
            equal = group[(rows[group] == rows[group[0]]).all(axis=1)]
            if len(equal) > more_than:
                groups.append(equal)
    return groups


def _groups(keys: np.ndarray, more_than: int) -> list[np.ndarray]:
    """Return the indices of equal keys (N,), rising, where they are more than so many."""
    order = np.argsort(keys, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(keys[order])) + 1)
    return [group for group in groups if len(group) > more_than]


def _hashes(rows: np.ndarray) -> np.ndarray:
    """Return a number for each row float32 (N, D) that differs where rows differ, nearly always: uint64 (N,)."""
    hashes = np.empty(len(rows), np.uint64)
    factors = _scattered(np.arange(rows.shape[1], dtype=np.uint64))
    for block in row_blocks(len(rows), rows.shape[1], entries=1 << 20, fewest=1):
        bits = np.ascontiguousarray(rows[block]).view(np.uint32).astype(np.uint64)
        hashes[block] = (_scattered(bits) * factors).sum(axis=1, dtype=np.uint64)
    return hashes


def _scattered(numbers: np.ndarray) -> np.ndarray:
    """Return odd numbers uint64 in which neighbours differ in all bits (the finaliser of MurmurHash3)."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        numbers = (numbers ^ (numbers >> np.uint64(33))) * np.uint64(factor)
    return (numbers ^ (numbers >> np.uint64(33))) | np.uint64(1)


def classes_of(encoding: sparse.csr_array, groups: list[np.ndarray]) -> tuple[np.ndarray, sparse.csr_array]:
    """Return (the class of each point int (N,), the encoding of each class CSR (C, N)).

    encoding: CSR (N, N). groups: points that may be of one class. They are where their rows are equal in all columns
    that more than one row has: no other column adds to the sum of minima of two rows. From the row of a class of
    several points the other columns are left out, so that its sum of minima with itself is that of two of them.
    """
    count = encoding.shape[0]
    shared = np.bincount(encoding.indices, minlength=encoding.shape[1])[encoding.indices] > 1
    first = np.arange(count)  # the first point of each one's class
    kept = np.ones(len(shared), bool)
    for group in groups:
        seen: dict[tuple[bytes, bytes], int] = {}
        for point in group.tolist():
            row = slice(encoding.indptr[point], encoding.indptr[point + 1])
            part = shared[row]
            key = encoding.indices[row][part].tobytes(), encoding.data[row][part].tobytes()
            first[point] = seen.setdefault(key, point)
            if first[point] != point:
                place = slice(encoding.indptr[first[point]], encoding.indptr[first[point] + 1])
                kept[place] = shared[place]
    points, classes = np.unique(first, return_inverse=True)
    ends = np.concatenate([[0], np.cumsum(kept)])[encoding.indptr]
    left = sparse.csr_array((encoding.data[kept], encoding.indices[kept], ends), shape=encoding.shape)
    return classes.ravel(), left[points]
