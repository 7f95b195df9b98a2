"""k-reciprocal re-ranking, sparse.

Zhong, Zheng, Cao, Li: "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017, equation 12.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from duoreid.core.jaccard import encoding_of, farthest, upper_similarity
from duoreid.core.neighbours import search
from duoreid.core.numeric.inputs import as_count, as_features, row_blocks, squared_norms
from duoreid.core.numeric.products import product


def rerank(query: np.ndarray, gallery: np.ndarray, *, k1: int = 20, k2: int = 6, weight: float = 0.3) -> np.ndarray:
    """Return re-ranked distances float32 (Q, G): (1 - weight) Jaccard + weight original.

    query (Q, D), gallery (G, D): features, L2-normalised here. The original distance is squared Euclidean divided
    by the largest distance of the query to any point of either set, as in the published code; the weights of the
    encoding use the same. Only the result is dense: `rerank_blocks` gives it in blocks.
    Raises ValueError for features that are not finite, do not match or have no direction, and for k1, k2 or
    weight out of range.

    With weight 1 the squared distances 0, 2 and 4 remain, divided by the largest; with weight 0 the sets of neighbours
    decide, and only the first gallery image shares any with the query.

    >>> query, gallery = np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> rerank(query, gallery, k1=1, k2=1, weight=1.0).tolist()
    [[0.0, 0.5, 1.0]]
    >>> rerank(query, gallery, k1=1, k2=1, weight=0.0).tolist()
    [[0.0, 1.0, 1.0]]
    """
    blocks = [block for _, block in rerank_blocks(query, gallery, k1=k1, k2=k2, weight=weight)]
    return np.concatenate(blocks) if blocks else np.zeros((len(query), len(gallery)), np.float32)


def rerank_blocks(
    query: np.ndarray, gallery: np.ndarray, *, k1: int = 20, k2: int = 6, weight: float = 0.3
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first query, distances float32 (b, G)) in blocks, so that the Q x G matrix need not exist.

    >>> query, gallery = np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> for first, distances in rerank_blocks(query, gallery, k1=1, k2=1, weight=1.0):
    ...     print(first, distances.tolist())
    0 [[0.0, 0.5, 1.0]]
    """
    features = _joined(query, gallery)
    queries, count = len(query), len(features)
    k1, k2 = as_count(k1, "k1"), as_count(k2, "k2")
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must lie in [0, 1], but is {weight!r}")
    if not queries or count == queries:
        return
    indices, similarities, lowest = search(features, min(max(k1 + 1, k2), count), lowest=True)
    encoding = encoding_of(features, indices, similarities, lowest, k1, k2)
    similarity = upper_similarity(encoding, rows=queries)[:, queries:]
    scales = 2 * weight / farthest(lowest)
    for block in row_blocks(queries, count - queries, entries=1 << 24, fewest=128):
        distances = product(features[block], features[queries:].T)
        np.subtract(1, distances, out=distances)
        np.maximum(distances, 0, out=distances)
        distances *= scales[block].astype(np.float32)[:, None]
        distances += np.float32(1 - weight)
        part = similarity[block.start : block.stop].tocoo()
        distances[part.row, part.col] -= np.float32(1 - weight) * part.data
        yield block.start, distances


def _joined(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    query, gallery = as_features(query, "query"), as_features(gallery, "gallery")
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"query and gallery must have as many columns, but have {query.shape} and {gallery.shape}; "
            "they must come from the same network"
        )
    features = np.concatenate([query, gallery])
    norms = np.sqrt(squared_norms(features))
    if not norms.all():
        row = int(np.argmin(norms))
        name = f"query row {row}" if row < len(query) else f"gallery row {row - len(query)}"
        raise ValueError(f"query and gallery must have no zero rows, but {name} has no direction to compare")
    features /= norms[:, None]
    return features
