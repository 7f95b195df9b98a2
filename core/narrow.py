"""Bounds of products of wide rows from products of narrow ones."""

from __future__ import annotations

import numpy as np

from core.distances import row_blocks, squared_norms
from core.threads import each

COLUMNS = 128  # of the narrow rows: enough for the directions in which features of a network differ most
WIDEST = 1 << 16  # of the wide rows: beyond it the bounds of rounding errors below no longer hold


def pays(features: np.ndarray, rows: int) -> bool:
    """Say whether narrow copies save work when features (N, D) are compared with `rows` others again and again."""
    return 4 * COLUMNS <= features.shape[1] <= WIDEST and rows >= COLUMNS


class Narrow:
    """Copies of features (N, D) with few columns whose products bound those of the whole rows from above.

    A row becomes its coordinates in a subspace that rows of the features span, and one column more: the length of
    what the subspace misses. By Cauchy and Schwarz, x.c <= u.v and x.c >= u.v - 2 u[-1] v[-1] for their narrow u, v.
    """

    def __init__(self, features: np.ndarray, squared: np.ndarray) -> None:
        count, width = features.shape
        chosen = np.linspace(0, count - 1, COLUMNS - 1).astype(np.int64)
        self._basis = np.linalg.qr(features[chosen].T.astype(np.float64))[0].astype(np.float32)
        # how far rounding moves coordinates, over |x|: a product of D terms is off by at most (D + 8) 2^-24 |x|
        self._error = np.sqrt(COLUMNS) * (width + 8) * 2.0**-24
        self.points = self.of(features, squared)

    def of(self, rows: np.ndarray, squared: np.ndarray) -> np.ndarray:
        """Return narrow rows: float32 (n, COLUMNS). squared: the squared norms of the rows."""
        narrow = np.empty((len(rows), COLUMNS), np.float32)

        def project(block: slice) -> None:
            part = narrow[block]
            part[:, :-1] = rows[block] @ self._basis
            missed = np.maximum(squared[block] - squared_norms(part[:, :-1]), 0, dtype=np.float64)
            # what errors of both rows' coordinates can change: 2.2 times the squared length missed, 2.1 the product
            part[:, -1] = np.sqrt(missed + 4.4 * self._error * squared[block]) * (1 + 1e-6)

        each(project, row_blocks(*rows.shape, entries=1 << 21))
        return narrow
