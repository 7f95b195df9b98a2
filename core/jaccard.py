"""Jaccard similarity of k-reciprocal encodings, sparse from end to end.

Zhong, Zheng, Cao, Li: "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017, section 3.3.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from core.distances import as_count, as_features
from core.neighbours import search
from core.reciprocal import encode, expanded_sets

ACCUMULATORS = 1 << 19  # sums held at a time: 4 MiB of float64, near the processor's caches
TERMS = 1 << 20  # terms of sums formed at a time
PAIRS = 512  # pairs of features gathered at a time


def jaccard_similarity(
    features: np.ndarray,
    *,
    k1: int = 30,
    k2: int = 6,
    radius: float | None = None,
    neighbours: tuple[np.ndarray, np.ndarray] | None = None,
) -> sparse.csr_array:
    """Return the Jaccard similarity of all points: symmetric float32 CSR (N, N), distance = 1 - similarity.

    features: L2-normalised float32 (N, D). k1: length of the rankings the reciprocal sets come from. k2: rows
    averaged by query expansion (1: none). radius: return only pairs at distance <= radius, all that DBSCAN with
    eps <= radius needs. Absent entries are at distance 1 (with a radius: further than it). With s the sum of the
    minima of two encodings, the similarity is s / (2 - s) (equation 10; each encoding sums to one).
    Numbers beyond N - 1 for k1 and N for k2 mean "all". neighbours: (indices, similarities), at least max(k1 + 1, k2)
    columns, to use instead of the exact search: from `core.approximate` where there are too many points for it.
    Raises ValueError for features that are not finite unit vectors, for k1, k2 or radius out of range, and for
    neighbours of another shape or that do not begin with the point itself.
    """
    features = as_features(features, "features", normalised=True)
    k1, k2 = as_count(k1, "k1"), as_count(k2, "k2")
    if radius is not None and not 0 <= radius <= 1:
        raise ValueError(f"radius must be a Jaccard distance in [0, 1] or None, but is {radius!r}")
    count = len(features)
    if count == 0:
        return sparse.csr_array((0, 0), dtype=np.float32)
    needed = min(max(k1 + 1, k2), count)
    if neighbours is None:
        indices, similarities, _ = search(features, needed)
    else:
        indices, similarities = _checked(*neighbours, count, needed)
    sets = expanded_sets(indices, k1)
    products = set_similarities(sets, features, indices, similarities)
    encoding = encode(sets, np.maximum(0, 2 - 2 * products.astype(np.float64)), indices, k2)
    return similarity_of(encoding, radius)


def _checked(indices: np.ndarray, similarities: np.ndarray, count: int, needed: int) -> tuple[np.ndarray, np.ndarray]:
    indices, similarities = np.asarray(indices), np.asarray(similarities, np.float32)
    if indices.shape != similarities.shape or indices.ndim != 2 or len(indices) != count or indices.shape[1] < needed:
        raise ValueError(
            f"neighbours must be two arrays of shape ({count}, {needed} or more), but have shapes {indices.shape} and "
            f"{similarities.shape}; search for max(k1 + 1, k2) neighbours of each point"
        )
    if (indices[:, 0] != np.arange(count)).any() or indices.min() < 0 or indices.max() >= count:
        raise ValueError(
            f"neighbours must be indices in 0..{count - 1} that begin with the point itself, as nearest() returns them"
        )
    return indices[:, :needed], similarities[:, :needed]


def similarity_of(encoding: sparse.csr_array, radius: float | None = None) -> sparse.csr_array:
    """Return s / (2 - s) for every pair of rows with s > 0, s the sum of the minima of the two rows.

    encoding: CSR (N, N) with sorted columns and rows that sum to one. radius: as in `jaccard_similarity`.
    """
    least = 0.0 if radius is None else 2 * (1 - radius) / (2 - radius) * (1 - 1e-6)  # before rounding to float32
    row, column, data = minimum_sums(encoding, least=least)
    data = data / (2 - data)
    data[row == column] = 1
    data = np.minimum(data, 1).astype(np.float32)
    if radius is not None:
        kept = 1 - data.astype(np.float64) <= radius
        row, column, data = row[kept], column[kept], data[kept]
    return _mirrored(row, column, data, encoding.shape[0])


def _mirrored(row: np.ndarray, column: np.ndarray, data: np.ndarray, count: int) -> sparse.csr_array:
    """Return the symmetric matrix whose upper triangle, diagonal included, is given by rising row and column."""
    upper = sparse.csr_array((data, column, np.searchsorted(row, np.arange(count + 1))), shape=(count, count))
    above = row != column
    starts = np.searchsorted(row[above], np.arange(count + 1))
    strict = sparse.csr_array((data[above], column[above], starts), shape=(count, count))
    full = sparse.csr_array(strict.T.tocsr() + upper)
    full.sort_indices()
    return full


def set_similarities(
    sets: sparse.csr_array, features: np.ndarray, indices: np.ndarray, similarities: np.ndarray
) -> np.ndarray:
    """Return the cosine similarity of every pair in `sets`: float32 (nnz,)."""
    count = len(features)
    row = np.repeat(np.arange(count), np.diff(sets.indptr))
    wanted = row * count + sets.indices
    known = (np.arange(count)[:, None] * count + indices).ravel()
    order = np.argsort(known)
    place = np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)
    products = similarities.ravel()[order[place]]
    missing = np.flatnonzero(known[order[place]] != wanted)
    for start in range(0, len(missing), PAIRS):
        part = missing[start : start + PAIRS]
        products[part] = np.einsum("ij,ij->i", features[row[part]], features[sets.indices[part]])
    return products


def minimum_sums(
    encoding: sparse.csr_array, *, rows: int | None = None, least: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (row, column, sum of minima) of every pair of rows, row <= column, that share a column.

    rows: only pairs whose row is below it. least: only sums that reach it. In order of row and column.
    For each entry of a block of rows, the entries of the same column from its own row on are its partners; their
    minima are summed in a dense strip of accumulators, one line per row of the block. The strip costs N^2 additions
    of zero in all: little beside the neighbour search.
    """
    count = encoding.shape[0]
    by_column = np.argsort(encoding.indices, kind="stable")
    place = np.empty(len(by_column), np.int64)
    place[by_column] = np.arange(len(by_column))
    row = np.repeat(np.arange(count), np.diff(encoding.indptr))
    partner, weight = row[by_column], encoding.data[by_column]
    ends = np.cumsum(np.bincount(encoding.indices, minlength=count))
    partners = ends[encoding.indices] - place
    found = []
    for start, stop in _blocks(encoding.indptr[: None if rows is None else rows + 1], partners, count):
        part = slice(encoding.indptr[start], encoding.indptr[stop])
        width = count - start  # no partner comes before the block
        length = partners[part]
        entry = np.repeat(place[part] - (np.cumsum(length) - length), length)
        entry += np.arange(len(entry))
        minima = np.minimum(weight[entry], np.repeat(encoding.data[part], length))
        key = partner[entry]
        key += np.repeat((row[part] - start) * width - start, length)
        sums = np.bincount(key, weights=minima, minlength=(stop - start) * width)
        key = np.flatnonzero(sums >= least if least > 0 else sums > 0)
        block_row, block_column = np.divmod(key, width)
        found.append((block_row + start, block_column + start, sums[key]))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def _blocks(indptr: np.ndarray, partners: np.ndarray, width: int) -> list[tuple[int, int]]:
    """Cut the rows so that a block holds about TERMS terms and ACCUMULATORS sums."""
    count = len(indptr) - 1
    total = np.concatenate([[0], np.cumsum(partners)])[indptr]
    blocks, start = [], 0
    while start < count:
        stop = int(np.searchsorted(total, total[start] + TERMS, side="right")) - 1
        stop = min(max(stop, start + 1), start + max(1, ACCUMULATORS // (width - start)), count)
        blocks.append((start, stop))
        start = stop
    return blocks
