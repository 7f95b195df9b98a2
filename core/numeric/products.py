"""The matrix products of core, by the BLAS whose kernels fit the processor.

An OpenBLAS that is older than the processor does not know it and falls back to its oldest kernels, five times slower.
NumPy and SciPy bring a library each, often of different age. Which one computes is decided by the names of their
kernels, once for the process and never by a clock: a run that is repeated, resumed or shared among processes must
round as it did before.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

GENERATIONS = (
    ("generic", "prescott", "core2", "penryn", "dunnington", "nehalem", "atom", "nano", "athlon", "opteron", "bobcat"),
    ("sandybridge", "bulldozer", "piledriver", "steamroller", "excavator"),
    ("haswell", "zen"),
    ("skylakex", "cooperlake", "sapphirerapids"),
)
"""OpenBLAS' kernels for x86-64, by vectors: of 128 bits, of 256, of 256 with fused multiply-add, of 512."""

SYMMETRIC = 256  # rows of a block that is mirrored


@dataclass(frozen=True)
class Library:
    """A BLAS of this process. owner: "numpy", "scipy" or "". kernels: as the library calls them, "" if it does not."""

    owner: str
    name: str
    version: str
    kernels: str

    @property
    def generation(self) -> int | None:
        """Return how far its kernels use the processor, 0 to 3; None: unknown."""
        known = [place for place, names in enumerate(GENERATIONS) if self.kernels.lower() in names]
        return known[0] if known else None


@dataclass(frozen=True)
class Choice:
    """Whose BLAS computes the products of core, and why. libraries: those that were looked at."""

    owner: str
    reason: str
    libraries: tuple[Library, ...]


def product(left: np.ndarray, right: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return left (R, D) @ right (D, C), of float32 or float64 both, in `out` where it is given.

    The product of an array with its own transpose is symmetric to the last bit.

    >>> rows = np.float32([[1, 2], [3, 4]])
    >>> product(rows, rows.T).tolist()
    [[5.0, 11.0], [11.0, 25.0]]
    """
    if chosen().owner == "numpy":
        return np.matmul(left, right, out=out)
    return _by_scipy(left, right, out)


@cache
def chosen() -> Choice:
    """Return which BLAS this process takes; decided at the first call."""
    seen = libraries()
    mine = next((library for library in seen if library.owner == "numpy"), None)
    if mine is None or mine.generation is None:
        return Choice("numpy", "NumPy's kernels have no name that could be compared", seen)
    if mine.generation == len(GENERATIONS) - 1:
        return Choice("numpy", "NumPy's kernels are of the newest kind", seen)
    _scipy_gemm(np.dtype(np.float32))  # SciPy's library is loaded with it
    seen = libraries()
    return compared(seen)


def compared(seen: tuple[Library, ...]) -> Choice:
    """Choose among libraries: SciPy's where its kernels are of a newer generation than NumPy's.

    >>> old, new = Library("numpy", "openblas", "0.3.23", "Prescott"), Library("scipy", "openblas", "0.3.30", "Zen")
    >>> compared((old, new)).owner, compared((new, old)).owner, compared((old,)).owner
    ('scipy', 'scipy', 'numpy')
    """
    by_owner = {library.owner: library for library in seen}
    mine, theirs = by_owner.get("numpy"), by_owner.get("scipy")
    if theirs is None or theirs.generation is None or mine is None or mine.generation is None:
        return Choice("numpy", "SciPy has no other library that could be compared", seen)
    if theirs.generation > mine.generation:
        reason = f"SciPy's kernels ({theirs.kernels}) fit the processor better than NumPy's ({mine.kernels})"
        return Choice("scipy", reason, seen)
    return Choice("numpy", "SciPy's kernels are no better", seen)


def libraries() -> tuple[Library, ...]:
    """Return the BLAS libraries that are loaded now."""
    blas = (one for one in ThreadpoolController().info() if one["user_api"] == "blas")
    return tuple(
        Library(
            _owner(one["filepath"]), one["internal_api"], str(one["version"] or ""), str(one.get("architecture") or "")
        )
        for one in blas
    )


def _owner(file: str) -> str:
    """Return the package in whose folder a library lies; "" for one that several may share."""
    folders = Path(file).parts[:-1]
    for package in ("numpy", "scipy"):
        if f"{package}.libs" in folders or package in folders:
            return package
    return ""


@cache
def _scipy_gemm(dtype: np.dtype) -> Callable[..., Any]:
    """Return SciPy's ?gemm, as it offers it to compiled code. Its Python function would hold all other threads up."""
    from scipy.linalg import cython_blas

    name = {"f": "sgemm", "d": "dgemm"}[dtype.char]
    capsule = cython_blas.__pyx_capi__[name]
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    signature = name_of(capsule)
    if signature.count(b"int *") != 6:
        raise RuntimeError(f"scipy.linalg.cython_blas.{name} takes other arguments than SciPy 1.17's: {signature!r}")
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)(pointer_of(capsule, signature))


def _by_scipy(left: np.ndarray, right: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    """Compute out = left @ right as out^T = right^T left^T: Fortran's matrices lie column by column."""
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0] or left.dtype != right.dtype:
        raise ValueError(
            f"a product needs (R, D) and (D, C) of one dtype, but has {left.shape} {left.dtype} and "
            f"{right.shape} {right.dtype}"
        )
    shape = (left.shape[0], right.shape[1])
    if left.dtype.char not in "fd" or 0 in (*shape, left.shape[1]) or max(*shape, left.shape[1]) >= 1 << 31:
        return np.matmul(left, right, out=out)
    result = np.empty(shape, left.dtype) if out is None else out
    if result.shape != shape or result.dtype != left.dtype or not result.flags.c_contiguous:
        raise ValueError(f"out must be C-contiguous {left.dtype} of shape {shape}, is {result.dtype} {result.shape}")
    first, second = _laid_out(right), _laid_out(left)
    one, zero = np.ones(1, left.dtype), np.zeros(1, left.dtype)
    sizes = [ctypes.c_int(number) for number in (shape[1], shape[0], left.shape[1], first[2], second[2], shape[1])]
    columns, rows, depth, lead_first, lead_second, lead = map(ctypes.byref, sizes)
    flags = ctypes.c_char_p(first[1]), ctypes.c_char_p(second[1])
    factors = one.ctypes.data, zero.ctypes.data
    operands = first[0].ctypes.data, lead_first, second[0].ctypes.data, lead_second
    call = _scipy_gemm(left.dtype)
    call(*flags, columns, rows, depth, factors[0], *operands, factors[1], result.ctypes.data, lead)
    if _mirrored(left, right):
        _mirror(result)
    return result


def _laid_out(matrix: np.ndarray) -> tuple[np.ndarray, bytes, int]:
    """Return (the array that holds a matrix, whether Fortran has to transpose it, items from a line to the next)."""
    item = matrix.dtype.itemsize
    for array, flag in ((matrix, b"N"), (matrix.T, b"T")):
        step, inner = array.strides
        if inner == item and step % item == 0 and step >= array.shape[1] * item:
            return array, flag, step // item
    matrix = np.ascontiguousarray(matrix)
    return matrix, b"N", max(1, matrix.shape[1])


def _mirrored(left: np.ndarray, right: np.ndarray) -> bool:
    """Return whether one is the other's transpose, in the same place of memory."""
    return (
        left.ctypes.data == right.ctypes.data
        and left.shape == right.shape[::-1]
        and left.strides == right.strides[::-1]
    )


def _mirror(square: np.ndarray) -> None:
    """Copy what lies above the diagonal below it."""
    for start in range(0, len(square), SYMMETRIC):
        part = slice(start, min(start + SYMMETRIC, len(square)))
        square[part.stop :, part] = square[part, part.stop :].T
        corner = square[part, part]
        corner[:] = np.triu(corner) + np.triu(corner, 1).T
