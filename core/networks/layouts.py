"""How a publisher names the tensors of a network: patterns that map the names to ours."""

from __future__ import annotations

from dataclasses import dataclass

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
    """How some publisher names the tensors of a network.

    sign: a pattern that one name, without its outer prefix, must match. first: a pattern of one name that every such
    file has, from which the outer prefix is read. renames: (pattern, replacement), in turn. ignored: (pattern of whole
    names, reason). stem_relu: what the layout tells of the network, None where nothing.
    """

    name: str
    sign: str
    first: str
    renames: Renames = ()
    ignored: Reasons = ()
    stem_relu: bool | None = None


_NECK = NECK.removesuffix(".weight")

OWN = (
    Layout("this library's names in MindSpore", rf"{_NECK}\.gamma", rf"{_NECK}\.gamma", MINDSPORE_NORMS, OPTIMISER),
    Layout("this library's names", rf"{_NECK}\.weight", rf"{_NECK}\.weight", (), COUNTERS),
)
"""Of any backbone."""
