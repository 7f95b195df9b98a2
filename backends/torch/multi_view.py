"""MVD's device half: three branches, four views, and the objective (Tian et al., CVPR 2021).

The visible branch sees all images of both modalities as they are, the infrared branch all in grey; the shared branch
sees both forms in one batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from duoreid.backends.torch import losses
from duoreid.backends.torch.inputs import Forward, Inputs
from duoreid.backends.torch.networks import ReIDNetwork, grey_form, normalise
from duoreid.core.contract.pairs import check_pairs, rows_of_branches
from duoreid.core.losses.mvd import VIEW_WEIGHTS, View
from duoreid.core.settings.config import LearnerConfig
from duoreid.core.settings.cross_modal import MVDConfig


def both_forms(views: Sequence[Tensor], dtype: torch.dtype, config: LearnerConfig) -> list[Tensor]:
    """Images uint8 (B, H, W, 3) of each modality -> all of them in colour and in grey, (V * B, 3, H, W) each."""
    images = torch.cat(list(views))
    return [normalise(images, dtype), grey_form(images, dtype, config.section.grey_form)]


def joint_feature(networks: Sequence[ReIDNetwork], forms: Sequence[Tensor]) -> Tensor:
    """Colour and grey images (b, 3, H, W) -> the four observations as one L2-normalised row, (1, b, 4 D)."""
    visible, infrared, shared = networks
    colour, grey = forms
    both = shared.observe(torch.cat([colour, grey]))
    # Not chunk, whose sizes an exported program would keep from the batch that it was traced with.
    first, second = both.reshape(2, -1, both.shape[1]).unbind()
    four = [visible.observe(colour), infrared.observe(grey), first, second]
    if shared.each:
        four = [torch.nn.functional.normalize(one) for one in four]
    return torch.nn.functional.normalize(torch.cat(four, dim=1))[None]


def variational_distillation(
    forward: Forward, inputs: Inputs, classes: Tensor, config: LearnerConfig
) -> dict[str, Tensor]:
    """Objective of MVD. inputs: colour and grey (2 B, 3, H, W), visible images first; labels (B,); noise (8 B, 256)."""
    views = four_views(forward, inputs, config.section)
    labels = inputs.labels.repeat(2)
    modalities = torch.arange(2, device=labels.device).repeat_interleave(len(inputs.labels))
    section = config.section
    parts = {"id": identity(views, labels, classes, section.smoothing)}
    total = parts["id"]
    if section.objective != "id":
        parts["metric"] = metric(views, labels, modalities, section.metric, section.margin)
        total = total + parts["metric"]
    if section.objective == "full":
        for name, term in DISTILLATION.items():
            weight = getattr(section, name)
            if weight:
                parts[name] = term(views, classes, section.distillation)
                total = total + weight * parts[name]
    return parts | {"total": total}


def four_views(forward: Forward, inputs: Inputs, section: MVDConfig) -> dict[str, View]:
    """Run the branches: images in colour and grey -> the outputs of the four views, by name.

    Raises ValueError where images, labels and noise do not belong together.
    """
    colour, grey = inputs.views
    count = len(colour)
    rows = None if inputs.noise is None else len(inputs.noise)
    check_pairs(count, len(inputs.labels), rows, dropout=bool(section.dropout))
    noise = [inputs.noise[part] if section.dropout else None for part in rows_of_branches(count)]
    first, second = shared_views(forward, colour, grey, noise[2], section.shared_norm)
    return {
        "visible": View(*forward("visible", colour, noise[0])),
        "infrared": View(*forward("infrared", grey, noise[1])),
        "shared_visible": first,
        "shared_infrared": second,
    }


def shared_views(forward: Forward, colour: Tensor, grey: Tensor, noise: Tensor | None, order: str) -> tuple[View, View]:
    """Run the shared branch on both forms together, or on one after the other; order: of `shared_norm`."""
    if order == "together":
        both = [part.chunk(2) for part in forward("shared", torch.cat([colour, grey]), noise)]
        return View(*(part[0] for part in both)), View(*(part[1] for part in both))
    of_colour, of_grey = (None, None) if noise is None else noise.chunk(2)
    if order == "colour-first":
        first = View(*forward("shared", colour, of_colour))
        return first, View(*forward("shared", grey, of_grey))
    second = View(*forward("shared", grey, of_grey))
    return View(*forward("shared", colour, of_colour)), second


def identity(views: dict[str, View], labels: Tensor, classes: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of all eight logits, weighted by view."""
    return sum(
        VIEW_WEIGHTS[name]
        * (
            losses.cross_entropy(view.observation_logits, labels, classes, smoothing)
            + losses.cross_entropy(view.representation_logits, labels, classes, smoothing)
        )
        for name, view in views.items()
    )


def metric(views: dict[str, View], labels: Tensor, modalities: Tensor, kind: str, margin: float) -> Tensor:
    """Metric loss of all eight features, weighted by view. kind: "ranked-list", "triplet" or "centre"."""

    def loss(features: Tensor) -> Tensor:
        if kind == "ranked-list":
            return losses.ranked_list(features, labels, modalities)
        if kind == "triplet":
            return losses.triplet(features, labels, margin)
        return losses.centre_triplet(features, labels, modalities, margin)

    return sum(
        VIEW_WEIGHTS[name] * (loss(view.observation) + loss(view.representation)) for name, view in views.items()
    )


def self_distillation(views: dict[str, View], classes: Tensor, form: str) -> Tensor:
    """VSD: each specific branch's representation follows its own observation."""
    return sum(
        losses.distillation(views[name].observation_logits, views[name].representation_logits, classes, form)
        for name in ("visible", "infrared")
    )


def cross_distillation(views: dict[str, View], classes: Tensor, form: str) -> Tensor:
    """VCD: the shared branch's representation of one form follows its observation of the other."""
    first, second = views["shared_visible"], views["shared_infrared"]
    return 0.5 * (
        losses.distillation(first.observation_logits, second.representation_logits, classes, form)
        + losses.distillation(second.observation_logits, first.representation_logits, classes, form)
    )


def variational_mutual_learning(views: dict[str, View], classes: Tensor, form: str) -> Tensor:
    """VML: the shared branch's representations of both forms agree."""
    first, second = views["shared_visible"], views["shared_infrared"]
    return losses.jensen_shannon(first.representation_logits, second.representation_logits, classes)


def conventional_mutual_learning(views: dict[str, View], classes: Tensor, form: str) -> Tensor:
    """CML: the observations of the two specific branches agree, as clouds; the reference moves infrared to visible."""
    names = ("infrared", "visible") if form == "reference" else ("visible", "infrared")
    return losses.mutual_learning(*(views[name].observation_logits for name in names), classes, form)


DISTILLATION = {
    "cml": conventional_mutual_learning,
    "vsd": self_distillation,
    "vcd": cross_distillation,
    "vml": variational_mutual_learning,
}
"""Terms of the full objective by the name of their weight."""
