"""mAP, CMC and mINP without sorting a gallery.

A query's scores need only the ranks of its few positives, and a rank is a count: how many gallery items are nearer,
and how many are as near but come first. Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015
(mAP, CMC); Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook", 2021 (mINP).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from core.distances import as_count, as_features, as_integers, row_blocks, squared_norms

SORT_FROM = 96  # positives from which sorting the row is cheaper than counting for each


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
    """
    query, gallery = as_features(query, "query"), as_features(gallery, "gallery")
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"query and gallery must have as many columns, but have {query.shape} and {gallery.shape}; "
            "they must come from the same network"
        )
    if metric not in ("cosine", "euclidean"):
        raise ValueError(f"metric must be 'cosine' or 'euclidean', but is {metric!r}")
    squared = squared_norms(gallery)
    shift = None
    scale = None
    if metric == "euclidean":
        shift = squared / 2
    elif len(squared) and np.abs(squared - 1).max() > 1e-5:
        if not (squared.all() and squared_norms(query).all()):
            raise ValueError("query and gallery must have no zero rows for metric='cosine', whose angle is undefined")
        scale = 1 / np.sqrt(squared)

    def blocks() -> Iterator[tuple[slice, np.ndarray]]:
        for block in row_blocks(len(query), len(gallery), entries=1 << 24, fewest=128):
            distances = -query[block] @ gallery.T
            if shift is not None:
                distances += shift
            if scale is not None:
                distances *= scale
            yield block, distances

    labels = _Labels(query_ids, gallery_ids, query_cameras, gallery_cameras, len(query), len(gallery))
    return _score(blocks(), labels, as_count(max_rank, "max_rank"), distinct_identities)


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
    """
    distances = np.asarray(distances)
    if distances.ndim != 2 or distances.dtype.kind not in "fiu":
        raise ValueError(
            f"distances must be real numbers of shape (Q, G), but are {distances.dtype} of shape {distances.shape}"
        )
    dtype = np.float32 if distances.dtype in (np.float16, np.float32) else np.float64
    labels = _Labels(query_ids, gallery_ids, query_cameras, gallery_cameras, *distances.shape)
    blocks = (
        (block, np.ascontiguousarray(distances[block], dtype))
        for block in row_blocks(*distances.shape, entries=1 << 22, fewest=64)
    )
    return _score(blocks, labels, as_count(max_rank, "max_rank"), distinct_identities)


class _Labels:
    """Which gallery items are a query's positives and which it ignores."""

    def __init__(self, query_ids, gallery_ids, query_cameras, gallery_cameras, queries: int, gallery: int) -> None:
        self.query_ids = as_integers(query_ids, "query_ids", queries, "query")
        self.gallery_ids = as_integers(gallery_ids, "gallery_ids", gallery, "gallery item")
        self.query_cameras = as_integers(query_cameras, "query_cameras", queries, "query")
        self.gallery_cameras = as_integers(gallery_cameras, "gallery_cameras", gallery, "gallery item")
        self._order = np.argsort(self.gallery_ids, kind="stable")
        ordered = self.gallery_ids[self._order]
        self._first = np.searchsorted(ordered, self.query_ids, side="left")
        self._end = np.searchsorted(ordered, self.query_ids, side="right")

    def of(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of the query's positives and of the items it ignores, both in gallery order."""
        same = self._order[self._first[query] : self._end[query]]
        ignored = self.gallery_cameras[same] == self.query_cameras[query]
        return same[~ignored], same[ignored]


def _score(
    blocks: Iterator[tuple[slice, np.ndarray]], labels: _Labels, max_rank: int, distinct_identities: bool
) -> Ranking:
    queries = len(labels.query_ids)
    precision = np.full(queries, np.nan)
    penalty = np.full(queries, np.nan)
    first = np.zeros(queries, np.int64)
    for block, distances in blocks:
        if np.isnan(np.min(distances, initial=np.inf)):
            row, column = np.argwhere(np.isnan(distances))[0]
            raise ValueError(
                f"distances must not be NaN, but that of query {block.start + row} to gallery item {column} is; "
                "no rank follows from it"
            )
        for query, row in enumerate(distances, start=block.start):
            positives, ignored = labels.of(query)
            if not len(positives):
                continue
            ranks = np.sort(_ranks(row, positives, ignored))
            precision[query] = np.mean(np.arange(1, len(ranks) + 1) / ranks)
            penalty[query] = len(ranks) / ranks[-1]
            first[query] = ranks[0]
            if distinct_identities:
                nearest = positives[np.lexsort((positives, row[positives]))[0]]
                ahead = row < row[nearest]
                ahead[:nearest] |= row[:nearest] == row[nearest]
                ahead[ignored] = False
                first[query] = len(np.unique(labels.gallery_ids[ahead])) + 1
    valid = ~np.isnan(precision)
    count = int(valid.sum())
    hits = np.bincount(first[valid], minlength=max_rank + 1)[1 : max_rank + 1]
    with np.errstate(invalid="ignore"):
        cmc = np.cumsum(hits) / np.float64(count)
    mean_ap, mean_inp = (float(v[valid].mean()) if count else np.nan for v in (precision, penalty))
    return Ranking(mean_ap, cmc, mean_inp, count, precision)


def _ranks(row: np.ndarray, positives: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Return the ranks of the positives among the kept items of a row of distances, from 1."""
    own = row[positives]
    if len(positives) < SORT_FROM:
        ahead = np.array(
            [
                np.count_nonzero(row[:place] <= value) + np.count_nonzero(row[place:] < value)
                for place, value in zip(positives, own, strict=True)
            ]
        )
    else:
        order = np.argsort(row, kind="stable")
        place = np.empty(len(row), np.int64)
        place[order] = np.arange(len(row))
        ahead = place[positives]
    if len(ignored):
        theirs = row[ignored]
        before = (theirs < own[:, None]) | ((theirs == own[:, None]) & (ignored < positives[:, None]))
        ahead = ahead - before.sum(1)
    return ahead + 1
