"""Which gallery items are a query's positives, and which it ignores."""

from __future__ import annotations

import numpy as np

from core.distances import as_integers


class Matches:
    """Positives share the query's identity; those that also share its camera are ignored instead."""

    def __init__(
        self,
        query_ids: np.ndarray,
        gallery_ids: np.ndarray,
        query_cameras: np.ndarray,
        gallery_cameras: np.ndarray,
        queries: int,
        gallery: int,
    ) -> None:
        query_ids = as_integers(query_ids, "query_ids", queries, "query")
        self.gallery_ids = as_integers(gallery_ids, "gallery_ids", gallery, "gallery item")
        self._query_cameras = as_integers(query_cameras, "query_cameras", queries, "query")
        self._gallery_cameras = as_integers(gallery_cameras, "gallery_cameras", gallery, "gallery item")
        self._order = np.argsort(self.gallery_ids, kind="stable")
        ordered = self.gallery_ids[self._order]
        self._first = np.searchsorted(ordered, query_ids, side="left")
        self._end = np.searchsorted(ordered, query_ids, side="right")
        self.queries, self.gallery = queries, gallery

    def of(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the columns of the query's positives and of the items it ignores, both rising."""
        same = self._order[self._first[query] : self._end[query]]
        ignored = self._gallery_cameras[same] == self._query_cameras[query]
        return same[~ignored], same[ignored]
