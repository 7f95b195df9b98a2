"""Every setting of a run, as frozen dataclasses: one field, one command-line option, one line in config.json.

Fields carry their help text and, where only some values make sense, their choices. `core.commands.options` makes the
command line from them, `core.settings.presets` holds the published recipes.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

from duoreid.core.errors import UserError, unknown
from duoreid.core.networks.backbones import BACKBONES, check_options


def option(
    default: Any,
    text: str,
    *,
    choices: Collection | None = None,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
    everyday: bool = False,
    kind: type = int,
) -> Any:
    """Return a dataclass field with its help text and its limits: value > above, >= least, < below, <= most.

    everyday: shown by `--help`; the others by `--help-all`. kind: of the entries, where the default is a tuple.
    """
    limits = {"help": text, "choices": choices, "above": above, "least": least}
    rarer = {name: value for name, value in (("below", below), ("most", most)) if value is not None}
    others = ({"everyday": True} if everyday else {}) | ({"kind": kind} if kind is not int else {})
    return field(default=default, metadata=limits | rarer | others)


@dataclass(frozen=True)
class DataConfig:
    """Which images, where they lie and how large the network sees them."""

    data: str = option(
        "data", "folder that holds the datasets; synthetic ones are generated there when absent", everyday=True
    )
    size: str = option("small", "size of the synthetic datasets")
    data_seed: int = option(0, "seed of the synthetic datasets")
    height: int = option(64, "image height in pixels", least=32, everyday=True)
    width: int = option(32, "image width in pixels", least=16, everyday=True)
    interpolation: str = option("bicubic", "filter of the resize", choices=("bicubic", "bilinear", "lanczos"))
    camera_pattern: str = option(
        "",
        "what the names of one's own pictures tell; a regular expression with some of the named groups identity, "
        r"camera and time, such as '(?P<identity>\d+)_c(?P<camera>\d+)'",
        everyday=True,
    )
    draws: str = option(
        "own",
        "how SYSU-MM01's galleries are drawn; own: officially where rand_perm_cam.mat lies there, else from a seed; "
        "field: by Python's random, seeded by the trial, as the field's public codes do",
        choices=("own", "field"),
    )
    cache: bool = option(True, "keep decoded images in a memory-mapped file; without it they are decoded on the fly")
    cache_folder: str = option("", "folder of decoded images; empty: DATA/cache")


@dataclass(frozen=True)
class NetworkConfig:
    """The network, the same for students and teachers."""

    arch: str = option("tiny", "architecture", choices=BACKBONES.keys(), everyday=True)
    stem_relu: bool = option(
        True, "ReLU between the first normalisation and the max-pooling; the reference MMT ResNet-50 has none"
    )
    last_stride: int = option(1, "stride of layer4", choices=(1, 2))
    conv_padding: str = option(
        "symmetric",
        "padding of convolutions and of the pooling; same: where it is uneven, more behind than in front, as "
        "MindSpore's networks have it",
        choices=("symmetric", "same"),
    )
    last_norm_epsilon: float = option(1e-5, "epsilon of the norm that ends a residual block", above=0)
    last_norm_momentum: float = option(
        0.1, "share of a batch in the running statistics of the norm that ends a residual block", above=0, most=1
    )
    stem_pool: str = option(
        "both",
        "where the max-pooling of the stem pads: on both sides, or at the end only, as in fast-reid and MindCV",
        choices=("both", "end"),
    )
    pooling: str = option(
        "mean",
        "how the last maps become the feature: their mean, or a generalised mean (GeM) with a learnt exponent",
        choices=("mean", "gem"),
    )
    weights: str = option(
        "",
        "file of ImageNet or re-ID weights, or a run's folder, to start stage 1 from; FILE#ROLE chooses a network",
        everyday=True,
    )
    batch_norm_group: int = option(
        0,
        "images over which batch norm takes its statistics; 0: the whole batch; the published results: 16",
        least=0,
    )


@dataclass(frozen=True)
class ScheduleConfig:
    """Length, batch and optimiser of a stage."""

    epochs: int = option(1, "epochs", least=1, everyday=True)
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
class RunConfig:
    """Where a run writes, what it takes up, how often it reads losses and saves."""

    output: str = option(
        "", "folder of the run; empty: runs/METHOD-BACKEND, with -2, -3, ... where runs stand there", everyday=True
    )
    seed: int = option(1, "seed of everything random, another for each network of stage 1", everyday=True)
    evaluate_batch: int = option(128, "images in a batch when embedding", least=1)
    loss_every: int = option(50, "iterations between two readings of the losses", least=1)
    save_every: int = option(
        0, "iterations of an epoch between two saves, beside the one at its end; 0: that one alone", least=0
    )
    save_period: int = option(
        0, "epochs between networks that are kept under their own names, beside the last; 0: none", least=0
    )
    log: str = option(
        "none",
        "show losses, facts and tests elsewhere too, each with an extra of its name; metrics.jsonl always has them",
        choices=("none", "tensorboard", "wandb", "mlflow"),
    )
    resume: str = option(
        "",
        "folder of a run to continue exactly, with its own settings; --epochs may be given beside it to extend it",
        everyday=True,
    )


SELECTIONS = {"test": ("mean_ap", "mAP"), "test-rank1": ("rank1", "rank-1")}
"""Choices of --select that use test labels: the score that decides, as a field of Metrics and in words."""


@dataclass(frozen=True)
class EvaluatedRunConfig(RunConfig):
    """A run that tests while it trains."""

    evaluate_every: int = option(1, "epochs between tests; the last epoch is always tested", least=1)
    select: str = option(
        "last",
        "epoch whose networks are kept; 'test' takes the best mAP on the TARGET TEST labels, as the reference of mmt "
        "does, 'test-rank1' the best rank-1, as that of mvd",
        choices=("last", *SELECTIONS),
        everyday=True,
    )


@dataclass(frozen=True)
class Config:
    """A whole run, section by section. A method's recipe adds the sections that the method trains by.

    method: a name of core/methods/registry.py. preset: the recipe that these settings started from.
    """

    method: str
    preset: str
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    run: RunConfig = field(default_factory=RunConfig)


@dataclass(frozen=True)
class LearnerConfig:
    """What a backend needs to build a learner: the device half of a method and the networks it works on.

    section: the settings that the method trains by, which its device half reads (weights of losses, sizes, ...); the
    learner itself reads none of them. capacity: rows of the classifier. classes: how many of them are live at the
    start. optimiser: "adam" or "sgd". weight_decay: added to the gradient. backbone_factor: of the rate, for what lies
    in the backbone (core/networks/tensors.py).
    """

    method: str
    section: ScheduleConfig
    network: NetworkConfig
    capacity: int
    classes: int
    height: int
    width: int
    weight_decay: float = 5e-4
    optimiser: str = "adam"
    backbone_factor: float = 1.0


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
    if isinstance(config, NetworkConfig):
        check_options(config)


def as_dict(config: Any) -> dict[str, Any]:
    """Return plain dictionaries, lists and numbers, ready for JSON."""
    return asdict(config)
