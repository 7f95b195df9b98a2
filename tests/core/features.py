"""Random features whose products are exact in float32, so that float32 and float64 agree on every tie."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies


def exact_unit_rows(random: np.random.Generator, count: int) -> np.ndarray:
    """Return unit rows (count, 16) of entries 0 and +-1/2 or +-1/4: many ties and duplicates, exact products."""
    rows = np.zeros((count, 16), np.float32)
    for row in rows:
        entries = 4 if random.random() < 0.5 else 16
        row[random.choice(16, entries, replace=False)] = random.choice([-1, 1], entries) / np.sqrt(entries)
    return rows


def clustered(random: np.random.Generator, count: int, clusters: int, width: int = 24, noise: float = 0.5):
    """Return L2-normalised features (count, width) around `clusters` centres, and their clusters."""
    centres = random.normal(size=(clusters, width))
    member = random.integers(clusters, size=count)
    features = centres[member] + noise * random.normal(size=(count, width))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32), member


generators = strategies.integers(0, 2**32 - 1).map(np.random.default_rng)
