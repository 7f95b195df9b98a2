"""What the algorithms on features share: checks of their input and the size of the blocks they work in."""

from __future__ import annotations

import numpy as np

NORM_TOLERANCE = 1e-2  # half-precision features normalised in half precision stay well within this


def as_features(features: np.ndarray, name: str, *, normalised: bool = False) -> np.ndarray:
    """Return features (N, D) as contiguous float32, the same array where it is that already.

    normalised: refuse rows whose L2 norm is not 1.
    Raises ValueError for another number of axes, for numbers that are not real and finite, and for no columns.
    """
    array = np.asarray(features)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"{name} must have shape (N, D) with D >= 1, one feature per row, but has {array.shape}")
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must hold real numbers, but its dtype is {array.dtype}; convert it to float32")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype=np.float32)
    squared = squared_norms(array)
    if not np.isfinite(squared).all():
        row = int(np.flatnonzero(~np.isfinite(squared))[0])
        raise ValueError(
            f"{name} must be finite in float32, but row {row} of {array.shape} holds NaN, infinity or numbers "
            "whose squares overflow; nothing can be ranked by them, so find out where they come from"
        )
    if normalised and np.any(np.abs(np.sqrt(squared) - 1) > NORM_TOLERANCE):
        row = int(np.argmax(np.abs(np.sqrt(squared) - 1)))
        raise ValueError(
            f"{name} must be L2-normalised, but row {row} of {array.shape} has norm {np.sqrt(squared[row]):.4g}; "
            "similarities stand for distances only between unit vectors, so divide each row by its norm"
        )
    return array


def squared_norms(features: np.ndarray) -> np.ndarray:
    """Return the squared L2 norm of each row: float32 (N,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.einsum("ij,ij->i", features, features)


def as_integers(values: np.ndarray, name: str, length: int, of: str) -> np.ndarray:
    """Return ids or cameras as a contiguous int64 (length,); `of` names what they must line up with in the error."""
    array = np.asarray(values)
    if array.shape != (length,):
        raise ValueError(f"{name} must have shape ({length},), one entry per {of}, but has {array.shape}")
    if array.dtype.kind not in "iu" and length:
        raise ValueError(f"{name} must hold integers, but its dtype is {array.dtype}; number them first")
    return np.ascontiguousarray(array, dtype=np.int64)


def as_count(value: int, name: str, lowest: int = 1) -> int:
    """Return a whole number that is at least `lowest`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < lowest:
        raise ValueError(f"{name} must be an integer of at least {lowest}, but is {value!r}")
    return int(value)


def row_blocks(rows: int, columns: int, *, entries: int = 1 << 23, fewest: int = 256) -> list[slice]:
    """Cut `rows` into blocks whose product with `columns` has about `entries` entries.

    Blocks of fewer than `fewest` rows would leave the matrix product waiting for memory.
    """
    size = max(fewest, entries // max(1, columns))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
