"""Settings of visible-infrared training (MVD, Tian et al., CVPR 2021)."""

from __future__ import annotations

from dataclasses import dataclass, field

from duoreid.core.networks.images import GREY_FORMS
from duoreid.core.settings.config import Config, DataConfig, EvaluatedRunConfig, ScheduleConfig, option


@dataclass(frozen=True)
class CrossModalDataConfig(DataConfig):
    """One dataset that shows the same people in both modalities."""

    dataset: str = option("synthetic-regdb", "visible-infrared dataset", everyday=True)
    trials: tuple[int, ...] = option(
        (1,),
        "training splits, each with a model of its own that is tested on it (RegDB: 1 to 10; SYSU-MM01 has but one)",
        everyday=True,
    )


@dataclass(frozen=True)
class MVDConfig(ScheduleConfig):
    """Visible-infrared training. `identities` x `images` of each modality make a batch."""

    iterations: int = option(0, "iterations an epoch; 0: one pass, see --pass-over", least=0)
    pass_over: str = option(
        "images",
        "what --iterations 0 passes once; images: those of the larger modality; people: each once, as the PyTorch code",
        choices=("images", "people"),
    )
    sampler: str = option(
        "passes",
        "passes: shuffled passes without repetition; independent: each batch by itself, images with repetition, as the "
        "MindSpore port",
        choices=("passes", "independent"),
    )
    identities: int = option(8, "identities in a batch (P)", least=2)
    images: int = option(4, "visible, and as many infrared, images of each identity in a batch (K)", least=1)
    rate: float = option(2.6e-4, "learning rate of necks, bottlenecks and classifiers", above=0)
    optimiser: str = option("adam", "sgd: Nesterov's, with momentum 0.9", choices=("adam", "sgd"))
    backbone_factor: float = option(1.0, "rate of the backbones, as a factor of --rate", above=0)
    factor_reach: str = option(
        "backbone",
        "what --backbone-factor holds for; observation: necks and classifiers of v too, as in the MindSpore port",
        choices=("backbone", "observation"),
    )
    erase_most: float = option(0.4, "largest share of an image that is erased", above=0.02, most=1)
    grey: float = option(0.0, "probability that a visible image loses its colour", least=0, most=1)
    warmup_epochs: int = option(10, "epochs of linear warm-up", least=0)
    warmup_factor: float = option(0.01, "factor of the rate at the first epoch of the warm-up", above=0)
    decay: str = option(
        "steps",
        "steps: times gamma at each milestone; log-linear: evenly in the logarithm",
        choices=("steps", "log-linear"),
    )
    schedule_ahead: int = option(
        0,
        "epochs by which the schedule of the rate runs ahead of the training (steps); the public code's is 1",
        least=0,
    )
    milestones: tuple[int, ...] = option((210,), "epochs at which the rate is multiplied by gamma (steps)")
    gamma: float = option(0.1, "factor of the rate at each milestone (steps)", above=0)
    decay_start: int = option(15, "epoch at which the decay starts (log-linear)", least=0)
    decay_end: int = option(27, "epoch at which the decay ends (log-linear)", least=1)
    final_factor: float = option(0.5, "factor of the rate once the decay has ended (log-linear)", above=0)
    objective: str = option(
        "full",
        "which terms are minimised; full: identity, metric and distillation",
        choices=("id", "id+tri", "full"),
        everyday=True,
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
    grey_form: str = option(
        "raw",
        "how images become grey; raw: their luminance, then normalised; normalised: of the normalised image, as in the "
        "PyTorch code; port: the same with the port's 0.1440 for blue",
        choices=tuple(GREY_FORMS),
    )
    shared_norm: str = option(
        "together",
        "batch norm of the shared branch; together: over both forms; else each form by itself, one after the other",
        choices=("together", "colour-first", "grey-first"),
    )
    mixed_groups: bool = option(
        False,
        "groups of --batch-norm-group hold as many visible as infrared images, as on several devices; needs "
        "--shared-norm colour-first or grey-first",
    )
    biases: bool = option(False, "biases also in classifiers of v and in front of batch norms, as in both public codes")
    neck_bias: bool = option(False, "train the bias of the necks, as the MindSpore port does")
    feature: str = option(
        "joint",
        "feature of the test; joint: four observations normalised together; each: every one by itself, as in the port",
        choices=("joint", "each"),
    )
    search: str = option(
        "every",
        "which searches to test: all and indoor are SYSU-MM01's, the two directions RegDB's",
        choices=("every", "all", "indoor", "visible-to-infrared", "infrared-to-visible"),
    )


@dataclass(frozen=True)
class MVDRecipe(Config):
    """`mvd`: three branches, trained on both modalities side by side."""

    method: str = "mvd"
    preset: str = "synthetic-vi"
    data: CrossModalDataConfig = field(default_factory=CrossModalDataConfig)
    mvd: MVDConfig = field(default_factory=MVDConfig)
    run: EvaluatedRunConfig = field(default_factory=EvaluatedRunConfig)
