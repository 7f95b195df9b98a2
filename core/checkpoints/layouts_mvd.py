"""The checkpoints of MVD's two public codes: all three networks in one file, under names of their own.

The PyTorch code saves `model_best.pth.tar`, the MindSpore port `best_epoch_EE_rank1_R_mAP_M.ckpt`. Such a file does not
say its settings, but each code has but one network: the recipe that follows the code is the file's configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from duoreid.core.checkpoints.formats import Contents, read
from duoreid.core.errors import UserError
from duoreid.core.methods.registry import spec_of
from duoreid.core.networks.layouts import COUNTERS, MINDSPORE_NORMS, Reasons, Renames
from duoreid.core.settings.config import Config, LearnerConfig
from duoreid.core.settings.presets import presets


@dataclass(frozen=True)
class JointLayout:
    """How a code names the tensors of a method's networks in a file that holds all of them.

    preset: of the recipe that follows the code. roots: the first words of its names, as patterns, and what they are
    here: "ROLE." or "ROLE.z." for what stands behind the neck. renames: (pattern, replacement), in turn, of what
    follows ROLE. ignored: (pattern of the whole name, reason).
    """

    name: str
    preset: str
    roots: Renames
    renames: Renames
    ignored: Reasons

    def bare(self, name: str) -> str:
        """Return a name without whatever a wrapper or an optimiser has put before it; "" for one of another layout."""
        places = (re.search(rf"(?:^|\.)(?={root})", name) for root, _ in self.roots)
        ends = [match.end() for match in places if match]
        return name[min(ends) :] if ends else ""

    def ours(self, name: str) -> str:
        """Return ROLE.TENSOR for a bare name."""
        for root, role in self.roots:
            if re.match(root, name):
                name = re.sub(rf"^{root}", role, name)
                break
        role, _, inside = name.partition(".")
        for pattern, replacement in self.renames:
            inside = re.sub(pattern, replacement, inside)
        return f"{role}.{inside}"

    def reason(self, name: str) -> str:
        """Return why a tensor of a bare name is left out, "" for one that is taken."""
        return next((reason for pattern, reason in self.ignored if re.fullmatch(pattern, name)), "")


_BEHIND: Renames = (
    (r"^z\.bottleneck\.model\.0\.", "bottleneck.linear1."),
    (r"^z\.bottleneck\.model\.1\.", "bottleneck.bn1."),
    (r"^z\.bottleneck\.model\.3\.", "bottleneck.linear2."),
    (r"^z\.bottleneck\.model\.4\.", "bottleneck.bn2."),
    (r"^z\.bottleneck\.model\.6\.", "bottleneck.linear3."),
    (r"^z\.classifier\.0\.", "bottleneck.hidden."),
    (r"^z\.classifier\.1\.", "bottleneck.hidden_bn."),
    (r"^z\.classifier\.4\.", "bottleneck.classifier."),
    (r"^bottleneck\.(?=(?:weight|bias|gamma|beta|running_|moving_)\w*$)", "neck."),
)

TORCH = JointLayout(
    "MVD's public PyTorch code",
    "mvd-sysu",
    (
        (r"RGB_backbone\.", "visible."),
        (r"IR_backbone\.", "infrared."),
        (r"shared_backbone\.", "shared."),
        (r"RGB_Bottleneck\.", "visible.z."),
        (r"IR_Bottleneck\.", "infrared.z."),
        (r"shared_Bottleneck\.", "shared.z."),
    ),
    (
        *_BEHIND,
        (r"^base\.", ""),
        (r"^classifier\.0\.", "classifier."),
        (r"^cam_256\._cam_module\.", "attention2."),
        (r"^cam_512\._cam_module\.", "attention3."),
        (r"^cam_1024\._cam_module\.", "attention4."),
    ),
    (*COUNTERS, (r"\w+_backbone\.base\.fc\.(weight|bias)", "ImageNet's classifiers, which were never trained")),
)

PORT = JointLayout(
    "MVD's public MindSpore port",
    "mvd-sysu-port",
    (
        (r"rgb_backbone\.visible\.", "visible."),
        (r"ir_backbone\.thermal\.", "infrared."),
        (r"shared_backbone\.base\.", "shared."),
        (r"rgb_bottleneck\.", "visible.z."),
        (r"ir_bottleneck\.", "infrared.z."),
        (r"shared_bottleneck\.", "shared.z."),
    ),
    (*_BEHIND, (r"\.down_sample_layer\.", ".downsample."), *MINDSPORE_NORMS),
    (),
)

JOINT = (TORCH, PORT)
"""In the order in which they are tried."""


@dataclass(frozen=True)
class JointFile:
    """All networks of a method out of a file of its public code.

    config: the recipe that follows the code, weights left out. tensors: float32, by ROLE.TENSOR. report: in words.
    """

    path: Path
    layout: JointLayout
    config: Config
    tensors: dict[str, np.ndarray]
    report: str

    def learner_config(self) -> LearnerConfig:
        """Return what a learner of these networks is built from."""
        spec = spec_of(self.config.method)
        rows = len(self.tensors[f"{spec.students[0]}.classifier.weight"])
        data, section = self.config.data, getattr(self.config, spec.section)
        return spec.learner_config(self.config.network, rows, rows, data.height, data.width, section=section)


def layout_of(names: Mapping[str, object]) -> JointLayout | None:
    """Return the layout of which every root stands among the names, None for none."""
    for layout in JOINT:
        if all(any(re.search(rf"(?:^|\.){root}", name) for name in names) for root, _ in layout.roots):
            return layout
    return None


def load_public(path: Path) -> JointFile | None:
    """Read a file of one of the public codes; None for a file of another kind. Errors: see `public_of`."""
    return public_of(read(path))


def public_of(contents: Contents) -> JointFile | None:
    """Return the networks of a file of one of the public codes; None for contents of another kind.

    UserError lists tensors that are missing, of another shape, not known or not finite.
    """
    path, layout = contents.path, layout_of(contents.tensors)
    if layout is None:
        return None
    state: dict[str, np.ndarray] = {}
    ignored: dict[str, int] = {}
    for name, value in contents.tensors.items():
        bare = layout.bare(name)
        reason = layout.reason(bare) if bare else "tensors of no network"
        if reason:
            ignored[reason] = ignored.get(reason, 0) + 1
            continue
        ours = layout.ours(bare)
        if ours in state:
            raise UserError(f"{path} has {ours} twice, the second time as {name}: save the file with one of them.")
        state[ours] = np.array(value, np.float32, order="C")
    recipe = presets()[layout.preset]
    made = JointFile(contents.path, layout, recipe, state, "")
    _check(made)
    lines = [
        f"weights of {path} ({contents.kind}): {layout.name}, {len(state)} tensors matched; settings of its recipe"
    ]
    lines += [f"  ignored, {reason}: {count}" for reason, count in ignored.items()]
    lines += [f"  not used: {', '.join(contents.aside)}"] if contents.aside else []
    lines += _own_scores(contents.path)
    return replace(made, report="\n".join(lines))


def _check(made: JointFile) -> None:
    spec = spec_of(made.config.method)
    first = f"{spec.students[0]}.classifier.weight"
    if np.ndim(made.tensors.get(first)) != 2:
        raise UserError(
            f"{made.path} ({made.layout.name}) has no {first}: the file is cut short or of another version."
        )
    entries = {entry.name: entry.shape for entry in spec.tensors(made.learner_config())}
    wanted = {f"{role}.{name}": shape for role in spec.all for name, shape in entries.items()}
    problems = [f"missing: {name} {shape}" for name, shape in wanted.items() if name not in made.tensors]
    for name, value in made.tensors.items():
        if name not in wanted:
            problems.append(f"unexpected: {name} {value.shape}")
        elif value.shape != wanted[name]:
            problems.append(f"shape: {name} is {value.shape}, expected {wanted[name]}")
        elif not np.isfinite(value).all():
            problems.append(f"not finite: {name}")
    if problems:
        shown = "\n  ".join(problems[:20]) + (f"\n  ... and {len(problems) - 20} more" if len(problems) > 20 else "")
        raise UserError(
            f"{made.path} is named as files of {made.layout.name} are, but does not hold its networks:\n  {shown}\n"
            "Give the file as the code saved it."
        )


def _own_scores(path: Path) -> list[str]:
    """Return what the port's name of a file says of its scores."""
    told = re.search(r"epoch_(\d+)_rank1_([\d.]*\d)_mAP_([\d.]*\d)", path.name)
    if not told:
        return []
    epoch, rank1, mean_ap = told.groups()
    return [f"  its name says: epoch {epoch}, rank-1 {rank1}, mAP {mean_ap}, by the port's own test (one draw)"]


def branches(made: JointFile, config: LearnerConfig) -> tuple[dict[str, np.ndarray], str]:
    """Return (tensors by ROLE.TENSOR that start a learner of some configuration, a report).

    All of the file's backbones and necks; of its heads those that the learner has in the same shape. UserError where
    the learner is of another method, or its backbones do not fit.
    """
    spec = spec_of(made.config.method)
    if config.method != spec.name:
        raise UserError(
            f"{made.path} holds the networks of {spec.name} ({made.layout.name}), which cannot start {config.method}."
        )
    entries = spec_of(config.method).tensors(config)
    wanted = {f"{role}.{entry.name}": entry.shape for role in spec.all for entry in entries}
    heads = ("classifier.", "bottleneck.")
    body = [name for name in wanted if not name.split(".", 1)[1].startswith(heads)]
    wrong = [name for name in body if name not in made.tensors or made.tensors[name].shape != wanted[name]]
    unused = [name for name in made.tensors if name not in wanted or made.tensors[name].shape != wanted[name]]
    lost = [name for name in unused if not name.split(".", 1)[1].startswith(heads)]
    if wrong or lost:
        name = (wrong + lost)[0]
        raise UserError(
            f"{made.path} ({made.layout.name}) does not fit this network, in {name} for one: start from --preset "
            f"{made.layout.preset}, whose networks are the file's."
        )
    taken = {name: value for name, value in made.tensors.items() if name not in unused}
    lines = [made.report]
    if unused:
        lines.append(f"  of heads of another size or without their bias here, not taken: {', '.join(unused)}")
    differs = [
        f"{name} {getattr(config.network, name)!r}, there {getattr(made.config.network, name)!r}"
        for name in ("stem_relu", "last_stride", "conv_padding", "last_norm_epsilon")
        if getattr(config.network, name) != getattr(made.config.network, name)
    ]
    lines += [f"  CAUTION: this network differs from the file's: {'; '.join(differs)}"] if differs else []
    return taken, "\n".join(lines)
