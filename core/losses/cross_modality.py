"""Metric losses that know the modality of each image, with their gradients, in float64."""

from __future__ import annotations

import numpy as np

from duoreid.core.losses.metric import distance_gradient, triplet
from duoreid.core.mining import euclidean_distances

GUARD = 1e-5
"""Added to counts and to sums of weights, so that an anchor without pairs of a kind costs 0."""


def ranked_list(
    features: np.ndarray,
    labels: np.ndarray,
    modalities: np.ndarray,
    *,
    within: tuple[float, float] = (0.9, 2.2),
    across: tuple[float, float] = (1.0, 2.0),
) -> tuple[float, np.ndarray]:
    """Return the ranked-list loss within a modality plus that across modalities, and its gradient.

    features: (B, D), L2-normalised here. labels, modalities: integers (B,). within, across: (margin m, alpha a).
    For each anchor, and each of the two kinds of pairs (the anchor itself is no pair):
    positives   sum max(0, d - (a - m)) / (count + 1e-5)
    negatives   sum w (a - d) / (sum w + 1e-5) over those with d < a, w = exp(a - d); the gradient flows through w
    The loss is the mean over anchors of the sum of all four terms.
    Raises ValueError on shapes that do not match, on features that are not finite and on one of length 0.
    Source: Wang et al., "Ranked List Loss for Deep Metric Learning", CVPR 2019, as MVD's public code uses it.
    """
    features, labels, modalities = _check(features, labels, modalities)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise ValueError("The ranked-list loss normalises features, but one has length 0: its network has died.")
    unit = features / lengths
    distances = euclidean_distances(unit)
    same_modality = modalities[:, None] == modalities
    same_identity = labels[:, None] == labels
    loss, upstream = 0.0, np.zeros_like(distances)
    for kind, (margin, alpha) in ((same_modality, within), (~same_modality, across)):
        positive = kind & same_identity & ~np.eye(len(labels), dtype=bool)
        for value, slope in (
            _pull(distances, positive, alpha - margin),
            _push(distances, kind & ~same_identity, alpha),
        ):
            loss += float(value.mean())
            upstream += slope / len(labels)
    gradient = distance_gradient(upstream, distances, unit)
    return loss, (gradient - unit * (unit * gradient).sum(axis=1, keepdims=True)) / lengths


def centre_triplet(
    features: np.ndarray, labels: np.ndarray, modalities: np.ndarray, margin: float = 0.3
) -> tuple[float, np.ndarray]:
    """Return the batch-hard triplet loss between the centres of each identity in each modality, and its gradient.

    features: (B, D). labels, modalities: integers (B,). A centre is the mean of an identity's features in one
    modality; centres are ordered by label, then modality, and mined as images are.
    One identity alone costs 0. Raises ValueError on shapes that do not match or features that are not finite.
    Source: Liu, Tan, Zhou, "Parameter Sharing Exploration and Hetero-Center Triplet Loss", TMM 2020.
    """
    features, labels, modalities = _check(features, labels, modalities)
    groups, members = np.unique(np.stack([labels, modalities], axis=1), axis=0, return_inverse=True)
    averaging = np.equal.outer(np.arange(len(groups)), members.ravel()).astype(np.float64)
    averaging /= averaging.sum(axis=1, keepdims=True)
    loss, gradient = triplet(averaging @ features, groups[:, 0], margin)
    return loss, averaging.T @ gradient


def _pull(distances: np.ndarray, positive: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Return each anchor's mean hinge of positives beyond `reach` (B,), and its slope by distance (B, B)."""
    count = positive.sum(axis=1, keepdims=True) + GUARD
    beyond = np.where(positive, np.maximum(distances - reach, 0), 0)
    return (beyond / count).sum(axis=1), (beyond > 0) / count


def _push(distances: np.ndarray, negative: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Return each anchor's weighted mean violation of near negatives (B,), and its slope by distance (B, B)."""
    violation = np.where(negative & (distances < alpha), alpha - distances, 0)
    weights = np.where(violation > 0, np.exp(violation), 0)
    total = weights.sum(axis=1, keepdims=True) + GUARD
    mean = (weights * violation).sum(axis=1, keepdims=True) / total
    return mean[:, 0], weights / total * (mean - 1 - violation)


def _check(
    features: np.ndarray, labels: np.ndarray, modalities: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    features = np.asarray(features, dtype=np.float64)
    labels, modalities = np.asarray(labels), np.asarray(modalities)
    if features.ndim != 2 or len(features) == 0 or not labels.shape == modalities.shape == (len(features),):
        raise ValueError(
            "A loss across modalities needs features (B, D) with a label and a modality each, but got "
            f"{features.shape}, {labels.shape} and {modalities.shape}."
        )
    if not np.isfinite(features).all():
        raise ValueError("Features must be finite, but some are NaN or infinite: training has diverged.")
    return features, labels, modalities
