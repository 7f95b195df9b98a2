"""Bounds of products of wide rows from products of narrow ones."""

from __future__ import annotations

import numpy as np

from duoreid.core.numeric.inputs import row_blocks, squared_norms
from duoreid.core.numeric.products import product
from duoreid.core.numeric.threads import each

COLUMNS = 128  # of the narrow rows: enough for the directions in which features of a network differ most
MISSED = 0.2  # share of the squared lengths that narrow rows may miss: beyond it their bounds are too wide to help
WIDEST = 1 << 16  # of the wide rows: beyond it the bounds of rounding errors below no longer hold


class Narrow:
    """Copies of features (N, D) with few columns whose products bound those of the whole rows from above.

    A row becomes its coordinates in a subspace that rows of the features span, and one column more: the length of
    what the subspace misses. By Cauchy and Schwarz, x.c <= u.v and x.c >= u.v - 2 u[-1] v[-1] for their narrow u, v.
    """

    def __init__(self, basis: np.ndarray, features: np.ndarray, squared: np.ndarray) -> None:
        """basis: float32 (D, COLUMNS - 1), orthonormal up to its rounding. squared: squared norms of the features."""
        self._basis = basis
        # how far rounding moves coordinates, over |x|: a product of D terms is off by at most (D + 8) 2^-24 |x|
        self._error = np.sqrt(COLUMNS) * (len(basis) + 8) * 2.0**-24
        self.points = self.of(features, squared)

    def of(self, rows: np.ndarray, squared: np.ndarray) -> np.ndarray:
        """Return narrow rows: float32 (n, COLUMNS). squared: the squared norms of the rows."""
        narrow = np.empty((len(rows), COLUMNS), np.float32)

        def project(block: slice) -> None:
            part = narrow[block]
            part[:, :-1] = product(rows[block], self._basis)
            missed = np.maximum(squared[block] - squared_norms(part[:, :-1]), 0, dtype=np.float64)
            # what errors of both rows' coordinates can change: 2.2 times the squared length missed, 2.1 the product
            part[:, -1] = np.sqrt(missed + 4.4 * self._error * squared[block]) * (1 + 1e-6)

        each(project, row_blocks(*rows.shape, entries=1 << 21))
        return narrow


def narrowed(features: np.ndarray, squared: np.ndarray, others: int) -> Narrow | None:
    """Return narrow copies of features (N, D) to compare with `others` rows again and again, None where they don't pay.

    squared: the squared norms of the features. A few rows, evenly spaced, span the subspace; those half-way between
    show how much it misses.
    """
    count, width = features.shape
    if not 4 * COLUMNS <= width <= WIDEST or min(count, others) < COLUMNS:
        return None
    chosen = np.linspace(0, count - 1, COLUMNS - 1).astype(np.int64)
    between = (chosen[:-1] + chosen[1:]) // 2
    basis = np.linalg.qr(features[chosen].T.astype(np.float64))[0].astype(np.float32)
    held = squared_norms(product(features[between], basis)).sum(dtype=np.float64)
    if held < (1 - MISSED) * squared[between].sum(dtype=np.float64):
        return None
    return Narrow(basis, features, squared)
