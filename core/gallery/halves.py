"""float16 rows: their nearest to a query without a float32 copy, and such a copy where many queries share it.

NumPy has no product of float16 rows: it converts them first, which takes several times as long as reading them. faiss
converts in registers, by the processor's own instruction, while it multiplies (its scalar quantizer "fp16"). Products
and sums are those of float32, so the bound of core/gallery/exact.py holds for them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from duoreid.core.numeric.keys import NOTHING, indices_of, keys_of, similarities_of

FEW = 4
"""Queries for which faiss reads the rows once each; for more one float32 copy and one product are faster."""

EXAMPLE = 67  # numbers of a row of the check: whole vectors and a rest


def scanned(rows: np.ndarray, query: np.ndarray, k: int, first: int, mask: np.ndarray | None = None) -> np.ndarray:
    """Return the keys (k,) of the rows whose float32 products are largest, rising (core/numeric/keys.py).

    rows: float16 (n, D), C-contiguous. query: float32 (D,). first: index of the first row. mask: which count, bool
    (n,). Where there are fewer than k the rest is NOTHING. `quick` says whether this may be called.

    >>> indices_of(scanned(np.float16([[1, 0], [0.6, 0.8], [0, 1]]), np.float32([1, 0]), 2, first=10)).tolist()
    [10, 11]
    """
    import faiss

    names = np.arange(first, first + len(rows))
    if mask is not None and not mask.all():
        rows, names = rows[mask], names[mask]
    similarities, indices = np.full(k, -np.inf, np.float32), np.full(k, -1, np.int64)
    if len(rows):
        given = np.ascontiguousarray(query, np.float32)
        kept = _scanners.setdefault(rows.shape[1], [])
        quantizer, scanner = kept.pop() if kept else _scanner(rows.shape[1])
        scanner.set_query(faiss.swig_ptr(given))
        scanner.set_list(0, 0.0)
        arrays = (np.ascontiguousarray(rows).view(np.uint8), names, similarities, indices)
        scanner.scan_codes(len(rows), *map(faiss.swig_ptr, arrays), k)
        kept.append((quantizer, scanner))
    keys = np.where(indices < 0, NOTHING, keys_of(similarities, np.maximum(indices, 0)))
    keys.sort()
    return keys


_scanners: dict[int, list[tuple[Any, Any]]] = {}
"""Those that no thread uses now, by the number of columns. faiss does not free one with its last name in Python."""


def _scanner(width: int) -> tuple[Any, Any]:
    """Return a scanner of float16 rows of so many columns, behind what it needs."""
    import faiss

    quantizer = faiss.ScalarQuantizer(width, faiss.ScalarQuantizer.QT_fp16)
    return quantizer, quantizer.select_InvertedListScanner(faiss.METRIC_INNER_PRODUCT, None, False, None, False)


@cache
def quick() -> bool:
    """Return whether this faiss multiplies float16 rows as it should; seen once on an example whose sums are known.

    Its scanners are no interface that it promises to keep. One that is gone, or rounds otherwise, is not taken.
    """
    rows = np.stack([np.full(EXAMPLE, 1 + place / 1024) for place in (0, 3, 1)]).astype(np.float16)
    query = np.full(EXAMPLE, 1 + 2.0**-20, np.float32)  # a float16 cannot hold it
    try:
        keys = scanned(rows, query, 3, first=0)
    except (ImportError, AttributeError, TypeError, ValueError):
        return False
    exact = rows.astype(np.float64) @ query.astype(np.float64)
    slack = EXAMPLE * 2.0**-24 * float(exact.max())
    order = np.argsort(-exact)
    near = np.abs(similarities_of(keys).astype(np.float64) - exact[order]) <= slack
    return bool((indices_of(keys) == order).all() and near.all())


def widened(rows: np.ndarray) -> np.ndarray:
    """Return finite float16 numbers as float32, exactly; in less time than NumPy's own conversion.

    Sign, exponent and fraction go to their places in a float32, whose exponent is then too small by 127 - 15.

    >>> widened(np.float16([1.5, -0.25])).tolist()
    [1.5, -0.25]
    """
    bits = rows.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= np.int32(-0x70002000)  # all but the copies of the sign, which stay in the highest bit alone
    wide = bits.view(np.float32)
    wide *= np.float32(2.0**112)
    return wide
