"""The objective of Mutual Mean-Teaching, with its gradients, in float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from duoreid.core.losses.classification import cross_entropy, soft_cross_entropy
from duoreid.core.losses.metric import soft_softmax_triplet, softmax_triplet

Outputs = tuple[np.ndarray, np.ndarray]
"""What a network returns in training: logits (B, capacity) and features before the neck (B, D)."""


def mmt(
    students: Sequence[Outputs],
    teachers: Sequence[Outputs],
    labels: np.ndarray,
    *,
    hard_ce: float = 0.5,
    hard_triplet: float = 0.2,
    soft_ce: float = 0.5,
    soft_triplet: float = 0.8,
    smoothing: float = 0.1,
    classes: int | None = None,
) -> tuple[float, dict[str, float], tuple[Outputs, Outputs]]:
    """Return the loss, its four parts before weighting, and the gradients of each student's outputs.

    students, teachers: two (logits, features) each. Student 1 learns from teacher 2 and student 2 from teacher 1.
    labels: pseudo-labels, integers (B,). The four weights multiply the four parts, each of which is the sum over
    the two students: the paper's are (1 - w_ce, 1 - w_tri, w_ce, w_tri) with w_ce = 0.5 and w_tri = 0.8.
    Raises ValueError as the four losses do.
    Source: Ge, Chen, Li, "Mutual Mean-Teaching", ICLR 2020, section 3.2.
    """
    if len(students) != 2 or len(teachers) != 2:
        raise ValueError(
            f"MMT trains two students with two teachers, but got {len(students)} and {len(teachers)}: "
            "pass (logits, features) of each."
        )
    weights = {"hard_ce": hard_ce, "hard_triplet": hard_triplet, "soft_ce": soft_ce, "soft_triplet": soft_triplet}
    parts = dict.fromkeys(weights, 0.0)
    gradients = []
    for (logits, features), (teacher_logits, teacher_features) in zip(students, teachers[::-1], strict=True):
        terms = {
            "hard_ce": cross_entropy(logits, labels, smoothing=smoothing, classes=classes),
            "hard_triplet": softmax_triplet(features, labels),
            "soft_ce": soft_cross_entropy(logits, teacher_logits, classes=classes),
            "soft_triplet": soft_softmax_triplet(features, teacher_features, labels),
        }
        for name, (value, _) in terms.items():
            parts[name] += value
        weighted = {name: weights[name] * gradient for name, (_, gradient) in terms.items()}
        gradients.append(
            (weighted["hard_ce"] + weighted["soft_ce"], weighted["hard_triplet"] + weighted["soft_triplet"])
        )
    total = sum(weights[name] * parts[name] for name in weights)
    return float(total), parts, (gradients[0], gradients[1])
