"""The objective of Multi-view Variational Distillation, with its gradients, in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from duoreid.core.losses.classification import cross_entropy
from duoreid.core.losses.cross_modality import centre_triplet, ranked_list
from duoreid.core.losses.distillation import distillation, jensen_shannon
from duoreid.core.losses.metric import triplet
from duoreid.core.losses.transport import mutual_learning

VIEWS = ("visible", "infrared", "shared_visible", "shared_infrared")
"""The visible branch on colour, the infrared branch on grey, and the shared branch on colour and on grey."""

VIEW_WEIGHTS = {"visible": 0.5, "infrared": 0.5, "shared_visible": 0.25, "shared_infrared": 0.25}
"""Share of each view in the identity and the metric loss."""


class View(NamedTuple):
    """What a view yields: the neck output v (B, D) with its logits (B, C), and z (B, Z) with its own (B, C).

    Arrays here, a framework's tensors in a backend.
    """

    observation: Any
    observation_logits: Any
    representation: Any
    representation_logits: Any


def mvd(
    views: Mapping[str, View],
    labels: np.ndarray,
    modalities: np.ndarray,
    *,
    objective: str = "full",
    metric: str = "ranked-list",
    margin: float = 0.3,
    form: str = "paper",
    cml: float = 0.0,
    vsd: float = 0.0,
    vcd: float = 0.0,
    vml: float = 0.0,
    smoothing: float = 0.1,
    classes: int | None = None,
) -> tuple[float, dict[str, float], dict[str, View]]:
    """Return the loss, its parts before weighting, and the gradients of each view's outputs.

    views: all of VIEWS, of the same images in the same order. labels, modalities: integers (B,).
    objective: "id", "id+tri" or "full". metric: "ranked-list", "triplet" or "centre", the latter two with `margin`.
    form: of the distillation, "paper" or "reference". cml, vsd, vcd, vml: weights; a term of weight 0 is not
    computed and is no part. With p the softmax of a view's observation logits and q that of its representation's:

    id      sum over views of weight * (cross-entropy of p + that of q)
    metric  sum over views of weight * (metric loss of v + that of z)
    vsd     KL(p || q) of visible + of infrared, p constant
    vcd     (KL(p_shared_visible || q_shared_infrared) + KL(p_shared_infrared || q_shared_visible)) / 2, p constant
    vml     Jensen-Shannon divergence of q_shared_visible and q_shared_infrared
    cml     entropic Wasserstein distance between the rows of p_visible and those of p_infrared; in the "reference"
            form guarded and from infrared to visible

    Raises ValueError as these losses do, for other views and for unknown names.
    Source: Tian et al., "Farewell to Mutual Information: Variational Distillation for Cross-Modal Person
    Re-Identification", CVPR 2021.
    """
    if set(views) != set(VIEWS):
        raise ValueError(f"MVD compares the views {', '.join(VIEWS)}, but got {', '.join(views)}.")
    if objective not in ("id", "id+tri", "full"):
        raise ValueError(f"The objective must be 'id', 'id+tri' or 'full', but is {objective!r}.")
    total = _Sum(views)
    for name, view in views.items():
        for field in ("observation_logits", "representation_logits"):
            value, gradient = cross_entropy(getattr(view, field), labels, smoothing=smoothing, classes=classes)
            total.add("id", VIEW_WEIGHTS[name], value, {(name, field): gradient})
        if objective != "id":
            for field in ("observation", "representation"):
                value, gradient = _metric(metric, margin)(getattr(view, field), labels, modalities)
                total.add("metric", VIEW_WEIGHTS[name], value, {(name, field): gradient})
    if objective == "full":
        _distil(total, views, {"cml": cml, "vsd": vsd, "vcd": vcd, "vml": vml}, form, classes)
    return total.value, total.parts, total.gradients


def _distil(
    total: _Sum, views: Mapping[str, View], weights: Mapping[str, float], form: str, classes: int | None
) -> None:
    """Add the distillation terms whose weight is above 0."""
    pairs = {
        "vsd": (1.0, (("visible", "visible"), ("infrared", "infrared"))),
        "vcd": (0.5, (("shared_visible", "shared_infrared"), ("shared_infrared", "shared_visible"))),
    }
    for term, (share, of) in pairs.items():
        for observed, represented in of if weights[term] else ():
            value, gradient = distillation(
                views[observed].observation_logits,
                views[represented].representation_logits,
                form=form,
                classes=classes,
            )
            total.add(term, share, value, {(represented, "representation_logits"): gradient}, weights[term])
    specific = ("infrared", "visible") if form == "reference" else ("visible", "infrared")
    mutual = {
        "vml": (jensen_shannon, "representation_logits", ("shared_visible", "shared_infrared")),
        "cml": (partial(mutual_learning, form=form), "observation_logits", specific),
    }
    for term, (function, field, names) in mutual.items():
        if weights[term]:
            value, *gradients = function(*(getattr(views[name], field) for name in names), classes=classes)
            by_view = {(name, field): gradient for name, gradient in zip(names, gradients, strict=True)}
            total.add(term, 1.0, value, by_view, weights[term])


def _metric(name: str, margin: float) -> Callable[..., tuple[float, np.ndarray]]:
    metrics = {
        "ranked-list": ranked_list,
        "triplet": lambda features, labels, modalities: triplet(features, labels, margin),
        "centre": lambda features, labels, modalities: centre_triplet(features, labels, modalities, margin),
    }
    if name not in metrics:
        raise ValueError(f"The metric loss must be one of {', '.join(metrics)}, but is {name!r}.")
    return metrics[name]


class _Sum:
    """The weighted sum of terms: value, parts and gradients."""

    def __init__(self, views: Mapping[str, View]) -> None:
        self.value, self.parts = 0.0, {}
        self.gradients = {name: View(*(np.zeros(np.shape(value)) for value in view)) for name, view in views.items()}

    def add(
        self,
        part: str,
        share: float,
        value: float,
        gradients: Mapping[tuple[str, str], np.ndarray],
        weight: float = 1.0,
    ) -> None:
        """Add weight * share * value to the loss and share * value to its part; gradients by view and field."""
        self.parts[part] = self.parts.get(part, 0.0) + share * value
        self.value += weight * share * value
        for (view, field), gradient in gradients.items():
            getattr(self.gradients[view], field)[...] += weight * share * gradient
