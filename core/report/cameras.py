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
            found = rank_draw(draw.features, draw.dataset, draw.search, trial, max_rank=1)
            counts[i, j] = found.valid_queries
            if found.valid_queries:
                scores[:, i, j] = found.mean_ap, found.cmc[0]
    return Pairs(rows, columns, *scores, counts)


def blocks(draw: Draw) -> list[Table | Text]:
    """Return the table of one draw, with the worst pair named; a sentence where cameras are unknown."""
    name = f"{draw.search.name}: " if len(draw.dataset.searches) > 1 else ""
    if any((cameras < 0).any() for cameras in draw.cameras):
        return [Text(f"{name}the dataset does not say which camera took each picture, so there is no such table.")]
    if max(len(np.unique(cameras)) for cameras in draw.cameras) > MOST:
        return [Text(f"{name}there are more than {MOST} cameras: too many for a table of pairs.")]
    found = pairs(draw)
    worst = found.worst()
    words = f"{name}mAP / rank-1 in % from the camera of the query (row) to that of the gallery (column). "
    if worst is not None:
        one, other = found.query_cameras[worst[0]], found.gallery_cameras[worst[1]]
        words += (
            f"Worst: from camera {one} to camera {other}, mAP {100 * found.mean_ap[worst]:.1f} over "
            f"{found.queries[worst]} queries (framed)."
        )
    return [Table(["query \\ gallery", *(f"cam {one}" for one in found.gallery_cameras)], _rows(found, worst), words)]


def _rows(found: Pairs, worst: tuple[int, int] | None) -> list[list[str | Cell]]:
    known = found.mean_ap[~np.isnan(found.mean_ap)]
    low, span = (float(known.min()), float(np.ptp(known)) or 1.0) if len(known) else (0.0, 1.0)
    rows: list[list[str | Cell]] = []
    for i, camera in enumerate(found.query_cameras):
        cells: list[str | Cell] = [f"cam {camera}"]
        for j in range(len(found.gallery_cameras)):
            score = float(found.mean_ap[i, j])
            if np.isnan(score):
                cells.append("–")
                continue
            words = f"{100 * score:.0f} / {100 * found.rank1[i, j]:.0f}"
            cells.append(Cell(words, (score - low) / span, "worst" if (i, j) == worst else ""))
        rows.append(cells)
    return rows
