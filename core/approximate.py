"""Approximate nearest neighbours for more points than the exact search has time for.

An inverted file of k-means cells (Jegou, Douze, Schmid: "Product Quantization for Nearest Neighbor Search", 2011,
section 4) for the case that every point is a query. A point visits the cells whose centroids are nearly as similar to
it as its own cell's; how nearly, a sample decides whose neighbours are known. All visitors of a cell and its members
are multiplied at once, and each product serves both sides: a neighbour is missed only where neither point visits the
other's cell.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from threading import Lock

import numpy as np

from duoreid.core.neighbours import search
from duoreid.core.numeric.cells import Cells, Visits
from duoreid.core.numeric.inputs import as_count, as_features
from duoreid.core.numeric.keys import NOTHING, bound, insert, limit, opened, passing, threshold_of
from duoreid.core.numeric.products import product
from duoreid.core.numeric.sharing import ALONE, Processes, extreme, merged_keys, share
from duoreid.core.numeric.threads import each

EXACT_UP_TO = 50_000  # points whose exact search takes less than a minute on two cores: results stay exact
RECALL = 0.98
SAMPLED = 500  # points whose exact neighbours decide how much is searched, and as many others on which it is measured
COLUMNS = 1 << 15  # points that the sample is multiplied with at a time
ROWS = 2048  # points of a product at most
DEAR = 0.3  # share of all pairs beyond which the exact search, which computes half of them, is as fast


class ApproximateWarning(UserWarning):
    """Neighbours were searched approximately because there are many points; the text says with what recall."""


@dataclass(frozen=True)
class Neighbours:
    """Neighbours of N points, as `core.neighbours.search` gives them, and how many of the true ones they are.

    indices: int32 (N, k). similarities: float32 (N, k). lowest: float32 (N,), None where not asked for. recall: share
    of the true neighbours that were found, measured on 500 points that decided nothing; 1 for an exact search. visited:
    share of all pairs that were multiplied.
    """

    indices: np.ndarray
    similarities: np.ndarray
    lowest: np.ndarray | None
    recall: float
    visited: float


def nearest_approximate(
    features: np.ndarray, k: int, *, recall: float = RECALL, cells: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Do what `core.neighbours.nearest` does, but miss some neighbours: (int32 (N, k), float32 (N, k)).

    features: L2-normalised float32 (N, D). recall: the share of neighbours to find; how much work that takes follows
    from a sample. cells: of the inverted file, some sqrt(N) by default. Similarities are those of float32 products.
    Hand the result to `core.jaccard.jaccard_similarity(features, neighbours=...)`; `benchmarks.growth` measures time
    and recall. Raises ValueError as `nearest` does, and for recall or cells out of range.

    Where every neighbour is asked for nothing is missed:

    >>> indices, similarities = nearest_approximate([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], 2, recall=1.0)
    >>> indices.tolist()
    [[0, 1], [1, 0], [2, 1]]
    """
    features = as_features(features, "features", normalised=True)
    k = as_count(k, "k")
    if k > len(features):
        raise ValueError(f"k must be at most the number of points, but k is {k} and features has {features.shape}")
    if not 0 < recall <= 1:
        raise ValueError(f"recall must lie in (0, 1], but is {recall!r}")
    neighbours = search_approximate(
        features, k, recall=recall, cells=None if cells is None else as_count(cells, "cells")
    )
    return neighbours.indices, neighbours.similarities


def search_by_size(features: np.ndarray, k: int, *, lowest: bool = False, processes: Processes = ALONE) -> Neighbours:
    """Search the neighbours of checked features (N, D): exactly up to EXACT_UP_TO points, approximately beyond.

    The first process says so by an ApproximateWarning with the recall.
    """
    if len(features) <= EXACT_UP_TO:
        return Neighbours(*search(features, k, lowest=lowest, processes=processes), recall=1.0, visited=0.5)
    neighbours = search_approximate(features, k, lowest=lowest, processes=processes)
    if neighbours.recall < 1 and processes.index == 0:
        warnings.warn(
            f"{len(features)} points are many: of their {k} neighbours an approximate search found "
            f"{neighbours.recall:.1%}, as seen on {SAMPLED} points. For all of them pass neighbours="
            f"core.neighbours.search(features, {k}, lowest=True); its time grows with the square of the points.",
            ApproximateWarning,
            stacklevel=3,
        )
    return neighbours


def search_approximate(
    features: np.ndarray,
    k: int,
    *,
    recall: float = RECALL,
    cells: int | None = None,
    lowest: bool = False,
    processes: Processes = ALONE,
) -> Neighbours:
    """Do what `nearest_approximate` does on features that were checked; `lowest` adds each point's lowest similarity.

    That is the lowest to the sample and to the points of the cell that is farthest from it. Where the recall would
    cost as much as the exact search, that one is taken. processes: each compares the members and visitors of some
    cells, and all return the same.
    """
    count = len(features)
    sample = np.linspace(0, count - 1, min(count, 2 * SAMPLED)).astype(np.int64)
    least = np.empty(count, np.float32) if lowest else None
    true = opened(_exact(features, sample, k, least), np.ones(len(sample), np.float32))[0]
    inverted = Cells(features, cells)
    margin = inverted.margin(sample[::2], true[::2], recall)
    if recall == 1 or inverted.share(margin, sample[::2]) > DEAR:
        return Neighbours(*search(features, k, lowest=lowest, processes=processes), recall=1.0, visited=0.5)
    visits = inverted.visits(margin)
    keys = np.full((count, k), NOTHING)
    own = np.full(count, -np.inf, np.float32)
    mine = share(range(visits.cells), processes)
    _within(features, visits, mine, keys, own)
    _across(features, visits, mine, keys)
    keys = merged_keys(keys, processes)
    _complete(features, keys)
    indices, similarities = opened(keys, extreme(own, processes, largest=True))
    # a margin that was fitted to points finds more of their neighbours than of others'
    hits = [len(np.intersect1d(*rows)) for rows in zip(indices[sample[1::2]], true[1::2], strict=True)]
    if lowest:
        _lower(least, features, visits, mine)
        least = extreme(least, processes, largest=False)
    return Neighbours(indices, similarities, least, float(np.mean(hits) / k), visits.share())


def _exact(features: np.ndarray, sample: np.ndarray, k: int, least: np.ndarray | None = None) -> np.ndarray:
    """Return the keys of the true neighbours of a sample: (m, k), each point's own first.

    least: (N,), becomes each point's lowest similarity to the sample.
    """
    rows, keys, lock = features[sample], np.full((len(sample), k), NOTHING), Lock()

    def look(start: int) -> None:
        scores = product(rows, features[start : start + COLUMNS].T)
        if least is not None:
            least[start : start + COLUMNS] = scores.min(axis=0)
        inside = np.flatnonzero((sample >= start) & (sample < start + COLUMNS))
        scores[inside, sample[inside] - start] = np.inf
        with lock:
            threshold = np.maximum(bound(scores, k), threshold_of(keys, start))
            row, column, values = passing(scores, threshold[:, None])
            insert(keys, row, column + start, values)

    each(look, range(0, len(features), COLUMNS))
    return keys


def _within(features: np.ndarray, visits: Visits, cells: Sequence[int], keys: np.ndarray, own: np.ndarray) -> None:
    """Compare the members of each of some cells with each other."""
    k = keys.shape[1]

    def compare(cell: int) -> None:
        members = visits.members(cell)
        pieces = [slice(start, start + ROWS) for start in range(0, len(members), ROWS)]
        mine = np.full((len(members), k), NOTHING)
        points = features[members]
        for one, other in combinations_with_replacement(pieces, 2):
            scores = product(points[one], points[other].T)
            if one is other:
                own[members[one]] = scores.diagonal()
                np.fill_diagonal(scores, np.inf)
                threshold = np.maximum(bound(scores, k), threshold_of(mine[one], 0))
                row, column, values = passing(scores, threshold[:, None])
                insert(mine[one], row, members[one][column], values)
                continue
            row, column, values = passing(scores, threshold_of(mine[one], 0)[:, None])
            insert(mine[one], row, members[other][column], values)
            row, column, values = passing(scores, threshold_of(mine[other], 0))
            insert(mine[other], row, members[one][column], values)
        keys[members] = mine

    each(compare, cells)


def _across(features: np.ndarray, visits: Visits, cells: Sequence[int], keys: np.ndarray) -> None:
    """Compare the visitors of each of some cells with its members; both keep what they find.

    A member that visits the visitor's own cell meets it there, and not a second time here. Thresholds may be read while
    another thread improves them: an older one only lets more candidates through.
    """
    lock = Lock()

    def keep(rows: np.ndarray, row: np.ndarray, indices: np.ndarray, values: np.ndarray) -> None:
        if len(row):
            first = np.flatnonzero(np.diff(row, prepend=-1))
            line = np.repeat(np.arange(len(first)), np.diff(first, append=len(row)))
            touched = rows[row[first]]
            with lock:
                mine = keys[touched]
                insert(mine, line, indices, values)
                keys[touched] = mine

    def compare(job: tuple[int, int]) -> None:
        cell, start = job
        visitors = visits.visitors(cell)[start : start + ROWS]
        theirs = features[visitors]
        for begin in range(0, len(visits.members(cell)), ROWS):
            members = visits.members(cell)[begin : begin + ROWS]
            scores = product(theirs, features[members].T)
            row, column, values = passing(scores, limit(keys[visitors], scores, 0)[:, None])
            keep(visitors, row, members[column], values)
            row, column, values = passing(scores, limit(keys[members], scores.T, 0))
            once = ~visits.of(members)[row, visits.labels[visitors[column]]]
            keep(members, row[once], visitors[column[once]], values[once])

    jobs = [(cell, start) for cell in cells for start in range(0, len(visits.visitors(cell)), ROWS)]
    each(compare, jobs)


def _complete(features: np.ndarray, keys: np.ndarray) -> None:
    """Compare points that met fewer than k others with all."""
    short = np.flatnonzero(keys[:, -1] == NOTHING)
    for start in range(0, len(short), ROWS):
        part = short[start : start + ROWS]
        keys[part] = _exact(features, part, keys.shape[1])


def _lower(least: np.ndarray, features: np.ndarray, visits: Visits, cells: Sequence[int]) -> None:
    """Lower what each point has (N,) to its similarity to those of the cell that is farthest from it, if of `cells`."""
    order = np.argsort(visits.farthest, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(visits.farthest, minlength=visits.cells))]).tolist()
    jobs = [
        (cell, start, min(start + ROWS, ends[cell + 1]))
        for cell in cells
        for start in range(ends[cell], ends[cell + 1], ROWS)
    ]

    def compare(job: tuple[int, int, int]) -> None:
        cell, start, stop = job
        members, points = visits.members(cell), features[order[start:stop]]
        parts = [members[begin : begin + ROWS] for begin in range(0, len(members), ROWS)]
        minima = [product(points, features[part].T).min(axis=1) for part in parts]
        least[order[start:stop]] = np.minimum.reduce([least[order[start:stop]], *minima])

    each(compare, jobs)
