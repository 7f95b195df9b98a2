"""How well pseudo-labels agree with hidden identities.

Hubert and Arabie: "Comparing partitions", 1985 (adjusted Rand index). Strehl and Ghosh: "Cluster ensembles", 2002
(normalised mutual information; here over the arithmetic mean of the entropies).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duoreid.core.numeric.inputs import as_integers

OUTLIER = -1


@dataclass(frozen=True)
class Agreement:
    """Agreement over the points that have a label; outliers (-1) count only in their share.

    adjusted_rand: adjusted Rand index, 1 for equal partitions, about 0 for random ones. mutual_information:
    normalised, in [0, 1]. precision: of the pairs with one label, the share with one identity. recall: of the
    pairs with one identity, the share with one label. Both are 1 where there is no such pair.
    clusters: labels in use. outliers: share of all points without a label.
    adjusted_rand, mutual_information, precision and recall are NaN when every point is an outlier.
    """

    adjusted_rand: float
    mutual_information: float
    precision: float
    recall: float
    clusters: int
    outliers: float


def agreement(labels: np.ndarray, identities: np.ndarray) -> Agreement:
    """Compare pseudo-labels (N,), -1 for outliers, with identities (N,); both are integers.

    Raises ValueError for shapes that do not line up and for values that are not integers.

    Names of clusters do not matter, and outliers count in their share alone:

    >>> scores = agreement([5, 5, 2, 2, -1], [0, 0, 1, 1, 1])
    >>> scores.adjusted_rand, scores.clusters, round(scores.outliers, 3)
    (1.0, 2, 0.2)

    One cluster for two people: of its six pairs two are one person's, and both of these pairs are found.

    >>> scores = agreement([0, 0, 0, 0], [0, 0, 1, 1])
    >>> scores.adjusted_rand, round(scores.precision, 3), scores.recall
    (0.0, 0.333, 1.0)
    """
    labels = as_integers(labels, "labels", np.size(labels), "point")
    identities = as_integers(identities, "identities", len(labels), "point")
    kept = labels != OUTLIER
    outliers = 1 - kept.mean() if len(kept) else 0.0
    count = int(kept.sum())
    if count == 0:
        return Agreement(np.nan, np.nan, np.nan, np.nan, 0, float(outliers))
    _, label = np.unique(labels[kept], return_inverse=True)
    _, identity = np.unique(identities[kept], return_inverse=True)
    people = int(identity.max()) + 1
    both = np.unique(label.ravel() * people + identity.ravel(), return_counts=True)[1]
    sizes = [np.bincount(label.ravel()), np.bincount(identity.ravel())]
    same_label, same_identity = (_pairs(size) for size in sizes)
    shared, possible = _pairs(both), count * (count - 1) / 2
    return Agreement(
        _adjusted_rand(shared, same_label, same_identity, possible),
        _mutual_information(both, *sizes),
        shared / same_label if same_label else 1.0,
        shared / same_identity if same_identity else 1.0,
        len(sizes[0]),
        float(outliers),
    )


def _pairs(sizes: np.ndarray) -> float:
    return float((sizes * (sizes - 1) // 2).sum())


def _adjusted_rand(shared: float, same_label: float, same_identity: float, possible: float) -> float:
    expected = same_label * same_identity / possible if possible else 0.0
    most = (same_label + same_identity) / 2
    return 1.0 if most == expected else (shared - expected) / (most - expected)


def _entropy(sizes: np.ndarray) -> float:
    share = sizes / sizes.sum()
    return float(-(share * np.log(share)).sum())


def _mutual_information(both: np.ndarray, label_sizes: np.ndarray, identity_sizes: np.ndarray) -> float:
    """Return 2 I(label; identity) / (H(label) + H(identity)), with I = H(label) + H(identity) - H(both)."""
    if len(label_sizes) == len(identity_sizes) == 1:
        return 1.0
    total = _entropy(label_sizes) + _entropy(identity_sizes)
    return float(np.clip(2 * (total - _entropy(both)) / total, 0, 1))
