"""The k-reciprocal encoding: which points count as a point's own, and with what weight.

Zhong, Zheng, Cao, Li: "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017, section 3.
Everything is sparse (CSR): memory grows with N k, never with N^2.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse


def expanded_sets(indices: np.ndarray, k1: int) -> sparse.csr_array:
    """Return each point's expanded k-reciprocal set (equations 2 to 5) as a boolean-like int32 pattern (N, N).

    indices: int (N, k1 + 1 or all of N), each point's ranking, itself first.
    Points are reciprocal when each is among the other's first k1 + 1. A member's own reciprocal set at
    round(k1 / 2) + 1 joins when more than 2/3 of it lies in the point's reciprocal set.
    """
    reciprocal = _reciprocal(indices[:, : k1 + 1])
    half = _reciprocal(indices[:, : round(k1 / 2) + 1])
    shared = (reciprocal @ half).multiply(reciprocal).tocoo()  # [i, j]: how much of j's half set lies in i's set
    joins = 3 * shared.data > 2 * np.diff(half.indptr)[shared.col]
    members = sparse.csr_array(
        (np.ones(joins.sum(), np.int32), (shared.row[joins], shared.col[joins])), shape=reciprocal.shape
    )
    sets = sparse.csr_array(reciprocal + members @ half)
    sets.sort_indices()
    sets.data[:] = 1
    return sets


def encode(sets: sparse.csr_array, squared_distances: np.ndarray, indices: np.ndarray, k2: int) -> sparse.csr_array:
    """Return the encoding of each point: a CSR row (N, N) in float64 that sums to one (equations 7 and 11).

    sets: the expanded sets. squared_distances: (nnz,), one per entry of `sets`. The weights are
    softmax(-squared distance) over a point's set; then each row becomes the mean of the rows of the point's first
    k2 neighbours (query expansion).
    """
    lengths = np.diff(sets.indptr)
    weights = np.exp(-np.asarray(squared_distances, np.float64))
    weights /= np.repeat(np.add.reduceat(weights, sets.indptr[:-1]), lengths)  # no set is empty: it holds its point
    encoding = sparse.csr_array((weights, sets.indices, sets.indptr), shape=sets.shape)
    if k2 == 1:
        return encoding
    encoding = sparse.csr_array(_pattern(indices[:, :k2], np.float64) @ encoding)
    encoding.sort_indices()
    encoding.data /= min(k2, indices.shape[1])
    return encoding


def _pattern(indices: np.ndarray, dtype: type = np.int32) -> sparse.csr_array:
    """Return the matrix with a one wherever a point has a neighbour; its columns are left in ranking order."""
    count, k = indices.shape
    starts = np.arange(0, count * k + 1, k)
    return sparse.csr_array((np.ones(count * k, dtype), indices.ravel(), starts), shape=(count, count))


def _reciprocal(indices: np.ndarray) -> sparse.csr_array:
    pattern = _pattern(indices)
    pattern.sort_indices()
    return sparse.csr_array(pattern.multiply(pattern.T.tocsr()))
