"""mAP, CMC and mINP without sorting a gallery.

A query's scores need only the ranks of its few positives, and a rank is a count: how many gallery items are nearer,
and how many are as near but come first. Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015
(mAP, CMC); Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook", 2021 (mINP).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from duoreid.core.numeric.inputs import as_count, as_features, row_blocks, squared_norms
from duoreid.core.numeric.matches import Matches
from duoreid.core.numeric.positions import Positions
from duoreid.core.numeric.products import product
from duoreid.core.numeric.threads import workers

SHORT = 1 << 15  # items of a row; NumPy's calls on shorter ones are so brief that two threads wait for each other
UNIT = 1e-5  # squared norms this near to one leave cosine distances as they are


@dataclass(frozen=True)
class Ranking:
    """Scores of one search.

    mean_ap: mean average precision. cmc: float64 (max_rank,), the share of valid queries whose first match is
    among the first 1, 2, ... kept gallery items. mean_inp: mean inverse negative penalty, positives / rank of the
    last. valid_queries: queries with at least one match. average_precision: float64 (Q,), NaN without a match.
    The means are NaN when no query is valid.
    """

    mean_ap: float
    cmc: np.ndarray
    mean_inp: float
    valid_queries: int
    average_precision: np.ndarray


def rank(
    query: np.ndarray,
    gallery: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
    *,
    metric: str = "cosine",
    max_rank: int = 50,
    distinct_identities: bool = False,
) -> Ranking:
    """Rank the gallery (G, D) for each query (Q, D) by distance and score it as `rank_distances` does.

    metric: "cosine" (features need not be normalised) or "euclidean". The Q x G matrix never exists: queries go
    in blocks. Raises ValueError as `rank_distances` does, and for features that are not finite or do not match.

    The query's own image (identity 7, camera 1) is ignored; the others of identity 7 then stand at ranks 1 and 3.

    >>> gallery = [[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]]
    >>> scores = rank([[1.0, 0.0]], gallery, [7], [7, 7, 3, 7], [1], [1, 2, 2, 3])
    >>> print(f"{scores.mean_ap:.3f} {scores.mean_inp:.3f} {scores.cmc[:2].tolist()}")  # (1/1 + 2/3) / 2, 2/3
    0.833 0.667 [1.0, 1.0]
    """
    query, gallery = as_features(query, "query"), as_features(gallery, "gallery")
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"query and gallery must have as many columns, but have {query.shape} and {gallery.shape}; "
            "they must come from the same network"
        )
    matches = Matches(query_ids, gallery_ids, query_cameras, gallery_cameras, len(query), len(gallery))
    blocks = _distance_blocks(query, gallery, metric)
    return rank_blocks(blocks, matches, max_rank=max_rank, distinct_identities=distinct_identities)


def rank_distances(
    distances: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
    *,
    max_rank: int = 50,
    distinct_identities: bool = False,
) -> Ranking:
    """Score the rankings that distances (Q, G) give.

    Gallery items with the query's identity and camera are ignored. Equal distances rank by gallery index, as a
    stable sort would. Average precision is the mean over a query's positives of (rank among the positives) /
    (rank among the kept gallery). distinct_identities: CMC counts each other identity once, at its first image
    (SYSU-MM01's protocol); mAP and mINP count images.
    Raises ValueError for shapes that do not line up, ids or cameras that are not integers, and NaN distances.

    The positives of the first query stand at ranks 1 and 3; the second query has none, and does not count.

    >>> distances = [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]]
    >>> scores = rank_distances(distances, [1, 9], [1, 2, 1], [0, 0], [1, 1, 1], max_rank=3)
    >>> print(f"{scores.mean_ap:.3f} of {scores.valid_queries} query, {scores.cmc.tolist()}")
    0.833 of 1 query, [1.0, 1.0, 1.0]
    >>> distances[0] = [0.2, 0.1, 0.3]  # now at ranks 2 and 3
    >>> rank_distances(distances, [1, 9], [1, 2, 1], [0, 0], [1, 1, 1], max_rank=3).cmc.tolist()
    [0.0, 1.0, 1.0]
    """
    distances = np.asarray(distances)
    if distances.ndim != 2 or distances.dtype.kind not in "fiu":
        raise ValueError(
            f"distances must be real numbers of shape (Q, G), but are {distances.dtype} of shape {distances.shape}"
        )
    dtype = np.float32 if distances.dtype in (np.float16, np.float32) else np.float64
    matches = Matches(query_ids, gallery_ids, query_cameras, gallery_cameras, *distances.shape)
    blocks = (
        (block.start, np.ascontiguousarray(distances[block], dtype))
        for block in row_blocks(*distances.shape, entries=1 << 23, fewest=64)
    )
    return rank_blocks(blocks, matches, max_rank=max_rank, distinct_identities=distinct_identities)


def rank_blocks(
    blocks: Iterable[tuple[int, np.ndarray]],
    matches: Matches,
    *,
    max_rank: int = 50,
    distinct_identities: bool = False,
) -> Ranking:
    """Score distances that come in blocks: (first query, contiguous floats (b, G)), so that they need not all exist.

    >>> matches = Matches([1, 2], [1, 2], [0, 0], [1, 1], queries=2, gallery=2)
    >>> blocks = ((row, np.array([[0.1, 0.4]])) for row in range(2))  # gallery item 0 is always the nearer one
    >>> rank_blocks(blocks, matches, max_rank=2).cmc.tolist()
    [0.5, 1.0]
    """
    max_rank = as_count(max_rank, "max_rank")
    scores = np.full((3, matches.queries), np.nan)  # average precision, inverse penalty, rank of the first match
    threads = workers() if matches.gallery >= SHORT else 1
    scratch = [Positions(matches.gallery) for _ in range(threads)]

    def score(worker: int, start: int, distances: np.ndarray) -> None:
        share = slice(len(distances) * worker // threads, len(distances) * (worker + 1) // threads)
        rows, first = distances[share], start + share.start
        _refuse_nan(rows, first)
        scores[:, first : first + len(rows)] = _scores_of(rows, first, scratch[worker], matches, distinct_identities)

    with ThreadPoolExecutor(threads) as pool:
        for start, distances in blocks:
            list(pool.map(score, range(threads), [start] * threads, [distances] * threads))
    return _summary(*scores, max_rank)


def _summary(precision: np.ndarray, inverse_penalty: np.ndarray, first: np.ndarray, max_rank: int) -> Ranking:
    valid = ~np.isnan(precision)
    count = int(valid.sum())
    if not count:
        return Ranking(np.nan, np.full(max_rank, np.nan), np.nan, 0, precision)
    hits = np.bincount(first[valid].astype(np.int64), minlength=max_rank + 1)[1 : max_rank + 1]
    mean_ap, mean_inp = float(precision[valid].mean()), float(inverse_penalty[valid].mean())
    return Ranking(mean_ap, np.cumsum(hits) / count, mean_inp, count, precision)


def _scores_of(
    distances: np.ndarray, start: int, positions: Positions, matches: Matches, distinct_identities: bool
) -> np.ndarray:
    """Return average precision, inverse penalty and rank of the first match of each row's query: float64 (3, b).

    distances: (b, G), of the queries from `start` on. NaN without a match.
    """
    rows, columns, ignored = matches.of(start, start + len(distances))
    values = distances[rows, columns]
    order = np.lexsort((values, rows))  # stable: equal distances stay in the order of columns
    rows, columns, ignored, values = rows[order], columns[order], ignored[order], values[order]
    positives = np.bincount(rows[~ignored], minlength=len(distances))
    ahead = np.zeros(len(rows), np.int64)
    ahead[~ignored] = positions.ahead(distances, columns[~ignored], values[~ignored], positives)
    before = np.cumsum(ignored)  # of the ignored items of a query, those that stand ahead of a positive do not count
    begin = np.searchsorted(rows, np.arange(len(distances)))
    ranks = ahead + 1 - (before - (before - ignored)[begin[rows]])
    ranks, rows, columns = ranks[~ignored], rows[~ignored], columns[~ignored]
    valid = np.flatnonzero(positives)
    count = positives[valid]
    begin = np.cumsum(count) - count
    scores = np.full((3, len(distances)), np.nan)
    if not len(valid):
        return scores
    number = np.arange(1, len(ranks) + 1) - np.repeat(begin, count)
    scores[0, valid] = np.add.reduceat(number / ranks, begin) / count
    scores[1, valid] = count / ranks[begin + count - 1]
    scores[2, valid] = ranks[begin]
    if distinct_identities:
        for row, column in zip(valid, columns[begin], strict=True):
            scores[2, row] = _identities_ahead(distances[row], column, matches.ignored(start + row), matches) + 1
    return scores


def _identities_ahead(row: np.ndarray, column: int, ignored: np.ndarray, matches: Matches) -> int:
    """Return how many other identities stand ahead of a query's first match, which is in this column."""
    ahead = row < row[column]
    ahead[:column] |= row[:column] == row[column]
    ahead[ignored] = False
    return len(np.unique(matches.gallery_ids[ahead]))


def _refuse_nan(distances: np.ndarray, start: int) -> None:
    if np.isnan(np.min(distances, initial=np.inf)):
        row, column = np.argwhere(np.isnan(distances))[0]
        raise ValueError(
            f"distances must not be NaN, but that of query {start + row} to gallery item {column} is; "
            "no rank follows from it"
        )


def _distance_blocks(query: np.ndarray, gallery: np.ndarray, metric: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield blocks of numbers that rank as the distances do: -q.g / |g|, or |g|^2 / 2 - q.g.

    All blocks share one buffer: each is gone when the next comes.
    """
    if metric not in ("cosine", "euclidean"):
        raise ValueError(f"metric must be 'cosine' or 'euclidean', but is {metric!r}")
    squared = squared_norms(gallery)
    if metric == "cosine" and not (squared.all() and squared_norms(query).all()):
        raise ValueError("query and gallery must have no zero rows for metric='cosine': such a row has no direction")
    shift = squared / 2 if metric == "euclidean" else None
    scale = 1 / np.sqrt(squared) if metric == "cosine" and (np.abs(squared - 1) > UNIT).any() else None
    blocks = row_blocks(len(query), len(gallery), entries=1 << 25, fewest=128)
    buffer = np.empty((blocks[0].stop if blocks else 0, len(gallery)), np.float32)
    for block in blocks:
        distances = buffer[: block.stop - block.start]
        product(-query[block], gallery.T, out=distances)
        if shift is not None:
            distances += shift
        if scale is not None:
            distances *= scale
        yield block.start, distances
