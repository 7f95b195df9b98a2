"""Large arrays by a few thousand of their numbers, always at the same places, and distances from these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

import numpy as np

from duoreid.core.random import rng

Arrays = dict[str, np.ndarray]
LIMIT, WEIGHTS_LIMIT = 4096, 512
"""Numbers kept of an output or a gradient, and of a weight at one of many steps."""


@cache
def places(size: int, limit: int) -> np.ndarray:
    """Return `limit` places in an array of a size, drawn with replacement, from its size alone."""
    return rng(0, "parity/places", size, limit).integers(0, size, limit)


def sample(array: np.ndarray, limit: int = LIMIT) -> np.ndarray:
    """Return a flat array: all numbers where there are no more than `limit`, else those at `places`."""
    flat = np.asarray(array).reshape(-1)
    return flat.copy() if flat.size <= limit else flat[places(flat.size, limit)]


def relative(actual: np.ndarray, expected: np.ndarray, least: float = 0.0) -> float:
    """Return the L2 distance of samples, relative to the expected one's norm; infinite where shapes differ.

    least: a norm below which distances are relative to it instead, for what is 0 in truth.
    """
    if np.shape(actual) != np.shape(expected):
        return float("inf")
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    norm = max(float(np.linalg.norm(expected)), least)
    apart = float(np.linalg.norm(actual - expected))
    if not np.isfinite(apart):
        return float("inf")
    return apart / norm if norm else apart


def under(arrays: Mapping[str, np.ndarray], prefix: str) -> Arrays:
    """Return the arrays whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def together(samples: Mapping[str, np.ndarray], names: Iterable[str]) -> np.ndarray:
    """Return several samples behind one another."""
    return np.concatenate([np.asarray(samples[name], np.float64).reshape(-1) for name in names])
