"""Visible-infrared training: the same people in both modalities, side by side (MVD, METHODS section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from duoreid.core.contract.learner import Batch, Learner
from duoreid.core.data import INFRARED, VISIBLE, TrainingSet
from duoreid.core.errors import UserError
from duoreid.core.methods.augmentation import augment
from duoreid.core.methods.base import Labelling
from duoreid.core.methods.recipe import augmentation
from duoreid.core.methods.sampling import CROSS_MODALITY_SAMPLERS
from duoreid.core.methods.schedules import warmup_log_linear, warmup_multistep
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.heads import HEAD_WIDTH
from duoreid.core.networks.network import network_tensors
from duoreid.core.networks.tensors import Entry
from duoreid.core.numeric.sharing import ALONE, Processes
from duoreid.core.random import rng
from duoreid.core.settings.config import LearnerConfig
from duoreid.core.settings.cross_modal import MVDRecipe

MODALITIES = {VISIBLE: "visible", INFRARED: "infrared"}

REPRESENTATIONS = 8
"""Rows of z in a step for each row of a batch, each with dropout of its own: 2 in the visible branch, 2 in the infrared
branch and 4 in the shared one, which sees both modalities in both forms."""


class MVD:
    """Host half of `mvd`, on the training set "dataset".

    Identities that lack a modality are left out; `left_out` lists them.
    """

    name = "mvd"

    def __init__(
        self,
        config: MVDRecipe,
        data: Mapping[str, TrainingSet],
        *,
        seed: int | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.config, self.train = config, data["dataset"]
        self.seed = config.run.seed if seed is None else seed
        self.labels, self.classes, self.left_out = paired(self.train)
        check_groups(config)
        iterations = config.mvd.iterations or one_pass(self.labels, self.train.split.modalities, config)
        self.schedule = replace(config.mvd, iterations=iterations)
        infrared = replace(augmentation(self.schedule), erase_most=self.schedule.erase_most)
        self.augmentations = {VISIBLE: replace(infrared, grey=self.schedule.grey), INFRARED: infrared}

    def learner_config(self) -> LearnerConfig:
        """One classifier row an identity that both modalities show."""
        return LearnerConfig(
            method=self.name,
            section=self.config.mvd,
            network=self.config.network,
            capacity=self.classes,
            classes=self.classes,
            height=self.config.data.height,
            width=self.config.data.width,
            weight_decay=self.schedule.weight_decay,
            optimiser=self.schedule.optimiser,
            backbone_factor=self.schedule.backbone_factor,
        )

    def label(self, learner: Learner, epoch: int) -> Labelling:
        """The true identities."""
        return Labelling(self.labels, self.classes)

    def sample(self, labelling: Labelling, epoch: int) -> np.ndarray:
        """Rows of visible images at [:, 0] and of infrared images of the same identities at [:, 1], (N, 2, P * K)."""
        schedule = self.schedule
        return CROSS_MODALITY_SAMPLERS[schedule.sampler](
            labelling.labels,
            self.train.split.modalities,
            identities=schedule.identities,
            images=schedule.images,
            iterations=schedule.iterations,
            seed=self.seed,
            epoch=epoch,
        )

    def batch(self, labelling: Labelling, rows: np.ndarray, epoch: int, step: int) -> Batch:
        """Visible and infrared images (2, B, H, W, 3), their identities (B,), noise (8 B, hidden) for dropout."""
        views = [
            augment(
                self.train.images[rows[modality]],
                self.augmentations[modality],
                rng(self.seed, f"augment/{name}", epoch, step),
            )
            for modality, name in MODALITIES.items()
        ]
        return Batch(np.stack(views), labelling.labels[rows[VISIBLE]], self._noise(len(rows[VISIBLE]), epoch, step))

    def _noise(self, count: int, epoch: int, step: int) -> np.ndarray | None:
        if not self.schedule.dropout:
            return None
        return rng(self.seed, "dropout", epoch, step).random((REPRESENTATIONS * count, HEAD_WIDTH), np.float32)

    def rates(self, epoch: int, step: int) -> tuple[float, float]:
        """Linear warm-up, then steps at the milestones or a log-linear decay; no teachers."""
        s = self.schedule
        start = {"rate": s.rate, "warmup_epochs": s.warmup_epochs, "warmup_factor": s.warmup_factor}
        if s.decay == "steps":
            return warmup_multistep(epoch, **start, milestones=s.milestones, gamma=s.gamma, ahead=s.schedule_ahead), 0.0
        decay = {"decay_start": s.decay_start, "decay_end": s.decay_end, "final_factor": s.final_factor}
        return warmup_log_linear(epoch, **start, **decay), 0.0

    def memory(self) -> dict[str, Any]:
        """Nothing: every epoch follows from its number."""
        return {}

    def remember(self, memory: dict[str, Any]) -> None:
        """Take nothing back."""


def variational_tensors(config: LearnerConfig) -> list[Entry]:
    """Return the tensors of a branch: a network with an information bottleneck, and perhaps channel attention."""
    section = config.section
    built = BackboneConfig(config.network, config.height, config.width, section.channel_attention)
    heads = {"representation": section.representation, "biases": section.biases, "neck_bias": section.neck_bias}
    entries = network_tensors(built, config.capacity, **heads)
    if section.factor_reach == "backbone":
        return entries
    return [entry._replace(head=entry.name.startswith("bottleneck.")) for entry in entries]


def bottleneck_hints(tensors: Mapping[str, np.ndarray], role: str) -> dict[str, Any]:
    """Return what the shapes of a file without settings tell of its information bottlenecks."""
    last = tensors.get(f"{role}.bottleneck.linear3.weight")
    told = {"channel_attention": any(name.startswith(f"{role}.attention") for name in tensors)}
    told["biases"] = f"{role}.classifier.bias" in tensors
    return told if last is None else told | {"representation": len(last)}


def paired(train: TrainingSet) -> tuple[np.ndarray, int, dict[str, list[int]]]:
    """Return (labels int32 (N,), their number, who was left out): classes of the identities in both modalities.

    Rows of other identities, and of unknown ones, have label -1. Who was left out: identities by the only modality
    that shows them. Raises UserError where a modality has no labelled image, or nobody is in both.
    """
    split = train.split
    seen = {}
    for modality, name in MODALITIES.items():
        seen[name] = np.unique(split.identities[(split.modalities == modality) & (split.identities >= 0)])
        if not len(seen[name]):
            raise UserError(
                f"{train.name} has no labelled {name} training image: mvd learns from people seen in both "
                "modalities. Give a visible-infrared --dataset."
            )
    both = np.intersect1d(*seen.values())
    if not len(both):
        raise UserError(
            f"no identity of {train.name} has both visible and infrared training images, so nothing can be matched "
            "across modalities: check that both sides number their people alike."
        )
    places = np.searchsorted(both, split.identities).clip(max=len(both) - 1)
    labels = np.where(both[places] == split.identities, places, -1).astype(np.int32)
    left_out = {name: np.setdiff1d(people, both).tolist() for name, people in seen.items()}
    return labels, len(both), {name: people for name, people in left_out.items() if people}


def check_groups(config: MVDRecipe) -> None:
    """Raise UserError where groups of batch norm cannot be mixed as the recipe asks."""
    section, group = config.mvd, config.network.batch_norm_group
    if not section.mixed_groups:
        return
    rows = 2 * section.identities * section.images
    if section.shared_norm == "together":
        raise UserError(
            "--mixed-groups needs --shared-norm colour-first or grey-first: several devices run the shared branch once "
            "for each form."
        )
    if group < 2 or group % 2 or rows % group:
        raise UserError(
            f"--mixed-groups needs --batch-norm-group to be even and to divide the {rows} images of a step, got "
            f"{group}: give {rows // 2} for two devices."
        )


def one_pass(labels: np.ndarray, modalities: np.ndarray, config: MVDRecipe) -> int:
    """Return how many batches show every image of the larger modality, or every identity, about once, at least 1.

    The PyTorch code's epoch passes over people, and drops the last, incomplete batch: 24 batches of SYSU-MM01's 395
    people, 25 of RegDB's 206.
    """
    if config.mvd.pass_over == "people":
        return max(1, (int(labels.max()) + 1) // config.mvd.identities)
    largest = max(int(((modalities == modality) & (labels >= 0)).sum()) for modality in MODALITIES)
    return max(1, largest // (config.mvd.identities * config.mvd.images))
