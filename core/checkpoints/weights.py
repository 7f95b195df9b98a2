"""Networks from elsewhere: recognise how a file names its tensors, map the names to ours, and say what happened.

Nothing is left out in silence: a tensor is used, or ignored for a stated reason, or an error.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from duoreid.core.checkpoints.formats import CHECKPOINT, read
from duoreid.core.checkpoints.recognition import Named, canonical, recognise
from duoreid.core.errors import UserError, unknown
from duoreid.core.methods.registry import holder_of
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.backbones import BACKBONES, backbone
from duoreid.core.networks.heads import NECK, gem
from duoreid.core.networks.layouts import OWN, Layout
from duoreid.core.networks.network import network_tensors
from duoreid.core.networks.tensors import Entry
from duoreid.core.settings.config import LearnerConfig, NetworkConfig

EXPONENT = gem().name

ROLE = rf"(\w+)\.{re.escape(NECK)}"
"""The name of a tensor that each network has, in a file of several."""


@dataclass(frozen=True)
class ImportReport:
    """What an import did. matched: tensors used. ignored: reason -> names. notes: sentences that a user should read.

    network: the settings that the weights were fitted to.
    """

    path: Path
    kind: str
    layout: Layout
    matched: int
    ignored: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]
    network: NetworkConfig

    def __str__(self) -> str:
        lines = [f"weights of {self.path} ({self.kind}): {self.layout.name}, {self.matched} tensors matched"]
        for reason, names in self.ignored.items():
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            lines.append(f"  ignored, {reason}: {len(names)} ({shown})")
        return "\n".join(lines + [f"  {note}" for note in self.notes])


def load(
    source: str | Path,
    config: BackboneConfig | LearnerConfig,
    *,
    capacity: int | None = None,
    fixed: Collection[str] | None = None,
) -> tuple[dict[str, np.ndarray], ImportReport]:
    """Read the weights of one network from a file.

    source: a file that core.checkpoints.formats reads; "FILE#ROLE" takes the network of that role from a checkpoint
    that holds several. config: the network that the weights must fit, and the size of its images. capacity: rows of the
    classifier; None takes whatever the file has. fixed: names of the network's settings that stand; those others that
    the layout tells are taken over, into the report's `network`. None: all stand, and the report warns of differences.
    Returns (tensors float32 by canonical name, report): all of the backbone, the neck where the file has one, the
    classifier where it has as many rows as `capacity`. UserError lists what is missing, unexpected, of another shape or
    not finite.
    """
    path, role = (str(source), "") if Path(source).exists() else _split(str(source))
    contents = read(path)
    tensors, others, role = _choose(contents.tensors, role, contents.path, own=contents.kind == CHECKPOINT)
    network = config.network
    layout, named, aside = recognise(tensors, contents.path, network.arch, role)
    if fixed is not None:
        network = replace(network, **{name: value for name, value in layout.settings.items() if name not in fixed})
    ignored: dict[str, tuple[str, ...]] = {
        "no network": contents.aside,
        "other networks, optimiser": (*others, *aside.others),
        "beside the network": aside.beside,
    }
    _refuse(layout, named, contents.path, network.arch)
    renamed = _rename(layout, named, ignored, contents.path)
    notes = _settle_head(renamed, capacity, ignored) + _settle_pooling(renamed, network, ignored)
    notes += told(layout, named, network)
    if aside.beside:
        notes.append(
            "CAUTION: if the file's own feature comes from what lies beside the network, this one is another feature"
        )
    rows = len(renamed["classifier.weight"].value) if np.ndim(_value(renamed, "classifier.weight")) else 1
    absent = tuple(
        part for part in ("neck.", "classifier.", "pooling.") if not any(name.startswith(part) for name in renamed)
    )
    built = BackboneConfig(network, config.height, config.width)
    wanted = [entry for entry in network_tensors(built, rows) if not entry.name.startswith(absent)]
    _check(renamed, wanted, contents.path, built, layout)
    taken = {name: np.array(tensor.value, np.float32, order="C") for name, tensor in renamed.items()}
    given = {reason: names for reason, names in ignored.items() if names}
    return taken, ImportReport(contents.path, contents.kind, layout, len(taken), given, tuple(notes), network)


def told(layout: Layout, named: Sequence[tuple[str, Named]], network: NetworkConfig) -> list[str]:
    """Return what a user should read of what the layout tells of its networks: cautions, and what was assumed."""
    notes = []
    for field, value in layout.settings.items():
        own = getattr(network, field)
        if own != value:
            option = field.replace("_", "-")
            given = f"--{option} {value}" if not isinstance(value, bool) else f"--{'' if value else 'no-'}{option}"
            notes.append(f"CAUTION: networks of this layout have {field} {value}, this one {own}; {given} makes it so")
    tensors = {name: tensor.value for name, tensor in named}
    for name, expected, caution in layout.images:
        if name in tensors and not _agrees(tensors[name], expected):
            notes.append(f"CAUTION: {caution} ({name} is {np.ravel(tensors[name])[:6].tolist()})")
    notes += [f"CAUTION: {caution}" for caution in layout.cautions]
    known = {f"{field} {getattr(network, field)}" for field in ASSUMED if field not in layout.settings}
    shown = ", ".join(sorted(known))
    return [*notes, f"assumed: {shown + ', ' if shown else ''}RGB images, ImageNet's mean and deviation removed"]


ASSUMED = ("stem_relu", "last_stride", "conv_padding", "stem_pool", "pooling")
"""Settings of a network that no tensor shows: where the layout does not tell them, the report does."""


def _agrees(value: np.ndarray, expected: tuple[float, ...]) -> bool:
    numbers = np.ravel(value)
    return numbers.shape == (len(expected),) and np.allclose(numbers, expected, rtol=1e-3)


def _value(renamed: Mapping[str, Named], name: str) -> np.ndarray | None:
    return renamed[name].value if name in renamed else None


def load_joint(path: Path) -> tuple[str, dict[str, np.ndarray]] | None:
    """Return (method, tensors float32 by ROLE.TENSOR) of a file of all networks of a method whose feature is one.

    In this library's names, or those that they have in MindSpore. None for another file.
    """
    tensors = read(path).tensors
    signs = {layout.sign for layout in OWN}
    roles = {match.group(1) for name in tensors for sign in signs if (match := re.fullmatch(rf"(\w+)\.{sign}", name))}
    spec = holder_of(roles, joint=True)
    if spec is None:
        return None
    named = {}
    for role in sorted(roles):
        own = {name.split(".", 1)[1]: value for name, value in tensors.items() if name.startswith(f"{role}.")}
        layout, _, _ = recognise(own, path)
        for name, value in own.items():
            named[f"{role}.{canonical(layout, name, own)}"] = np.asarray(value, np.float32)
    return spec.name, named


def _refuse(layout: Layout, named: Sequence[tuple[str, Named]], path: Path, arch: str) -> None:
    """Raise UserError for a network with parts that this library's have not: they are named, not listed as missing."""
    for pattern, what in layout.refused:
        parts = [tensor.name for name, tensor in named if re.fullmatch(pattern, name)]
        if parts:
            shown = ", ".join(parts[:3]) + (", ..." if len(parts) > 3 else "")
            raise UserError(
                f"{path} ({layout.name}) holds {what}: {len(parts)} tensors ({shown}). {arch} has no such part, and "
                "the rest was trained with it: none was taken. Give the weights of a network without it."
            )


def _split(source: str) -> tuple[str, str]:
    """Return (file, role) of "FILE#ROLE"."""
    path, _, role = source.rpartition("#")
    return (path, role) if path else (source, "")


def _choose(
    tensors: Mapping[str, np.ndarray], role: str, path: Path, *, own: bool
) -> tuple[dict[str, np.ndarray], tuple[str, ...], str]:
    """Return (tensors of one network, names of all others, the role if it is still to be found).

    A file of others has no roles, but may hold several networks side by side: see `recognise`.
    """
    roles = [match.group(1) for name in tensors if (match := re.fullmatch(ROLE, name))]
    if not own or not roles:
        return dict(tensors), (), role
    if role and role not in roles:
        raise unknown(f"network of {path}", role, roles)
    if not role and len(roles) > 1:
        raise UserError(f"{path} holds the networks {', '.join(roles)}: choose one, as in {path}#{roles[-1]}.")
    chosen = f"{role or roles[0]}."
    mine = {name.removeprefix(chosen): value for name, value in tensors.items() if name.startswith(chosen)}
    return mine, tuple(name for name in tensors if not name.startswith(chosen)), ""


def _rename(
    layout: Layout, named: Sequence[tuple[str, Named]], ignored: dict[str, tuple[str, ...]], path: Path
) -> dict[str, Named]:
    """Return the tensors by canonical name; those that the layout ignores go to `ignored`, by reason."""
    renamed, names = {}, {name for name, _ in named}
    for name, tensor in named:
        reason = next((reason for pattern, reason in layout.ignored if re.fullmatch(pattern, name)), None)
        if reason is not None:
            ignored[reason] = (*ignored.get(reason, ()), tensor.name)
            continue
        ours = canonical(layout, name, names)
        if ours in renamed:
            raise UserError(
                f"{path} has {ours} twice, as {renamed[ours].name} and {tensor.name}: which one was trained cannot be "
                "told. Save the file with one of them."
            )
        renamed[ours] = tensor
    return renamed


def _settle_head(renamed: dict[str, Named], capacity: int | None, ignored: dict[str, tuple[str, ...]]) -> list[str]:
    """Drop a classifier of another number of rows; return what there is to say of neck and classifier."""
    notes = []
    if not any(name.startswith("neck.") for name in renamed):
        notes.append("no neck in the file: the neck stays as initialised")
    if "classifier.weight" not in renamed:
        return [*notes, "no re-ID classifier in the file: the classifier stays as initialised"]
    rows = np.shape(renamed["classifier.weight"].value)[:1]
    if capacity is not None and rows != (capacity,):
        ignored["another number of classes"] = (renamed.pop("classifier.weight").name,)
        classes = f"{rows[0]:,} classes" if rows else "no classes"
        notes.append(f"the file has {classes}, this run {capacity:,}: the classifier stays as initialised")
    return notes


def _settle_pooling(
    renamed: dict[str, Named], network: NetworkConfig, ignored: dict[str, tuple[str, ...]]
) -> list[str]:
    """Drop the exponent of a pooling that the network has not; return what there is to say of it."""
    if network.pooling != "gem" and EXPONENT in renamed:
        ignored["the exponent of a pooling that this network has not"] = (renamed.pop(EXPONENT).name,)
    if network.pooling == "gem" and EXPONENT not in renamed:
        return ["no exponent of the pooling in the file: it stays as initialised"]
    return []


def _check(
    renamed: Mapping[str, Named], wanted: Iterable[Entry], path: Path, config: BackboneConfig, layout: Layout
) -> None:
    """Raise UserError that lists every tensor that is missing, unexpected, of another shape, or not finite."""
    shapes, arch = {entry.name: entry.shape for entry in wanted}, config.network.arch
    problems = [f"missing: {name} {shape}" for name, shape in shapes.items() if name not in renamed]
    for name, (theirs, value) in renamed.items():
        called = name if name == theirs else f"{name} (in the file: {theirs})"
        if name not in shapes:
            problems.append(f"unexpected: {called} {value.shape}")
        elif value.shape != shapes[name]:
            problems.append(f"shape: {called} is {value.shape}, expected {shapes[name]}")
        elif value.dtype.kind != "f":
            problems.append(f"type: {called} is {value.dtype}, expected floating-point numbers")
        elif not np.isfinite(value).all():
            problems.append(f"not finite: {called}")
    if problems:
        shown = "\n  ".join(problems[:20]) + (f"\n  ... and {len(problems) - 20} more" if len(problems) > 20 else "")
        others = [name for name in BACKBONES if name != arch and _fits(renamed, name, config)]
        advice = f"They fit --arch {others[0]}." if others else f"Give whole weights of {arch}."
        raise UserError(
            f"the weights of {path} ({layout.name}) do not fit {arch}; none was taken, since nobody trained a network "
            f"with some of its weights:\n  {shown}\n{advice}"
        )


def _fits(renamed: Mapping[str, Named], arch: str, config: BackboneConfig) -> bool:
    """Return whether another backbone, for images of the same size, is just what was found."""
    head, other = ("neck.", "classifier.", EXPONENT), config._replace(network=replace(config.network, arch=arch))
    ours = {entry.name: entry.shape for entry in backbone(arch).tensors(other)}
    return ours == {name: tensor.value.shape for name, tensor in renamed.items() if not name.startswith(head)}
