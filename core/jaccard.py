"""Jaccard similarity of k-reciprocal encodings, sparse from end to end.

Zhong, Zheng, Cao, Li: "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017, section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from duoreid.core.approximate import search_by_size
from duoreid.core.numeric.equal_rows import Graph, classes_of, equal_rows
from duoreid.core.numeric.inputs import as_count, as_features
from duoreid.core.numeric.reciprocal import encode, expanded_sets
from duoreid.core.numeric.sharing import ALONE, Processes, exchange, packed, share, unpacked
from duoreid.core.numeric.threads import each

TERMS = 1 << 19  # terms of sums formed at a time by each thread, at least
WORKSPACE = 4  # terms for each point, at least: a sparse product begins with clearing sums of all points
PAIRS = 512  # pairs of features gathered at a time


def jaccard_similarity(
    features: np.ndarray,
    *,
    k1: int = 30,
    k2: int = 6,
    scale: str | None = None,
    radius: float | None = None,
    neighbours: tuple[np.ndarray, ...] | None = None,
) -> sparse.csr_array:
    """Return the Jaccard similarity of all points: symmetric float32 CSR (N, N), distance = 1 - similarity.

    features: L2-normalised float32 (N, D). k1: length of the rankings the reciprocal sets come from. k2: rows
    averaged by query expansion (1: none). scale: how the weights of an encoding fall with the squared distance d^2
    (equation 7). None: exp(-d^2), as OpenUnReID and SpCL have it. "farthest": exp(-d^2 / m), m the largest d^2 from
    the point to any other, as in the re-ranking code of Zhong et al. and in MMT's. radius: return only pairs at
    distance <= radius, all that DBSCAN with eps <= radius needs. Absent entries are at distance 1 (with a radius:
    further than it). With s the sum of the minima of two encodings, the similarity is s / (2 - s) (equation 10; each
    encoding sums to one). Numbers beyond N - 1 for k1 and N for k2 mean "all".
    neighbours: (indices, similarities), at least max(k1 + 1, k2) columns, to use instead of a search of its own, which
    is exact up to 50,000 points and approximate beyond: then a warning tells its recall. With scale "farthest" also
    (N,), each point's lowest similarity to any other, as `core.neighbours.search(features, k, lowest=True)` returns
    all three.
    Raises ValueError for features that are not finite unit vectors, for k1, k2, scale or radius out of range, and for
    neighbours of another shape or that do not begin with the point itself.

    Each of two pairs of twins has its twin as its one neighbour, and shares nobody with the other pair:

    >>> twins = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> jaccard_similarity(twins, k1=1, k2=1).toarray().tolist()
    [[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]
    """
    return jaccard_graph(features, k1=k1, k2=k2, scale=scale, radius=radius, neighbours=neighbours).expanded()


def jaccard_graph(
    features: np.ndarray,
    *,
    k1: int = 30,
    k2: int = 6,
    scale: str | None = None,
    radius: float | None = None,
    neighbours: tuple[np.ndarray, ...] | None = None,
    processes: Processes = ALONE,
) -> Graph:
    """Do what `jaccard_similarity` does, but keep one row for equal points that it cannot tell apart.

    Query expansion makes all points of more than k1 + 1 equal ones similar to each other, as many pairs as their number
    squared. This takes the memory of the other points' pairs. `dbscan` and `eps_from_share` take the graph.
    processes: of a job, all of which call this with the same; they share the search and the sums of minima, and all
    return the same graph.

    All four points have the first two as their neighbours, and the last two nobody else:

    >>> graph = jaccard_graph(np.array([[1.0, 0.0]] * 4), k1=1, k2=2)
    >>> graph.classes.tolist(), graph.similarity.shape
    ([0, 0, 1, 1], (2, 2))
    >>> bool((graph.expanded() != jaccard_similarity([[1.0, 0.0]] * 4, k1=1, k2=2)).nnz)
    False
    """
    features = as_features(features, "features", normalised=True)
    k1, k2 = as_count(k1, "k1"), as_count(k2, "k2")
    if scale not in (None, "farthest"):
        raise ValueError(f"scale must be None (weights exp(-d^2)) or 'farthest' (exp(-d^2 / max d^2)), is {scale!r}")
    if radius is not None and not 0 <= radius <= 1:
        raise ValueError(f"radius must be a Jaccard distance in [0, 1] or None, but is {radius!r}")
    count = len(features)
    if count == 0:
        return Graph(sparse.csr_array((0, 0), dtype=np.float32), np.zeros(0, np.int64))
    needed, divided = min(max(k1 + 1, k2), count), scale == "farthest"
    if neighbours is None:
        searched = search_by_size(features, needed, lowest=divided, processes=processes)
        neighbours = searched.indices, searched.similarities, searched.lowest
    else:
        neighbours = _checked(neighbours, count, needed, lowest=divided)

    def encoded() -> tuple[np.ndarray, sparse.csr_array]:
        encoding = encoding_of(features, *neighbours[:2], neighbours[2] if divided else None, k1, k2)
        groups = equal_rows(features, k1 + 1)  # fewer make no more pairs than k1 for each point
        return classes_of(encoding, groups) if groups else (np.arange(count), encoding)

    classes, encoding = encoded() if processes.size == 1 else _of_the_first(processes, encoded)
    return Graph(similarity_of(encoding, radius, np.bincount(classes) > 1, processes), classes)


def _of_the_first(
    processes: Processes, make: Callable[[], tuple[np.ndarray, sparse.csr_array]]
) -> tuple[np.ndarray, sparse.csr_array]:
    """Return what the first process makes: weights that were rounded otherwise would make another graph."""
    content = b""
    if processes.index == 0:
        classes, matrix = make()
        content = packed([classes, np.array(matrix.shape), matrix.data, matrix.indices, matrix.indptr])
    classes, shape, *parts = unpacked(exchange(content, processes)[0])
    return classes, sparse.csr_array(tuple(parts), shape=tuple(shape.tolist()))


def _checked(neighbours: tuple[np.ndarray, ...], count: int, needed: int, *, lowest: bool) -> tuple[np.ndarray, ...]:
    indices, similarities = np.asarray(neighbours[0]), np.asarray(neighbours[1], np.float32)
    if indices.shape != similarities.shape or indices.ndim != 2 or len(indices) != count or indices.shape[1] < needed:
        raise ValueError(
            f"neighbours must be two arrays of shape ({count}, {needed} or more), but have shapes {indices.shape} and "
            f"{similarities.shape}; search for max(k1 + 1, k2) neighbours of each point"
        )
    if (indices[:, 0] != np.arange(count)).any() or indices.min() < 0 or indices.max() >= count:
        raise ValueError(
            f"neighbours must be indices in 0..{count - 1} that begin with the point itself, as nearest() returns them"
        )
    if lowest and (len(neighbours) < 3 or np.shape(neighbours[2]) != (count,)):
        raise ValueError(
            f"scale 'farthest' divides by each point's distance to the farthest: give its lowest similarity ({count},) "
            "as the third of neighbours, as core.neighbours.search(features, k, lowest=True) returns it"
        )
    return indices[:, :needed], similarities[:, :needed], *neighbours[2:]


def encoding_of(
    features: np.ndarray,
    indices: np.ndarray,
    similarities: np.ndarray,
    lowest: np.ndarray | None,
    k1: int,
    k2: int,
) -> sparse.csr_array:
    """Return the k-reciprocal encodings, float64 CSR (N, N), of points with their neighbours (N, max(k1 + 1, k2)).

    lowest: (N,), each point's lowest similarity to any other, by whose distance the others are divided; None: as they
    are.
    """
    sets = expanded_sets(indices, k1)
    squared = np.maximum(0, 2 - 2 * set_similarities(sets, features, indices, similarities).astype(np.float64))
    if lowest is not None:
        squared /= np.repeat(farthest(lowest), np.diff(sets.indptr))
    return encode(sets, squared, indices, k2)


def farthest(lowest: np.ndarray) -> np.ndarray:
    """Return the squared distances, float64 and above 0, that belong to the lowest similarities (N,)."""
    return np.maximum(2 - 2 * np.asarray(lowest, np.float64), np.finfo(np.float32).tiny)


def similarity_of(
    encoding: sparse.csr_array,
    radius: float | None = None,
    several: np.ndarray | None = None,
    processes: Processes = ALONE,
) -> sparse.csr_array:
    """Return s / (2 - s) for every pair of rows with s > 0, s the sum of the minima of the two rows.

    encoding: CSR (C, N) with sorted columns. radius: as in `jaccard_similarity`. several: bool (C,), rows that stand
    for several points: their diagonal is s / (2 - s) as well. The others sum to one, and their diagonal is exactly one.
    processes: they share the sums.
    """
    upper = upper_similarity(encoding, radius=radius, processes=processes)
    row = np.flatnonzero(np.diff(upper.indptr))
    first = upper.indptr[row]  # where a row begins on the diagonal, which the sum below doubles
    first, row = first[upper.indices[first] == row], row[upper.indices[first] == row]
    upper.data[first] = 0.5 if several is None else np.where(several[row], upper.data[first] / 2, np.float32(0.5))
    full = sparse.csr_array(upper.T.tocsr() + upper)
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


def upper_similarity(
    encoding: sparse.csr_array,
    *,
    rows: int | None = None,
    radius: float | None = None,
    processes: Processes = ALONE,
) -> sparse.csr_array:
    """Return the upper triangle, diagonal included, of the Jaccard similarity of N rows: float32 CSR (rows or N, N).

    For each entry of a row, the entries of the same column from its own row on are its partners. Their minima are the
    rows of a sparse matrix, one for each entry; a product with a matrix of ones adds up those of each row of the
    encoding, in the order of its columns. Time grows with the number of minima, memory with that of the pairs kept.
    """
    count = encoding.shape[0]
    rows = count if rows is None else rows
    by_column = np.argsort(encoding.indices, kind="stable")
    place = np.empty(len(by_column), np.int64)
    place[by_column] = np.arange(len(by_column))
    row = np.repeat(np.arange(count, dtype=np.int32), np.diff(encoding.indptr))
    partner, weight = row[by_column], encoding.data[by_column]
    partners = np.cumsum(np.bincount(encoding.indices, minlength=count))[encoding.indices] - place

    def part_of(block: tuple[int, int]) -> sparse.csr_array:
        start, stop = block
        part = slice(encoding.indptr[start], encoding.indptr[stop])
        length = partners[part]
        ends = np.cumsum(length)
        entry = np.repeat(place[part] - (ends - length), length)
        entry += np.arange(len(entry))
        minima = weight[entry]
        np.minimum(minima, np.repeat(encoding.data[part], length), out=minima)
        terms = sparse.csr_array((minima, partner[entry], np.concatenate([[0], ends])), shape=(len(length), count))
        entries = np.arange(len(length)), encoding.indptr[start : stop + 1] - part.start
        sums = sparse.csr_array((np.ones(len(length)), *entries), shape=(stop - start, len(length))) @ terms
        kept, values = _pairs(sums.data, radius)
        indptr = np.searchsorted(kept, sums.indptr)
        return sparse.csr_array((values, sums.indices[kept], indptr), shape=sums.shape).sorted_indices()

    blocks = _blocks(encoding.indptr[: rows + 1], partners, max(TERMS, WORKSPACE * count))
    parts = _all_parts(each(part_of, share(blocks, processes)), len(blocks), count, processes)
    indptr = np.cumsum(np.concatenate([[0], *(np.diff(part.indptr) for part in parts)]))
    if indptr[-1] < 2**30:  # twice as many entries still fit 32-bit indices
        indptr = indptr.astype(np.int32)
    values = np.concatenate([np.zeros(0, np.float32), *(part.data for part in parts)])
    columns = np.concatenate([np.zeros(0, np.int32), *(part.indices.astype(np.int32, copy=False) for part in parts)])
    return sparse.csr_array((values, columns, indptr), shape=(rows, count))


def _all_parts(mine: list[sparse.csr_array], count: int, columns: int, processes: Processes) -> list[sparse.csr_array]:
    """Return all blocks of rows in order, of which each process has made every so-manieth."""
    if processes.size == 1:
        return mine
    content = packed([array for part in mine for array in (part.data, part.indices, part.indptr)])
    parts: list[sparse.csr_array | None] = [None] * count
    for index, theirs in enumerate(exchange(content, processes)):
        arrays = unpacked(theirs)
        for place, start in zip(range(index, count, processes.size), range(0, len(arrays), 3), strict=True):
            data, indices, indptr = arrays[start : start + 3]
            parts[place] = sparse.csr_array((data, indices, indptr), shape=(len(indptr) - 1, columns))
    return parts


def _pairs(sums: np.ndarray, radius: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Return where sums of minima are to be kept, and their similarities in float32."""
    least = 0.0 if radius is None else 2 * (1 - radius) / (2 - radius) * (1 - 1e-6)  # before rounding to float32
    place = np.flatnonzero(sums >= least if least > 0 else sums > 0)
    sums = sums[place]
    similarity = np.minimum(sums / (2 - sums), 1).astype(np.float32)
    if radius is None:
        return place, similarity
    kept = 1 - similarity.astype(np.float64) <= radius
    return place[kept], similarity[kept]


def _blocks(indptr: np.ndarray, partners: np.ndarray, terms: int) -> list[tuple[int, int]]:
    """Cut the rows so that a block holds about so many terms."""
    count = len(indptr) - 1
    total = np.concatenate([[0], np.cumsum(partners)])[indptr]
    blocks, start = [], 0
    while start < count:
        stop = int(np.searchsorted(total, total[start] + terms, side="right")) - 1
        stop = min(max(stop, start + 1), count)
        blocks.append((start, stop))
        start = stop
    return blocks
