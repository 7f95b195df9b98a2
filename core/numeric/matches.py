"""Which gallery items are a query's positives, and which it ignores."""

from __future__ import annotations

import numpy as np

from duoreid.core.numeric.inputs import as_integers


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

    def of(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the gallery items of the identities of queries begin to end, one entry for each query's item.

        rows: the query's place among them, rising. columns: the item, rising within a row. ignored: whether the query
        ignores it (it is a positive otherwise). int64, int64 and bool (M,).
        """
        counts = self._end[begin:end] - self._first[begin:end]
        rows = np.repeat(np.arange(end - begin), counts)
        place = np.arange(len(rows)) + np.repeat(self._first[begin:end] - (np.cumsum(counts) - counts), counts)
        columns = self._order[place]
        return rows, columns, self._gallery_cameras[columns] == self._query_cameras[begin + rows]

    def ignored(self, query: int) -> np.ndarray:
        """Return the columns of the items that a query ignores, rising."""
        _, columns, ignored = self.of(query, query + 1)
        return columns[ignored]

    def answerable(self) -> np.ndarray:
        """Return whether each query has a positive: bool (Q,)."""
        rows, _, ignored = self.of(0, self.queries)
        return np.bincount(rows[~ignored], minlength=self.queries) > 0
