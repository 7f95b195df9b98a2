"""The number types of weight files, those that NumPy lacks included: bytes -> arrays."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np

MOST_AXES = 32
"""Axes that a NumPy array can have."""


class Small(NamedTuple):
    """A floating type of eight bits: sign, exponent, mantissa.

    infinities: the largest exponent is that of infinity and NaN. unsigned_zero: the pattern of minus 0 is NaN.
    """

    exponent: int
    mantissa: int
    bias: int
    infinities: bool = False
    unsigned_zero: bool = False


SMALL = {
    "float8_e4m3fn": Small(4, 3, 7),
    "float8_e5m2": Small(5, 2, 15, infinities=True),
    "float8_e4m3fnuz": Small(4, 3, 8, unsigned_zero=True),
    "float8_e5m2fnuz": Small(5, 2, 16, unsigned_zero=True),
}
E8M0, BFLOAT16 = "float8_e8m0fnu", "bfloat16"

PLAIN = {
    **{f"{kind}{bits}": f"<{kind[0]}{bits // 8}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)},
    "bool": "|b1",
    "complex64": "<c8",
    "complex128": "<c16",
}
del PLAIN["float8"]

KINDS = (*PLAIN, *SMALL, E8M0, BFLOAT16)


def width(kind: str) -> int:
    """Return the bytes of one number."""
    return 2 if kind == BFLOAT16 else 1 if kind in SMALL or kind == E8M0 else np.dtype(PLAIN[kind]).itemsize


def raw(kind: str) -> np.dtype:
    """Return the NumPy type in which a kind's numbers lie in the file."""
    return np.dtype(PLAIN.get(kind, "<u2" if kind == BFLOAT16 else "|u1"))


def decoded(kind: str, numbers: np.ndarray) -> np.ndarray:
    """Return what `raw` numbers are, in the machine's byte order: types that NumPy lacks as float32."""
    if kind == BFLOAT16:
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    if kind in SMALL or kind == E8M0:
        return table(kind)[numbers]
    return numbers.astype(numbers.dtype.newbyteorder("="), copy=False)


@cache
def table(kind: str) -> np.ndarray:
    """Return the 256 numbers of a type of eight bits, float32."""
    if kind == E8M0:
        return np.array([*(2.0 ** (code - 127) for code in range(255)), math.nan], np.float32)
    return np.array([_number(SMALL[kind], code) for code in range(256)], np.float32)


def _number(kind: Small, code: int) -> float:
    sign = -1.0 if code >> 7 else 1.0
    exponent, mantissa = (code & 127) >> kind.mantissa, code & ((1 << kind.mantissa) - 1)
    if kind.unsigned_zero and code == 128:
        return math.nan
    if kind.infinities and exponent == (1 << kind.exponent) - 1:
        return math.nan if mantissa else sign * math.inf
    if not kind.infinities and not kind.unsigned_zero and code & 127 == 127:
        return math.nan
    if exponent == 0:
        return sign * mantissa * 2.0 ** (1 - kind.bias - kind.mantissa)
    return sign * (1 + mantissa / (1 << kind.mantissa)) * 2.0 ** (exponent - kind.bias)


def elements(shape: tuple[int, ...]) -> int:
    """Return how many numbers a shape holds; ValueError for one that no array can have."""
    if len(shape) > MOST_AXES:
        raise ValueError(f"a tensor of {len(shape):,} axes, more than the {MOST_AXES} of any array")
    if any(type(size) is not int or not 0 <= size < 1 << 62 for size in shape):
        raise ValueError("a tensor whose shape is not whole numbers")
    return math.prod(shape)
