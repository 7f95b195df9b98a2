"""Triplet losses on features, with their gradients, in float64.

All mine with `core.mining.batch_hard`, whose indices are constants to the gradient; the gradient does flow through
the distances, except where max(d^2, 1e-12) clips. A batch of one identity has no negatives: it costs 0, gradient 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from duoreid.core.losses.classification import log_softmax
from duoreid.core.mining import MINIMUM_SQUARED_DISTANCE, batch_hard, euclidean_distances, same_identity


def softmax_triplet(features: np.ndarray, labels: np.ndarray, margin: float = 0.0) -> tuple[float, np.ndarray]:
    """Return mean -(m l_ap + (1 - m) l_an) with l = log_softmax([d_ap, d_an]), and its gradient.

    features: (B, D). labels: integers (B,). margin: m in [0, 1]; 0 gives mean log(1 + exp(d_ap - d_an)).
    Raises ValueError as `same_identity` does.
    Source: Ge, Chen, Li, "Mutual Mean-Teaching", ICLR 2020, section 3.2 (hard pseudo-labels).
    """
    if not 0 <= margin <= 1:
        raise ValueError(f"The softmax triplet's margin must lie in [0, 1], but is {margin}: it is a probability.")
    mined = _mine(features, labels)
    return _softmax_triplet_to(np.broadcast_to([margin, 1 - margin], (len(features), 2)), mined)


def soft_softmax_triplet(
    features: np.ndarray, teacher_features: np.ndarray, labels: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return mean -sum(q l), q = softmax of the teacher's [d_ap, d_an], and its gradient for `features` only.

    features: (B, D), on which the pairs are mined. teacher_features: (B, D'), a constant, whose distances are read
    at the same indices. labels: integers (B,). Raises ValueError as `same_identity` does.
    Source: Ge, Chen, Li, "Mutual Mean-Teaching", ICLR 2020, section 3.2 (soft pseudo-labels).
    """
    if len(teacher_features) != len(features):
        raise ValueError(
            f"Student and teacher must see one batch, but have {len(features)} and {len(teacher_features)} rows."
        )
    mined = _mine(features, labels)
    teacher_distances = euclidean_distances(np.asarray(teacher_features, dtype=np.float64))
    if not np.isfinite(teacher_distances).all():
        raise ValueError("The teacher's features must be finite, but some are NaN or infinite.")
    return _softmax_triplet_to(np.exp(log_softmax(_at(teacher_distances, mined.pairs))), mined)


def triplet(features: np.ndarray, labels: np.ndarray, margin: float = 0.3) -> tuple[float, np.ndarray]:
    """Return mean max(0, d_ap - d_an + margin), and its gradient (0 at the hinge itself).

    features: (B, D). labels: integers (B,). Raises ValueError as `same_identity` does.
    Source: Hermans, Beyer, Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017, eq. 5.
    """
    mined = _mine(features, labels)
    violation = _at(mined.distances, mined.pairs) @ [1.0, -1.0] + margin
    active = (violation > 0)[:, None] * [1.0, -1.0]
    return _mean_over_anchors(np.maximum(violation, 0), active, mined)


def distance_gradient(upstream: np.ndarray, distances: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return the features' gradient, given that of their distances: both sides of each pair receive it.

    upstream, distances: (B, B), distances as from euclidean_distances(features). features: (B, D). Returns (B, D).
    With d_ij = |x_i - x_j|, dd_ij / dx_i = (x_i - x_j) / d_ij = -dd_ij / dx_j, and 0 where d_ij is clipped.
    """
    clipped = distances <= np.sqrt(MINIMUM_SQUARED_DISTANCE)
    weights = np.where(clipped, 0.0, upstream / distances)
    weights = weights + weights.T
    return weights.sum(axis=1, keepdims=True) * features - weights @ features


class Mined(NamedTuple):
    """Features (B, D) in float64, their distances (B, B), each anchor's [positive, negative] (B, 2), whether any."""

    features: np.ndarray
    distances: np.ndarray
    pairs: np.ndarray
    any: bool


def _mine(features: np.ndarray, labels: np.ndarray) -> Mined:
    features = np.asarray(features, dtype=np.float64)
    distances = euclidean_distances(features)
    if len(features) and same_identity(distances, labels).all():
        return Mined(features, distances, np.zeros((len(features), 2), np.int64), any=False)
    return Mined(features, distances, np.stack(batch_hard(distances, labels), axis=1), any=True)


def _at(distances: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return np.take_along_axis(distances, pairs, axis=1)


def _softmax_triplet_to(target: np.ndarray, mined: Mined) -> tuple[float, np.ndarray]:
    """Return the cross-entropy of softmax([d_ap, d_an]) to target probabilities (B, 2), and its gradient."""
    log_probabilities = log_softmax(_at(mined.distances, mined.pairs))
    return _mean_over_anchors(-(target * log_probabilities).sum(axis=1), np.exp(log_probabilities) - target, mined)


def _mean_over_anchors(losses: np.ndarray, upstream: np.ndarray, mined: Mined) -> tuple[float, np.ndarray]:
    """Return the mean of the anchors' losses (B,) and the features' gradient, given that by d_ap and d_an (B, 2).

    Both are 0 where there are no pairs.
    """
    if not mined.any:
        return 0.0, np.zeros_like(mined.features)
    scattered = np.zeros_like(mined.distances)
    np.put_along_axis(scattered, mined.pairs, upstream / len(losses), axis=1)
    return float(losses.mean()), distance_gradient(scattered, mined.distances, mined.features)
