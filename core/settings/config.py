"""Every setting of a run, as frozen dataclasses: one field, one command-line option, one line in config.json.

Fields carry their help text and, where only some values make sense, their choices. `core.commands.options` makes the
command line from them, `core.settings.presets` holds the published recipes.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

from duoreid.core.errors import UserError, unknown
from duoreid.core.networks.architectures import ARCHITECTURES


def option(
    default: Any,
    text: str,
    *,
    choices: tuple | None = None,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
    only: str = "",
) -> Any:
    """Return a dataclass field with its help text and its limits: value > above, >= least, < below, <= most.

    only: "mmt" or "mvd" for a setting that means nothing to the other family of methods and is no option of it.
    """
    limits = {"help": text, "choices": choices, "above": above, "least": least}
    rarer = {name: value for name, value in (("below", below), ("most", most)) if value is not None}
    return field(default=default, metadata=limits | rarer | ({"only": only} if only else {}))


@dataclass(frozen=True)
class DataConfig:
    """Which images, where they lie and how large the network sees them."""

    source: str = option("synthetic-a", "labelled dataset of stage 1", only="mmt")
    target: str = option("synthetic-b", "dataset to adapt to; its labels are used for testing only", only="mmt")
    dataset: str = option("synthetic-regdb", "visible-infrared dataset", only="mvd")
    trials: tuple[int, ...] = option(
        (1,),
        "training splits, each with a model of its own that is tested on it (RegDB: 1 to 10; SYSU-MM01 has but one)",
        only="mvd",
    )
    data: str = option("data", "folder that holds the datasets; synthetic ones are generated there when absent")
    size: str = option("small", "size of the synthetic datasets")
    data_seed: int = option(0, "seed of the synthetic datasets")
    height: int = option(64, "image height in pixels", least=32)
    width: int = option(32, "image width in pixels", least=16)
    interpolation: str = option("bicubic", "filter of the resize", choices=("bicubic", "bilinear"))
    cache: bool = option(True, "keep decoded images in a memory-mapped file; without it they are decoded on the fly")
    cache_folder: str = option("", "folder of decoded images; empty: DATA/cache")


@dataclass(frozen=True)
class NetworkConfig:
    """The network, the same for students and teachers."""

    arch: str = option("tiny", "architecture", choices=tuple(ARCHITECTURES))
    stem_relu: bool = option(
        True, "ReLU between the first normalisation and the max-pooling; the reference MMT ResNet-50 has none"
    )
    last_stride: int = option(1, "stride of layer4", choices=(1, 2))
    weights: str = option(
        "", "file of ImageNet or re-ID weights, or a run's folder, to start stage 1 from; FILE#ROLE chooses a network"
    )
    batch_norm_group: int = option(
        0,
        "images over which batch norm takes its statistics; 0: the whole batch; the published results: 16",
        least=0,
    )


@dataclass(frozen=True)
class ScheduleConfig:
    """Length, batch and optimiser of a stage."""

    epochs: int = option(1, "epochs", least=1)
    iterations: int = option(1, "iterations an epoch", least=1)
    identities: int = option(16, "identities in a batch (P)", least=2)
    images: int = option(4, "images of each identity in a batch (K)", least=1)
    rate: float = option(3.5e-4, "learning rate of Adam", above=0)
    weight_decay: float = option(5e-4, "weight decay, added to the gradient (L2)", least=0)
    smoothing: float = option(0.1, "label smoothing of the hard cross-entropy", least=0, most=1)
    padding: int = option(10, "pixels of padding before the random crop", least=0)
    flip: float = option(0.5, "probability of a horizontal flip", least=0, most=1)
    erase: float = option(0.0, "probability of random erasing", least=0, most=1)
    erase_fill: str = option(
        "mean",
        "colour of erased rectangles; 'reference' is the public code's, which is not the mean colour",
        choices=("mean", "reference"),
    )


@dataclass(frozen=True)
class PretrainConfig(ScheduleConfig):
    """Stage 1: supervised training on the source."""

    warmup_epochs: int = option(10, "epochs of linear warm-up", least=0)
    warmup_factor: float = option(0.01, "factor of the rate at the first epoch of the warm-up", above=0)
    milestones: tuple[int, ...] = option((40, 70), "epochs at which the rate is multiplied by gamma")
    gamma: float = option(0.1, "factor of the rate at each milestone", above=0)
    adapt_batch_norm: bool = option(
        True, "also forward a target batch each iteration, so that batch norm sees the target"
    )


@dataclass(frozen=True)
class AdaptConfig(ScheduleConfig):
    """Stage 2: training on the target from pseudo-labels."""

    clustering: str = option("kmeans", "how pseudo-labels are made", choices=("kmeans", "dbscan"))
    clusters: int = option(500, "K of k-means: near the number of identities", least=2)
    kmeans_restarts: int = option(1, "k-means starts, of which the one of least inertia is kept", least=1)
    k1: int = option(30, "neighbours of the k-reciprocal sets (DBSCAN)", least=1)
    k2: int = option(6, "neighbours of the query expansion (DBSCAN)", least=1)
    min_samples: int = option(4, "neighbours that make a core point (DBSCAN)", least=1)
    eps_share: float = option(1.6e-3, "share of the smallest distances whose mean is eps (DBSCAN)", above=0, most=1)
    hard_ce: float = option(0.5, "weight of the hard cross-entropies: 1 - w_ce", least=0)
    hard_triplet: float = option(0.2, "weight of the hard triplet losses: 1 - w_tri", least=0)
    soft_ce: float = option(0.5, "weight of the soft cross-entropies: w_ce", least=0)
    soft_triplet: float = option(0.8, "weight of the soft triplet losses: w_tri", least=0)
    ema_limit: float = option(0.999, "largest decay of the mean teachers", least=0, most=1)


@dataclass(frozen=True)
class MVDConfig(ScheduleConfig):
    """Visible-infrared training. `identities` x `images` of each modality make a batch."""

    iterations: int = option(0, "iterations an epoch; 0: one pass over the larger modality", least=0)
    identities: int = option(8, "identities in a batch (P)", least=2)
    images: int = option(4, "visible, and as many infrared, images of each identity in a batch (K)", least=1)
    rate: float = option(2.6e-4, "learning rate of necks, bottlenecks and classifiers", above=0)
    optimiser: str = option("adam", "sgd: Nesterov's, with momentum 0.9", choices=("adam", "sgd"))
    backbone_factor: float = option(1.0, "rate of the backbones, as a factor of --rate", above=0)
    grey: float = option(0.0, "probability that a visible image loses its colour", least=0, most=1)
    warmup_epochs: int = option(10, "epochs of linear warm-up", least=0)
    warmup_factor: float = option(0.01, "factor of the rate at the first epoch of the warm-up", above=0)
    decay: str = option(
        "steps",
        "steps: times gamma at each milestone; log-linear: evenly in the logarithm",
        choices=("steps", "log-linear"),
    )
    milestones: tuple[int, ...] = option((210,), "epochs at which the rate is multiplied by gamma (steps)")
    gamma: float = option(0.1, "factor of the rate at each milestone (steps)", above=0)
    decay_start: int = option(15, "epoch at which the decay starts (log-linear)", least=0)
    decay_end: int = option(27, "epoch at which the decay ends (log-linear)", least=1)
    final_factor: float = option(0.5, "factor of the rate once the decay has ended (log-linear)", above=0)
    objective: str = option(
        "full", "which terms are minimised; full: identity, metric and distillation", choices=("id", "id+tri", "full")
    )
    metric: str = option(
        "ranked-list",
        "metric loss; ranked-list: the PyTorch reference's; triplet: the MindSpore port's; centre: of modality centres",
        choices=("ranked-list", "triplet", "centre"),
    )
    margin: float = option(0.3, "margin of triplet and centre", least=0)
    distillation: str = option(
        "paper",
        "paper: Kullback-Leibler divergences; reference: what the public code computes instead",
        choices=("paper", "reference"),
    )
    cml: float = option(8.0, "weight of conventional mutual learning (CML)", least=0)
    vsd: float = option(2.0, "weight of variational self-distillation (VSD)", least=0)
    vcd: float = option(2.0, "weight of variational cross-distillation (VCD)", least=0)
    vml: float = option(0.0, "weight of variational mutual learning (VML); the public code has none", least=0)
    representation: int = option(512, "dimension of the representation z", least=1)
    dropout: float = option(0.5, "dropout before the classifier of a representation", least=0, below=1)
    channel_attention: bool = option(
        False, "attention over channels before layers 2, 3 and 4, as in the PyTorch reference"
    )
    search: str = option(
        "every",
        "which searches to test: all and indoor are SYSU-MM01's, the two directions RegDB's",
        choices=("every", "all", "indoor", "visible-to-infrared", "infrared-to-visible"),
    )


@dataclass(frozen=True)
class RunConfig:
    """Where a run writes, what it starts from, when it tests and which epoch it keeps."""

    output: str = option("", "folder of the run; empty: runs/METHOD-BACKEND-SEED")
    seed: int = option(1, "seed of everything random, another for each network of stage 1")
    start: str = option("", "run folder whose stage-1 networks are used instead of training them", only="mmt")
    evaluate_every: int = option(1, "epochs of stage 2 between tests; the last epoch is always tested", least=1)
    evaluate_batch: int = option(128, "images in a batch when embedding", least=1)
    select: str = option(
        "last",
        "epoch whose networks are kept; 'test' takes the best on the TARGET TEST labels, as the reference does",
        choices=("last", "test"),
    )
    loss_every: int = option(50, "iterations between two readings of the losses", least=1)
    save_every: int = option(
        0, "iterations of an epoch between two saves, beside the one at its end; 0: that one alone", least=0
    )
    resume: str = option(
        "", "folder of a run to continue exactly, with its own settings; --epochs may be given beside it to extend it"
    )


@dataclass(frozen=True)
class Config:
    """A whole run. method: "source" (stage 1 alone), "baseline" (one network, hard labels), "mmt" or "mvd".

    mvd reads data, network, mvd and run; the others data, network, pretrain, adapt and run.
    """

    method: str = "mmt"
    preset: str = "synthetic"
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    mvd: MVDConfig = field(default_factory=MVDConfig)
    run: RunConfig = field(default_factory=RunConfig)


@dataclass(frozen=True)
class LearnerConfig:
    """What a backend needs to build a learner: the device half of a method and the networks it works on.

    method: "source", "baseline", "mmt" or "mvd". capacity: rows of the classifier. classes: how many of them are
    live at the start. Weights are those of AdaptConfig; source and baseline use hard_ce and hard_triplet only.
    optimiser: "adam" or "sgd". backbone_factor: of the rate, for what is no head (core/networks/architectures.py).
    mvd: its objective and its bottlenecks; the other methods do not read it.
    """

    method: str
    network: NetworkConfig
    capacity: int
    classes: int
    height: int
    width: int
    weight_decay: float = 5e-4
    smoothing: float = 0.1
    hard_ce: float = 1.0
    hard_triplet: float = 1.0
    soft_ce: float = 0.0
    soft_triplet: float = 0.0
    optimiser: str = "adam"
    backbone_factor: float = 1.0
    mvd: MVDConfig = field(default_factory=MVDConfig)


def validate(config: Any, where: str = "") -> None:
    """Check every field's type, choices and limits; UserError names the option, the value and the limit."""
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            validate(value, f"{where}{item.name}.")
            continue
        name, limits = f"{where}{item.name}", item.metadata
        choices = limits.get("choices")
        if choices and value not in choices:
            raise unknown(name, str(value), [str(choice) for choice in choices])
        if limits.get("least") is not None and not value >= limits["least"]:
            raise UserError(f"{name} must be at least {limits['least']}, got {value!r}: {limits['help']}")
        if limits.get("above") is not None and not value > limits["above"]:
            raise UserError(f"{name} must be above {limits['above']}, got {value!r}: {limits['help']}")
        if limits.get("below") is not None and not value < limits["below"]:
            raise UserError(f"{name} must be below {limits['below']}, got {value!r}: {limits['help']}")
        if limits.get("most") is not None and not value <= limits["most"]:
            raise UserError(f"{name} must be at most {limits['most']}, got {value!r}: {limits['help']}")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} must be a finite number, got {value!r}: {limits['help']}")


def as_dict(config: Any) -> dict[str, Any]:
    """Return plain dictionaries, lists and numbers, ready for JSON."""
    return asdict(config)
