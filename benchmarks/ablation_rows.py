"""What an ablation compares: rows of settings of one method, and the one that the others are measured against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from duoreid.core.settings.published import MMT_ABLATION


@dataclass(frozen=True)
class Row:
    """One line of the table. options: of the training command. method: what it trains.

    usual: one of the rows that run when none are chosen. published: change in (mAP, rank-1), in points, that the paper
    reports against its full method.
    """

    name: str
    options: tuple[str, ...] = ()
    method: str = ""
    usual: bool = True
    published: tuple[float, float] | None = None


@dataclass(frozen=True)
class Ablation:
    """The rows of one question. against: the row that differences are taken from.

    common: options of every row. stage1: options of a run whose networks of stage 1 every row of a seed starts from;
    empty where there are none. source: name of the row that is this run's networks as they are, without a run of its
    own.
    """

    name: str
    method: str
    against: str
    rows: tuple[Row, ...]
    common: tuple[str, ...] = ()
    stage1: tuple[str, ...] = ()
    source: str = ""
    by_name: Mapping[str, Row] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {row.name: row for row in self.rows})

    def usual(self) -> list[str]:
        """Return the names of the rows that run when none are chosen."""
        return [row.name for row in self.rows if row.usual]


def _distilled(name: str, *off: str) -> Row:
    """Return a row of the full objective without some of its terms, the others as the recipe weighs them."""
    return Row(name, ("--objective", "full", *(word for term in off for word in (f"--{term}", "0"))))


REFERENCE_WEIGHTS = ("--cml", "8", "--vsd", "2", "--vcd", "2", "--vml", "0")
"""Of MVD's public PyTorch code."""

MVD = Ablation(
    name="mvd",
    method="mvd",
    against="id+tri",
    rows=(
        Row("id", ("--objective", "id")),
        Row("id+tri", ("--objective", "id+tri")),
        _distilled("+ VSD", "vcd", "vml", "cml"),
        _distilled("+ VSD + VCD", "vml", "cml"),
        _distilled("+ VSD + VCD + VML", "cml"),
        Row("+ VSD + VCD + VML + CML", ("--objective", "full", "--cml", "1")),
        Row("reference distillation", ("--objective", "full", "--distillation", "reference", *REFERENCE_WEIGHTS)),
    ),
)
"""The terms one after the other. VSD, VCD and VML are the paper's distillation; CML is the older mutual learning, to
which its public code gives the largest weight, so it stands last and apart. The reference row is that code: its
weights, and what it computes in place of VSD and VCD."""

PAPER = ("--distillation", "paper", "--cml", "0", "--vsd", "0.3", "--vcd", "3", "--vml", "3")
"""The paper's distillation at our weights."""

APART = ("--shared-norm", "grey-first")

MVD_PUBLIC = Ablation(
    name="mvd-public",
    method="mvd",
    against="id+tri",
    common=(
        *("--decay", "steps", "--milestones", "4", "--gamma", "0.1", "--schedule-ahead", "1"),
        *("--grey", "0", "--grey-form", "normalised", *APART, "--mixed-groups", "--batch-norm-group", "32"),
        *("--biases", "--channel-attention", "--distillation", "reference", *REFERENCE_WEIGHTS),
    ),
    rows=(
        Row("id+tri", ("--objective", "id+tri")),
        Row("+ CML", ("--objective", "full", "--vsd", "0", "--vcd", "0")),
        Row("+ VSD + VCD", ("--objective", "full", "--cml", "0")),
        Row("+ CML + VSD + VCD", ("--objective", "full")),
        Row("+ the paper's VSD + VCD + VML", ("--objective", "full", *PAPER)),
    ),
)
"""The recipe of MVD's public PyTorch code at the length and the rate of the synthetic recipe: networks that start from
random numbers need a larger rate. Its rate falls once, after a third of the training (210 of 600 epochs)."""

MVD_CHOICES = Ablation(
    name="mvd-choices",
    method="mvd",
    against="as recommended",
    common=("--erase", "0.5"),
    rows=(
        Row("as recommended"),
        Row("without distillation", ("--objective", "id+tri")),
        Row("the public code's distillation", ("--distillation", "reference", *REFERENCE_WEIGHTS)),
        Row("without erasing", ("--erase", "0")),
        Row("without grey", ("--grey", "0")),
        Row("grey of the normalised picture", ("--grey-form", "normalised")),
        Row("statistics of both forms apart", APART),
        Row("attention over channels", ("--channel-attention",)),
        Row("biases", ("--biases",)),
        Row("without padding", ("--padding", "0")),
        Row("the rate falls in one step", ("--decay", "steps", "--milestones", "4")),
    ),
)
"""The choices of `mvd-sysu-duoreid` and `mvd-regdb-duoreid`, each taken back alone, over the synthetic recipe."""


def _without(name: str, *options: str) -> Row:
    return Row(name, options, published=MMT_ABLATION[name])


HARD = ("--hard-ce", "1", "--soft-ce", "0", "--hard-triplet", "1", "--soft-triplet", "0")
"""Neither soft loss. With teachers that copy their students it is the baseline of MMT's public code."""

MMT = Ablation(
    name="mmt",
    method="mmt",
    against="full",
    stage1=("--epochs", "1", "--iterations", "1"),
    source="source only",
    rows=(
        Row("full"),
        _without(
            "without hard CE and hard triplet",
            *("--hard-ce", "0", "--soft-ce", "1", "--hard-triplet", "0", "--soft-triplet", "1"),
        ),
        _without("without hard CE", "--hard-ce", "0", "--soft-ce", "1"),
        _without("without hard triplet", "--hard-triplet", "0", "--soft-triplet", "1"),
        _without("without soft CE", "--hard-ce", "1", "--soft-ce", "0"),
        _without("without soft triplet", "--hard-triplet", "1", "--soft-triplet", "0"),
        Row("without both soft losses", HARD),
        Row("two networks, hard labels", (*HARD, "--ema-limit", "0")),
        Row("baseline", method="baseline"),
        Row("source only", published=MMT_ABLATION["source only"]),
        Row("the public code's sampler", ("--sampler", "reference"), usual=False),
        Row("ten starts of k-means", ("--kmeans-restarts", "10"), usual=False),
        Row("dbscan", ("--clustering", "dbscan"), usual=False),
    ),
)
"""A loss is left out by its w: w = 0 leaves the hard one at weight 1, w = 1 the soft one (MMT, equation 9)."""

ABLATIONS = {one.name: one for one in (MMT, MVD, MVD_PUBLIC, MVD_CHOICES)}
