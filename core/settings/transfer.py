"""Settings of the methods around adaptation: a labelled source, an unlabelled target, two stages (MMT, section 3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from duoreid.core.settings.config import Config, DataConfig, EvaluatedRunConfig, RunConfig, ScheduleConfig, option


@dataclass(frozen=True)
class TransferDataConfig(DataConfig):
    """Two datasets: one to learn from, one to adapt to and to test on."""

    source: str = option(
        "synthetic-a",
        "labelled dataset of stage 1: a name, NAME=PATH, a path, or several of these with commas between",
        everyday=True,
    )
    target: str = option(
        "synthetic-b",
        "dataset to adapt to: a name, NAME=PATH or a path; its labels are used for testing only",
        everyday=True,
    )


SAMPLER: Any = option(
    "passes",
    "how batches are filled; passes: every identity as often, no image twice while there are others; reference: as in "
    "MMT's public code",
    choices=("passes", "reference"),
)


@dataclass(frozen=True)
class PretrainConfig(ScheduleConfig):
    """Stage 1: supervised training on the source."""

    sampler: str = SAMPLER
    schedule_ahead: int = option(
        0, "epochs by which the schedule of the rate runs ahead of the training; the public codes' is 1 ahead", least=0
    )
    warmup_epochs: int = option(10, "epochs of linear warm-up", least=0)
    warmup_factor: float = option(0.01, "factor of the rate at the first epoch of the warm-up", above=0)
    milestones: tuple[int, ...] = option((40, 70), "epochs at which the rate is multiplied by gamma")
    gamma: float = option(0.1, "factor of the rate at each milestone", above=0)
    adapt_batch_norm: bool = option(
        True, "also forward a target batch each iteration, so that batch norm sees the target"
    )


@dataclass(frozen=True)
class ClusterConfig(ScheduleConfig):
    """Stage 2: training on the target from pseudo-labels, which clustering makes."""

    sampler: str = SAMPLER
    clustering: str = option("kmeans", "how pseudo-labels are made", choices=("kmeans", "dbscan"), everyday=True)
    clusters: int = option(500, "K of k-means: near the number of identities", least=2, everyday=True)
    kmeans_restarts: int = option(1, "k-means starts, of which the one of least inertia is kept", least=1)
    k1: int = option(20, "neighbours of the k-reciprocal sets (DBSCAN)", least=1)
    k2: int = option(6, "neighbours of the query expansion (DBSCAN)", least=1)
    jaccard_scale: str = option(
        "farthest",
        "weights of an encoding (DBSCAN); farthest: by d^2 over the row's largest, as in MMT's public code; none: by "
        "d^2, as in OpenUnReID and SpCL",
        choices=("farthest", "none"),
    )
    min_samples: int = option(4, "neighbours that make a core point (DBSCAN)", least=1)
    eps_share: float = option(1.6e-3, "share of the smallest distances whose mean is eps (DBSCAN)", above=0, most=1)


@dataclass(frozen=True)
class AdaptConfig(ClusterConfig):
    """Stage 2 with mean teachers: what each loss weighs, and how slowly the teachers follow."""

    hard_ce: float = option(0.5, "weight of the hard cross-entropies: 1 - w_ce", least=0)
    hard_triplet: float = option(0.2, "weight of the hard triplet losses: 1 - w_tri", least=0)
    soft_ce: float = option(0.5, "weight of the soft cross-entropies: w_ce", least=0)
    soft_triplet: float = option(0.8, "weight of the soft triplet losses: w_tri", least=0)
    ema_limit: float = option(0.999, "largest decay of the mean teachers", least=0, most=1)


@dataclass(frozen=True)
class AdaptationRunConfig(EvaluatedRunConfig):
    """A run whose stage 1 may be another run's, or anybody's networks."""

    start: tuple[str, ...] = option(
        (),
        "run folder whose stage-1 networks are used instead of training them; or weights files, one for all networks "
        "or one for each, for which no source is needed",
        everyday=True,
        kind=str,
    )


@dataclass(frozen=True)
class SourceRecipe(Config):
    """`source`: stage 1 alone."""

    method: str = "source"
    preset: str = "synthetic"
    data: TransferDataConfig = field(default_factory=TransferDataConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    run: RunConfig = field(default_factory=RunConfig)


@dataclass(frozen=True)
class BaselineRecipe(Config):
    """`baseline`: stage 1, then one network on hard pseudo-labels."""

    method: str = "baseline"
    preset: str = "synthetic"
    data: TransferDataConfig = field(default_factory=TransferDataConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    adapt: ClusterConfig = field(default_factory=ClusterConfig)
    run: AdaptationRunConfig = field(default_factory=AdaptationRunConfig)


@dataclass(frozen=True)
class MMTRecipe(BaselineRecipe):
    """`mmt`: stage 1 twice, then two students and their mean teachers."""

    method: str = "mmt"
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
