"""Where k-means starts.

Arthur and Vassilvitskii: "k-means++: The Advantages of Careful Seeding", SODA 2007, with several candidates for each
centre as they suggest; Achlioptas: "Database-friendly random projections", 2003, makes their distances cheap. Every
number is a whole one that float32 holds exactly, so no matrix product rounds and the rows drawn are the same whatever
the number of threads.
"""

from __future__ import annotations

import math

import numpy as np

from duoreid.core.numeric.inputs import as_count, as_features, row_blocks, squared_norms
from duoreid.core.numeric.products import product
from duoreid.core.random import rng

EXACT = 1 << 24  # float32 holds whole numbers up to here
WIDTH = 256  # dimensions of the sketch: distances are kept to about 9 per cent


def start_rows(features: np.ndarray, clusters: int, *, seed: int, restart: int = 0) -> np.ndarray:
    """Return `clusters` different rows of features (N, D) to start k-means from: int64 (K,).

    Each is drawn with probability proportional to the squared distance to the nearest row drawn before (as a sketch
    of the features keeps it); of 2 + log(K) candidates the one that lowers the sum of these distances most is taken.
    Raises ValueError where clusters is not in 1..N.
    """
    features, clusters = as_features(features, "features"), as_count(clusters, "clusters")
    count = len(features)
    if clusters > count:
        raise ValueError(
            f"clusters must be at most the number of points, but is {clusters} and features has {features.shape}"
        )
    random = rng(seed, "k-means", restart)
    points = _sketch(features, random)
    half = squared_norms(points) / 2
    candidates = 2 + int(math.log(clusters))
    rows = np.empty(clusters, np.int64)
    rows[0] = random.integers(count)
    nearest = _half_distances(points, half, rows[:1])[0]
    for drawn in range(1, clusters):
        total = np.cumsum(nearest, dtype=np.float64)
        if total[-1] == 0:  # nothing but duplicates is left
            left = np.setdiff1d(np.arange(count), rows[:drawn])
            rows[drawn:] = random.choice(left, clusters - drawn, replace=False)
            break
        chosen = np.searchsorted(total, random.random(candidates) * total[-1], side="right")
        chosen = np.minimum(chosen, count - 1)  # where the product rounds up to the total
        lowered = np.minimum(_half_distances(points, half, chosen), nearest)
        best = lowered.sum(axis=1, dtype=np.float64).argmin()
        rows[drawn], nearest = chosen[best], lowered[best]
    return rows


def _half_distances(points: np.ndarray, half: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return half the squared distance of each row to each point: float32 (R, N), exact to a half."""
    distances = product(points[rows], points.T)
    np.subtract(half, distances, out=distances)
    distances += half[rows, None]
    return distances


def _sketch(features: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return points of whole numbers (N, min(D, WIDTH)) whose distances are about those of the features."""
    width = features.shape[1]
    largest = max(float(features.max()), -float(features.min()))
    points = features
    if width > WIDTH:
        signs = random.choice(np.float32([-1, 1]), size=(width, WIDTH))
        scale = min(EXACT // width, 1 << 10) / largest if largest else 0.0
        scale = np.float32(min(scale, float(np.finfo(np.float32).max)))
        points = np.empty((len(features), WIDTH), np.float32)
        for block in row_blocks(len(features), width):
            points[block] = product(np.rint(features[block] * scale), signs)
    norm = np.sqrt(squared_norms(points).max(initial=0), dtype=np.float64)
    # the squared distance of two points is at most 4 |p|^2; rounding may lengthen a point by sqrt(width) / 2
    longest = math.sqrt(EXACT / 4) - math.sqrt(points.shape[1])
    return np.rint(points * np.float32(longest / norm)) if norm else np.zeros_like(points)
