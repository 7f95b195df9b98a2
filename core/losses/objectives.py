"""What a method's step minimises, in float64: from a learner's configuration and what its networks returned.

outputs: by role what a network returned in training, float64 arrays; batch: the step's (core/contract/learner.py);
classes: live ones. Each returns the losses by name, "total" among them, as a backend's `losses` names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from duoreid.core.contract.learner import Batch
from duoreid.core.losses.classification import cross_entropy
from duoreid.core.losses.metric import softmax_triplet
from duoreid.core.losses.mmt import mmt
from duoreid.core.losses.mvd import View, mvd
from duoreid.core.settings.config import LearnerConfig

Outputs = Mapping[str, Any]
SOFT_AND_HARD = ("hard_ce", "hard_triplet", "soft_ce", "soft_triplet")
DISTILLATION = ("cml", "vsd", "vcd", "vml")


def supervised(config: LearnerConfig, outputs: Outputs, batch: Batch, classes: int) -> dict[str, float]:
    """Hard losses of one network, each at weight 1. outputs: of "student" (features (B, D), logits (B, C))."""
    features, logits = outputs["student"][:2]
    parts = {
        "hard_ce": cross_entropy(logits, batch.labels, smoothing=config.section.smoothing, classes=classes)[0],
        "hard_triplet": softmax_triplet(features, batch.labels)[0],
    }
    return parts | {"total": sum(parts.values())}


def mutual_mean_teaching(config: LearnerConfig, outputs: Outputs, batch: Batch, classes: int) -> dict[str, float]:
    """Losses of MMT (Ge, Chen, Li, ICLR 2020, section 3.2). outputs: (features (B, D), logits (B, C)) of all four."""
    students, teachers = ([outputs[f"{kind}{k}"][1::-1] for k in (1, 2)] for kind in ("student", "teacher"))
    weights = {name: getattr(config.section, name) for name in SOFT_AND_HARD}
    settings = weights | {"smoothing": config.section.smoothing, "classes": classes}
    total, parts, _ = mmt(students, teachers, batch.labels, **settings)
    return parts | {"total": total}


def variational_distillation(
    config: LearnerConfig, outputs: Outputs, batch: Batch, classes: int, **changes: float
) -> dict[str, float]:
    """Losses of MVD (Tian et al., CVPR 2021). outputs: a View of each branch, the shared one's of both forms in a row.

    changes: of the oracle's settings.
    """
    section, count = config.section, 2 * len(batch.labels)
    labels = np.tile(batch.labels, 2)
    modalities = np.repeat(np.arange(2), len(batch.labels))
    settings = {
        "objective": section.objective,
        "metric": section.metric,
        "margin": section.margin,
        "form": section.distillation,
        "smoothing": section.smoothing,
        "classes": classes,
        **{name: getattr(section, name) for name in DISTILLATION},
    }
    total, parts, _ = mvd(four_views(outputs, count), labels, modalities, **(settings | changes))
    return parts | {"total": total}


def four_views(outputs: Outputs, count: int) -> dict[str, View]:
    """Return the views by name: the shared branch saw `count` images in colour, then as many in grey."""
    shared = outputs["shared"]
    return {
        "visible": outputs["visible"],
        "infrared": outputs["infrared"],
        "shared_visible": View(*(part[:count] for part in shared)),
        "shared_infrared": View(*(part[count:] for part in shared)),
    }
