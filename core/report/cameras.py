"""From which camera to which camera the search works: mAP and rank-1 of each pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duoreid.core.data import Trial
from duoreid.core.protocols import rank_draw
from duoreid.core.report.blocks import Cell, Table, Text
from duoreid.core.report.draws import Draw

FEWEST = 5
"""Queries with a match that a pair needs to be named the worst."""

MOST = 24
"""Cameras up to which every pair is a column."""


@dataclass(frozen=True)
class Pairs:
    """Scores by camera of the query (rows) and of the gallery (columns).

    mean_ap, rank1: fractions, float64 (A, B), NaN where no query has a match. queries: int64 (A, B), those with one.
    """

    query_cameras: np.ndarray
    gallery_cameras: np.ndarray
    mean_ap: np.ndarray
    rank1: np.ndarray
    queries: np.ndarray

    def worst(self) -> tuple[int, int] | None:
        """Return the place of the lowest mAP among pairs of at least FEWEST queries, None where there is none."""
        known = np.where(self.queries >= FEWEST, self.mean_ap, np.nan)
        if np.isnan(known).all():
            return None
        return tuple(int(index) for index in np.unravel_index(np.nanargmin(known), known.shape))


def pairs(draw: Draw) -> Pairs:
    """Search with the queries of each camera among the gallery images of each camera, by the draw's own rules."""
    own, cameras = draw.cameras
    rows, columns = np.unique(own), np.unique(cameras)
    scores, counts = np.full((2, len(rows), len(columns)), np.nan), np.zeros((len(rows), len(columns)), np.int64)
    for i, query_camera in enumerate(rows):
        for j, gallery_camera in enumerate(columns):
            trial = Trial(draw.trial.query[own == query_camera], draw.trial.gallery[cameras == gallery_camera])
            ranking = rank_draw(draw.features, draw.dataset, draw.search, trial, max_rank=1)
            counts[i, j] = ranking.valid_queries
            if ranking.valid_queries:
                scores[:, i, j] = ranking.mean_ap, ranking.cmc[0]
    return Pairs(rows, columns, *scores, counts)


def blocks(draw: Draw) -> list[Table | Text]:
    """Return the table of one draw, with the worst pair named; a sentence where cameras are unknown."""
    name = f"{draw.search.name}: " if len(draw.dataset.searches) > 1 else ""
    if any((cameras < 0).any() for cameras in draw.cameras):
        return [Text(f"{name}the dataset does not say which camera took each picture, so there is no such table.")]
    if max(len(np.unique(cameras)) for cameras in draw.cameras) > MOST:
        return [Text(f"{name}there are more than {MOST} cameras: too many for a table of pairs.")]
    by_pair = pairs(draw)
    worst = by_pair.worst()
    words = f"{name}mAP / rank-1 in % from the camera of the query (row) to that of the gallery (column). "
    if worst is not None:
        one, other = by_pair.query_cameras[worst[0]], by_pair.gallery_cameras[worst[1]]
        words += (
            f"Worst: from camera {one} to camera {other}, mAP {100 * by_pair.mean_ap[worst]:.1f} over "
            f"{by_pair.queries[worst]} queries (framed)."
        )
    return [
        Table(["query \\ gallery", *(f"cam {one}" for one in by_pair.gallery_cameras)], _rows(by_pair, worst), words)
    ]


def _rows(by_pair: Pairs, worst: tuple[int, int] | None) -> list[list[str | Cell]]:
    known = by_pair.mean_ap[~np.isnan(by_pair.mean_ap)]
    low, span = (float(known.min()), float(np.ptp(known)) or 1.0) if len(known) else (0.0, 1.0)
    rows: list[list[str | Cell]] = []
    for i, camera in enumerate(by_pair.query_cameras):
        cells: list[str | Cell] = [f"cam {camera}"]
        for j in range(len(by_pair.gallery_cameras)):
            score = float(by_pair.mean_ap[i, j])
            if np.isnan(score):
                cells.append("–")
                continue
            words = f"{100 * score:.0f} / {100 * by_pair.rank1[i, j]:.0f}"
            cells.append(Cell(words, (score - low) / span, "worst" if (i, j) == worst else ""))
        rows.append(cells)
    return rows
