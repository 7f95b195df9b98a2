"""The first hits of a query in the order of k-reciprocal encoding (core/rerank.py)."""

from __future__ import annotations

import numpy as np

POOL = 100
"""Hits that are put in a new order."""


def reranked(query: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the order of hits (n, D) of a query (D,): int64 (n,), equal distances in the order they had.

    >>> reranked(np.float32([1, 0]), np.float32([[1, 0], [0, 1]])).tolist()
    [0, 1]
    """
    from duoreid.core.rerank import rerank  # here: it loads SciPy

    distances = rerank(query[None], np.asarray(rows, np.float32))[0]
    return np.argsort(distances, kind="stable")
