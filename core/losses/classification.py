"""Losses on logits, with their gradients, in float64.

classes: the number of live classes. A classifier has a fixed capacity; its columns from `classes` on are masked
out of the softmax, take no share of the smoothing and have gradient 0. None: all columns are live.
"""

from __future__ import annotations

import numpy as np


def cross_entropy(
    logits: np.ndarray, labels: np.ndarray, *, smoothing: float = 0.1, classes: int | None = None
) -> tuple[float, np.ndarray]:
    """Return mean_b -sum_c t_bc log softmax(logits)_bc with t = (1 - eps) onehot + eps / C, and its gradient.

    logits: (B, capacity). labels: integers (B,), below the number of live classes C. smoothing: eps in [0, 1).
    Raises ValueError on labels that are no live class and on logits that are not finite.
    Source: Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, section 7; MMT's hard loss.
    """
    live = live_logits(logits, classes)
    labels = check_labels(labels, live.shape[0], live.shape[1])
    if not 0 <= smoothing < 1:
        raise ValueError(f"Label smoothing must lie in [0, 1), but is {smoothing}: the papers use 0.1.")
    target = (1 - smoothing) * np.eye(live.shape[1])[labels] + smoothing / live.shape[1]
    return _cross_entropy_to(target, live, np.shape(logits))


def soft_cross_entropy(
    logits: np.ndarray, teacher_logits: np.ndarray, *, classes: int | None = None
) -> tuple[float, np.ndarray]:
    """Return mean_b -sum_c softmax(teacher)_bc log softmax(logits)_bc, and its gradient for `logits` only.

    Both (B, capacity). The teacher is a constant. Raises ValueError on unequal shapes and on what is not finite.
    Source: Ge, Chen, Li, "Mutual Mean-Teaching", ICLR 2020, section 3.2.
    """
    if np.shape(logits) != np.shape(teacher_logits):
        raise ValueError(
            f"A student's and a teacher's logits must match, but got {np.shape(logits)} and "
            f"{np.shape(teacher_logits)}: both networks need classifiers of one capacity."
        )
    live = live_logits(logits, classes)
    target = np.exp(log_softmax(live_logits(teacher_logits, classes)))
    return _cross_entropy_to(target, live, np.shape(logits))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return the logarithm of the softmax over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def live_logits(logits: np.ndarray, classes: int | None) -> np.ndarray:
    """Return the live columns as float64, or raise ValueError where they are no finite matrix."""
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim != 2 or logits.size == 0:
        raise ValueError(f"Logits must have shape (B, C) with B and C above 0, but have {logits.shape}.")
    classes = logits.shape[1] if classes is None else classes
    if not 1 <= classes <= logits.shape[1]:
        raise ValueError(
            f"The number of live classes must lie in 1 to {logits.shape[1]}, the classifier's capacity, but is "
            f"{classes}: grow the classifier or pass fewer classes."
        )
    live = logits[:, :classes]
    if not np.isfinite(live).all():
        raise ValueError("Logits must be finite, but some are NaN or infinite: training has diverged.")
    return live


def check_labels(labels: np.ndarray, count: int, classes: int) -> np.ndarray:
    """Return integer labels (count,) that all lie below `classes`, or raise ValueError."""
    labels = np.asarray(labels)
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(f"Labels must be integers ({count},), but are {labels.dtype} {labels.shape}.")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"Labels must lie in 0 to {classes - 1}, the live classes, but span {labels.min()} to {labels.max()}: "
            "leave outliers (-1) out of the batch and number classes without gaps."
        )
    return labels


def _cross_entropy_to(target: np.ndarray, live: np.ndarray, shape: tuple[int, ...]) -> tuple[float, np.ndarray]:
    """Return the cross-entropy to target probabilities (B, C) and its gradient at the full capacity."""
    log_probabilities = log_softmax(live)
    gradient = np.zeros(shape)
    gradient[:, : live.shape[1]] = (np.exp(log_probabilities) - target) / len(live)
    return float(-(target * log_probabilities).sum(axis=1).mean()), gradient
