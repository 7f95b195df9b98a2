"""From features to clusters in one call: k-reciprocal Jaccard similarity, then DBSCAN."""

from __future__ import annotations

import numpy as np

from duoreid.core.dbscan import dbscan, eps_from_share
from duoreid.core.jaccard import jaccard_graph


def cluster(
    features: np.ndarray,
    *,
    eps: float | None = None,
    share: float = 1.6e-3,
    min_samples: int = 4,
    k1: int = 30,
    k2: int = 6,
    scale: str | None = None,
) -> np.ndarray:
    """Return each image's cluster, int32 (N,), -1 for those that belong to none.

    features: L2-normalised float32 (N, D). eps: Jaccard distance of neighbours; None: the mean of the smallest `share`
    of all distances. min_samples: images that make a cluster's core. k1, k2, scale: see `jaccard_similarity`.
    Source: Song et al., "Unsupervised domain adaptive re-identification: Theory and practice", Pattern Recognition
    2020, section 4. Raises ValueError as `jaccard_similarity`, `eps_from_share` and `dbscan` do.

    >>> twins = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> cluster(twins, eps=0.5, min_samples=2, k1=1, k2=1).tolist()
    [0, 0, 1, 1]
    """
    graph = jaccard_graph(features, k1=k1, k2=k2, scale=scale, radius=eps)
    chosen = eps_from_share(graph, share) if eps is None else eps
    return dbscan(graph, eps=chosen, min_samples=min_samples)
