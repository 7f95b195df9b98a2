"""How a publisher names the tensors of a network, and what else is known of a network in such a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from duoreid.core.networks.heads import NECK

Renames = tuple[tuple[str, str], ...]
Reasons = tuple[tuple[str, str], ...]

MINDSPORE_NORMS: Renames = (
    (r"gamma$", "weight"),
    (r"beta$", "bias"),
    (r"moving_mean$", "running_mean"),
    (r"moving_variance$", "running_var"),
)
COUNTERS: Reasons = ((r".*\.num_batches_tracked", "counters that only torch's batch norm keeps"),)
IMAGENET: Reasons = ((r"fc\.(weight|bias)", "classifier of the file's own classes"), *COUNTERS)
OPTIMISER: Reasons = (
    (r"(moments|moment1|moment2|accum|adam_m|adam_v|velocity|stat)\..*", "state of an optimiser"),
    (r"(epoch|step|loss|lr|momentum|scale_sense)|.*_(step|rate|power|num)", "counters of a training"),
)


@dataclass(frozen=True)
class Layout:
    """How some publisher names the tensors of a network. All patterns are of whole names without their outer prefix.

    sign: a pattern that one name must match. first: a pattern of one name that every such file has, from which the
    outer prefix is read. renames: (pattern, replacement), in turn. ignored: (pattern, reason): what is dropped, and
    why. refused: (pattern, what it is): parts that a network of this library has no place for, and without which the
    rest means nothing. settings: what the layout tells of the network, by field of NetworkConfig; evaluation takes it
    over, training warns where its own settings differ. cautions: what differs in meaning and cannot be taken over.
    images: (name of a tensor, what it must hold, caution where it holds something else).
    """

    name: str
    sign: str
    first: str
    renames: Renames = ()
    ignored: Reasons = ()
    refused: Reasons = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    cautions: tuple[str, ...] = ()
    images: tuple[tuple[str, tuple[float, ...], str], ...] = ()


_NECK = NECK.removesuffix(".weight")

OWN = (
    Layout("this library's names in MindSpore", rf"{_NECK}\.gamma", rf"{_NECK}\.gamma", MINDSPORE_NORMS, OPTIMISER),
    Layout("this library's names", rf"{_NECK}\.weight", rf"{_NECK}\.weight", (), COUNTERS),
)
"""Of any backbone."""
