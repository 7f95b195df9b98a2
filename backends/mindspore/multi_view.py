"""MVD's device half: three branches, four views, and the objective (Tian et al., CVPR 2021).

The visible branch sees all images of both modalities as they are, the infrared branch all in grey; the shared branch
sees both forms in one batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from duoreid.backends.mindspore import losses
from duoreid.backends.mindspore.layers import exact, of
from duoreid.backends.mindspore.networks import ReIDNetwork, VariationalNetwork, grey_form, normalise, unit
from duoreid.backends.mindspore.processes import Single, Whole
from duoreid.core.contract.learner import Batch
from duoreid.core.contract.pairs import check_pairs
from duoreid.core.losses.mvd import VIEW_WEIGHTS, VIEWS, View
from duoreid.core.settings.config import LearnerConfig
from duoreid.core.settings.cross_modal import MVDConfig

Views = Sequence[tuple[Tensor, Tensor, Tensor, Tensor]]
"""The outputs of the four views in the order of VIEWS, each in the order of a View's fields: compiled functions take
neither dictionaries of tensors nor named tuples everywhere."""

SHARES = exact([VIEW_WEIGHTS[name] for name in VIEWS])
VISIBLE, INFRARED, SHARED_VISIBLE, SHARED_INFRARED = range(len(VIEWS))
V, V_LOGITS, Z, Z_LOGITS = range(len(View._fields))


def both_forms(images: Tensor, dtype: ms.dtype, form: str) -> tuple[Tensor, Tensor]:
    """Images uint8 (B, H, W, 3) -> all of them in colour and in grey, (B, 3, H, W) each. form: of GREY_FORMS."""
    return normalise(images, dtype), grey_form(images, dtype, form)


def joint_feature(networks: Sequence[ReIDNetwork], images: Tensor, dtype: ms.dtype) -> Tensor:
    """Images uint8 (b, H, W, 3) -> the four observations as one L2-normalised row, (1, b, 4 D)."""
    return four_observations(networks, *both_forms(images, dtype, networks[0].grey_form)).expand_dims(0)


def four_observations(networks: Sequence[ReIDNetwork], colour: Tensor, grey: Tensor) -> Tensor:
    """Colour and grey images (b, 3, H, W) -> the four observations as one L2-normalised row, (b, 4 D)."""
    both = networks[2].observe(ops.cat((colour, grey)), False)
    first, second = halves(both)
    visible, infrared = networks[0].observe(colour, False), networks[1].observe(grey, False)
    if networks[2].each:
        visible, infrared, first, second = unit(visible), unit(infrared), unit(first), unit(second)
    return unit(ops.cat((visible, infrared, first, second), 1))


def halves(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(2 B, D) -> the first B rows and the others."""
    both = rows.reshape((2, -1, rows.shape[1]))
    return both[0], both[1]


class VariationalDistillation(nn.Cell):
    """Objective of MVD; a term of weight 0 is not computed and is no part."""

    def __init__(self, config: LearnerConfig, dtype: ms.dtype, processes: Single) -> None:
        super().__init__()
        self.whole = Whole(processes)
        section, self.dtype, self.together = config.section, dtype, 2
        self.grey_form, self.shared_norm = section.grey_form, section.shared_norm
        self.terms = distillation_terms(section)
        self.with_metric, self.metric, self.form, self.drops = (
            section.objective != "id",
            section.metric,
            section.distillation,
            section.dropout > 0,
        )
        weights = [1.0] * (1 + self.with_metric) + [getattr(section, name) for name in self.terms]
        self.NAMES = ("id", *["metric"] * self.with_metric, *self.terms, "total")
        self.weights = Tensor(np.array(weights), dtype)
        self.smoothing, self.margin = Tensor(section.smoothing, dtype), Tensor(section.margin, dtype)
        self.visible = VariationalNetwork.of(config, config.capacity, dtype)
        self.infrared = VariationalNetwork.of(config, config.capacity, dtype)
        self.shared = VariationalNetwork.of(config, config.capacity, dtype)

    def construct(
        self, views: Tensor, labels: Tensor, classes: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Views uint8 (2, B, H, W, 3), visible first; labels (B,); noise (8 B, 256) -> (total, losses as NAMES)."""
        outputs = self.four_views(views, noise, labels.shape[0])
        labels, count = ops.cat((labels, labels)), labels.shape[0]
        modalities = (ops.arange(2 * count) >= count).astype(ms.int32)
        parts = (identity(outputs, labels, classes, self.smoothing),)
        if self.with_metric:
            parts = (*parts, metric(outputs, labels, modalities, self.metric, self.margin))
        for name in self.terms:
            parts = (*parts, DISTILLATION[name](outputs, classes, self.form))
        return losses.weigh(parts, self.weights)

    def four_views(self, views: Tensor, noise: Tensor | None, labels: int) -> Views:
        """Run each branch once: images of each modality -> the outputs of the four views, for all processes' rows."""
        count = 2 * views.shape[1]
        colour, grey = both_forms(views.reshape((count, *views.shape[2:])), self.dtype, self.grey_form)
        first, second, third = (
            (noise[:count], noise[count : 2 * count], noise[2 * count :]) if self.drops else (None,) * 3
        )
        visible = self.whole(self.visible(colour, True, first), labels)
        infrared = self.whole(self.infrared(grey, True, second), labels)
        if self.shared_norm != "together":
            return visible, infrared, *self.one_by_one(colour, grey, third, labels)
        v, v_logits, z, z_logits = self.whole(self.shared(ops.cat((colour, grey)), True, third), labels)
        v, v_logits, z, z_logits = halves(v), halves(v_logits), halves(z), halves(z_logits)
        return visible, infrared, (v[0], v_logits[0], z[0], z_logits[0]), (v[1], v_logits[1], z[1], z_logits[1])

    def one_by_one(self, colour: Tensor, grey: Tensor, noise: Tensor | None, labels: int) -> Views:
        """Run the shared branch on one form after the other -> its views of colour and of grey."""
        of_colour, of_grey = halves(noise) if self.drops else (None, None)
        if self.shared_norm == "colour-first":
            first = self.whole(self.shared(colour, True, of_colour), labels)
            return first, self.whole(self.shared(grey, True, of_grey), labels)
        second = self.whole(self.shared(grey, True, of_grey), labels)
        return self.whole(self.shared(colour, True, of_colour), labels), second

    def check(self, batch: Batch) -> None:
        """Raise ValueError where images, labels and noise do not belong together, or batch norm cannot be grouped."""
        count = batch.images.shape[0] * batch.images.shape[1]
        rows = None if batch.noise is None else len(batch.noise)
        check_pairs(count, len(batch.labels), rows, dropout=self.drops)
        for images in (count, 2 * count):
            self.shared.check_batch(images, train=True)


def every(views: Views, field: int) -> Tensor:
    """One output of each view -> (views, B, width). What all views share is compiled once for all of them."""
    return ops.stack((views[0][field], views[1][field], views[2][field], views[3][field]))


def identity(views: Views, labels: Tensor, classes: Tensor, smoothing: Tensor) -> Tensor:
    """Cross-entropy of all eight logits, weighted by view."""
    logits = ops.stack((every(views, V_LOGITS), every(views, Z_LOGITS)))
    return (losses.cross_entropy(logits, labels, classes, smoothing) * of(SHARES, smoothing.dtype)).sum()


def metric(views: Views, labels: Tensor, modalities: Tensor, kind: str, margin: Tensor) -> Tensor:
    """Metric loss of all eight features, weighted by view. kind: "ranked-list", "triplet" or "centre"."""
    total = ops.zeros_like(margin)
    for field in (V, Z):
        features = every(views, field)
        if kind == "ranked-list":
            each = losses.ranked_list(features, labels, modalities)
        elif kind == "triplet":
            each = losses.triplet(features, labels, margin)
        else:
            each = losses.centre_triplet(features, labels, modalities, margin)
        total = total + (each * of(SHARES, margin.dtype)).sum()
    return total


def self_distillation(views: Views, classes: Tensor, form: str) -> Tensor:
    """VSD: each specific branch's representation follows its own observation."""
    visible, infrared = views[VISIBLE], views[INFRARED]
    followed = ops.stack((visible[V_LOGITS], infrared[V_LOGITS]))
    return losses.distillation(followed, ops.stack((visible[Z_LOGITS], infrared[Z_LOGITS])), classes, form).sum()


def cross_distillation(views: Views, classes: Tensor, form: str) -> Tensor:
    """VCD: the shared branch's representation of one form follows its observation of the other."""
    first, second = views[SHARED_VISIBLE], views[SHARED_INFRARED]
    followed = ops.stack((first[V_LOGITS], second[V_LOGITS]))
    return losses.distillation(followed, ops.stack((second[Z_LOGITS], first[Z_LOGITS])), classes, form).sum() / 2


def variational_mutual_learning(views: Views, classes: Tensor, form: str) -> Tensor:
    """VML: the shared branch's representations of both forms agree."""
    return losses.jensen_shannon(views[SHARED_VISIBLE][Z_LOGITS], views[SHARED_INFRARED][Z_LOGITS], classes)


def conventional_mutual_learning(views: Views, classes: Tensor, form: str) -> Tensor:
    """CML: the observations of the two specific branches agree, as clouds; the reference moves infrared to visible."""
    if form == "reference":
        return losses.mutual_learning(views[INFRARED][V_LOGITS], views[VISIBLE][V_LOGITS], classes, form)
    return losses.mutual_learning(views[VISIBLE][V_LOGITS], views[INFRARED][V_LOGITS], classes)


DISTILLATION = {
    "cml": conventional_mutual_learning,
    "vsd": self_distillation,
    "vcd": cross_distillation,
    "vml": variational_mutual_learning,
}
"""Terms of the full objective by the name of their weight."""


def distillation_terms(mvd: MVDConfig) -> tuple[str, ...]:
    """Return the names of the terms that are computed."""
    return tuple(name for name in DISTILLATION if getattr(mvd, name)) if mvd.objective == "full" else ()
