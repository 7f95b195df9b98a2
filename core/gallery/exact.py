"""The k nearest rows of a gallery, exactly: what a sort by similarities in float64 gives, equal ones by row.

Products in float32 find k and a few more; these are computed again in float64. What was left out has a similarity in
float32 of at most that of the last candidate, and a float32 product of D terms is off by at most D 2^-24 (Higham:
"Accuracy and Stability of Numerical Algorithms", section 3.1). So the answer proves itself, or more candidates
are taken.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from duoreid.core.gallery.halves import FEW, quick, scanned, widened
from duoreid.core.numeric.keys import NOTHING, bound, indices_of, merge, similarities_of, threshold_of
from duoreid.core.numeric.products import product
from duoreid.core.numeric.threads import each, workers

EXTRA = 16  # candidates beyond k at least
ENTRIES = 1 << 20  # of a product at a time
FEWEST, MOST = 1024, 1 << 15  # rows of a product
WIDENED = 1 << 17  # numbers of float16 that are made float32 at a time for a few queries: they stay in the cache
QUERIES = 256  # at a time
PARTS = 4  # for each thread, so that they end together
SMALL = 1 << 22  # numbers in the rows below which a second thread takes longer to start than to help

Allowed = Callable[[slice], "np.ndarray | None"]


def exact(
    rows: np.ndarray, queries: np.ndarray, k: int, allowed: Allowed | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return each query's k most similar rows: (int64 (Q, k), float64 (Q, k)), by falling similarity, then by row.

    rows: float16 or float32 (N, D) of unit length; they may be mapped from a file, and are read once for every 256
    queries. queries: float32 (Q, D) of unit length. allowed: a slice of rows -> which of them count, bool (n,) or
    (Q', n) for the queries at hand, None for all; it is called with a slice and must answer for queries in order. Where
    fewer than k rows count the rest is -1, at -inf. 1 <= k <= N.

    >>> rows = np.float32([[0, 1], [0.6, 0.8], [0.6, 0.8]])
    >>> indices, similarities = exact(rows, np.float32([[0.6, 0.8]]), 2)
    >>> indices.tolist(), similarities.round(6).tolist()
    ([[1, 2]], [[1.0, 1.0]])
    """
    indices, similarities = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf)
    for start in range(0, len(queries), QUERIES):
        block = slice(start, min(start + QUERIES, len(queries)))
        indices[block], similarities[block] = _block(rows, queries[block], k, _of(allowed, block))
    return indices, similarities


def _of(allowed: Allowed | None, queries: slice) -> Allowed | None:
    """Return `allowed` for some of the queries."""
    if allowed is None:
        return None

    def part(rows: slice) -> np.ndarray | None:
        mask = allowed(rows)
        return mask[queries] if mask is not None and mask.ndim == 2 else mask

    return part


def _block(rows: np.ndarray, queries: np.ndarray, k: int, allowed: Allowed | None) -> tuple[np.ndarray, np.ndarray]:
    count = len(rows)
    indices, similarities = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf)
    slack = 1.05 * rows.shape[1] * 2.0**-24  # unit lengths are only nearly 1
    left, taken = np.arange(len(queries)), min(count, k + max(EXTRA, k))
    while len(left):
        keys = _candidates(rows, queries[left], taken, _some(allowed, left))
        narrow = similarities_of(keys)
        names = indices_of(keys).astype(np.int64)
        real = np.isfinite(narrow)
        wide = np.where(real, _products(rows, queries[left], names), -np.inf)
        order = np.lexsort((names, -wide), axis=1)[:, :k]
        best = np.take_along_axis(wide, order, 1)
        indices[left] = np.where(np.isfinite(best), np.take_along_axis(names, order, 1), -1)
        similarities[left] = best
        proven = ~real[:, -1] | (best[:, -1] > narrow[:, -1] + slack) if taken < count else np.ones(len(left), bool)
        left, taken = left[~proven], min(count, 4 * taken)
    return indices, similarities


def _some(allowed: Allowed | None, left: np.ndarray) -> Allowed | None:
    if allowed is None:
        return None

    def part(rows: slice) -> np.ndarray | None:
        mask = allowed(rows)
        return mask[left] if mask is not None and mask.ndim == 2 else mask

    return part


def _products(rows: np.ndarray, queries: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Return the similarities of named rows in float64 (Q, n). Each is summed alone: equal rows come out equal."""
    similarities = np.empty(names.shape)
    for query, columns, out in zip(queries.astype(np.float64), names, similarities, strict=True):
        for start in range(0, len(columns), 4096):
            part = slice(start, start + 4096)
            out[part] = (rows[columns[part]].astype(np.float64) * query).sum(axis=1)
    return similarities


def _candidates(rows: np.ndarray, queries: np.ndarray, k: int, allowed: Allowed | None) -> np.ndarray:
    """Return the keys (Q, k) of the k largest float32 products (core/numeric/keys.py); -inf: rows that do not count."""
    count = len(rows)
    half, few = rows.dtype == np.float16, len(queries) <= FEW
    scan = half and few and rows.size >= SMALL and quick()
    width = int(np.clip(ENTRIES // len(queries), FEWEST, MOST))
    if half and not scan:
        width = max(1, WIDENED // rows.shape[1]) if few else FEWEST
    parts = 1 if rows.size < SMALL or workers() == 1 else min(PARTS * workers(), -(-count // width))
    edges = np.linspace(0, count, parts + 1).astype(np.int64)

    def part(number: int) -> np.ndarray:
        keys = np.full((len(queries), k), NOTHING)
        for start in range(int(edges[number]), int(edges[number + 1]), width):
            block = slice(start, min(start + width, int(edges[number + 1])))
            mask = allowed(block) if allowed else None
            if mask is not None and not mask.any():
                continue
            if scan:
                _scan(rows[block], queries, keys, start, mask)
                continue
            scores = _product(rows[block], queries)
            if mask is not None:
                scores = np.where(mask, scores, np.float32(-np.inf))
            lowest = threshold_of(keys, start)
            if lowest[0] == -np.inf:
                lowest = np.maximum(lowest, bound(scores, k))
            merge(keys, scores, lowest[:, None], start)
        return keys

    all_keys = [part(0)] if parts == 1 else each(part, range(parts))
    if len(all_keys) == 1:
        keys = all_keys[0]
    else:
        keys = np.concatenate(all_keys, axis=1)
        keys.partition(k - 1, axis=1)
        keys = np.sort(keys[:, :k], axis=1)
    return np.where(keys == NOTHING, _ABSENT, keys)


def _scan(rows: np.ndarray, queries: np.ndarray, keys: np.ndarray, start: int, mask: np.ndarray | None) -> None:
    """Merge a block of float16 rows into the keys (Q, k)."""
    for place, query in enumerate(queries):
        own = mask[place] if mask is not None and mask.ndim == 2 else mask
        pool = np.concatenate([keys[place], scanned(rows, query, keys.shape[1], start, own)])
        pool.sort()
        keys[place] = pool[: keys.shape[1]]


def _product(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the products float32 (Q, n), contiguous."""
    rows = widened(rows) if rows.dtype == np.float16 else rows
    if len(queries) == 1:
        return (rows @ queries[0])[None]
    return product(queries, rows.T)


_ABSENT = np.uint64(0xFF800000 << 32)  # the key of similarity -inf and index 0
