"""Networks from elsewhere: recognise how a file names its tensors, map the names to ours, and say what happened.

Nothing is left out in silence: a tensor is used, or ignored for a stated reason, or an error.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from duoreid.core.checkpoints.formats import CHECKPOINT, read
from duoreid.core.errors import UserError, unknown
from duoreid.core.methods.registry import holder_of
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.backbones import BACKBONES, backbone
from duoreid.core.networks.heads import NECK
from duoreid.core.networks.layouts import OWN, Layout
from duoreid.core.networks.network import network_tensors
from duoreid.core.networks.tensors import Entry
from duoreid.core.settings.config import LearnerConfig

OUTER = r"(?:(?:module|_orig_mod|network|backbone|model|net)\.)*"
"""Prefixes that wrappers leave on every name: DataParallel's, torch.compile's, a training cell's."""

ROLE = rf"(\w+)\.{re.escape(NECK)}"
"""The name of a tensor that each network has, in a file of several."""


@dataclass(frozen=True)
class ImportReport:
    """What an import did. matched: tensors used. ignored: reason -> names. notes: sentences that a user should read."""

    path: Path
    kind: str
    layout: Layout
    matched: int
    ignored: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"weights of {self.path} ({self.kind}): {self.layout.name}, {self.matched} tensors matched"]
        for reason, names in self.ignored.items():
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            lines.append(f"  ignored, {reason}: {len(names)} ({shown})")
        return "\n".join(lines + [f"  {note}" for note in self.notes])


def load(
    source: str | Path, config: BackboneConfig | LearnerConfig, *, capacity: int | None = None
) -> tuple[dict[str, np.ndarray], ImportReport]:
    """Read the weights of one network from a file.

    source: a file that core.checkpoints.formats reads; "FILE#ROLE" takes the network of that role from a checkpoint
    that holds several. config: the network that the weights must fit, and the size of its images. capacity: rows of the
    classifier; None takes whatever the file has.
    Returns (tensors float32 by canonical name, report): all of the backbone, the neck where the file has one, the
    classifier where it has as many rows as `capacity`. UserError lists what is missing, unexpected, of another shape or
    not finite.
    """
    path, role = (str(source), "") if Path(source).exists() else _split(str(source))
    contents = read(path)
    tensors, others = _choose(contents.tensors, role, contents.path, own=contents.kind == CHECKPOINT)
    network = config.network
    layout, named = recognise(tensors, contents.path, network.arch)
    ignored: dict[str, tuple[str, ...]] = {"no network": contents.aside, "other networks, optimiser": others}
    found = _rename(layout, named, ignored, contents.path)
    notes = _settle_head(found, capacity, ignored)
    if layout.stem_relu is not None and layout.stem_relu != network.stem_relu:
        option = "--stem-relu" if layout.stem_relu else "--no-stem-relu"
        notes.append(f"CAUTION: the network of this layout differs in its stem; {option} makes ours the same")
    rows = len(found["classifier.weight"].value) if "classifier.weight" in found else 1
    absent = tuple(part for part in ("neck.", "classifier.") if not any(name.startswith(part) for name in found))
    built = BackboneConfig(network, config.height, config.width)
    wanted = [entry for entry in network_tensors(built, rows) if not entry.name.startswith(absent)]
    _check(found, wanted, contents.path, built, layout)
    taken = {name: np.array(tensor.value, np.float32, order="C") for name, tensor in found.items()}
    given = {reason: names for reason, names in ignored.items() if names}
    return taken, ImportReport(contents.path, contents.kind, layout, len(taken), given, tuple(notes))


def load_joint(path: Path) -> tuple[str, dict[str, np.ndarray]] | None:
    """Return (method, tensors float32 by ROLE.TENSOR) of a file of all networks of a method whose feature is one.

    In this library's names, or those that they have in MindSpore. None for another file.
    """
    tensors = read(path).tensors
    signs = {layout.sign for layout in OWN}
    found = {match.group(1) for name in tensors for sign in signs if (match := re.fullmatch(rf"(\w+)\.{sign}", name))}
    spec = holder_of(found, joint=True)
    if spec is None:
        return None
    named = {}
    for role in sorted(found):
        own = {name.split(".", 1)[1]: value for name, value in tensors.items() if name.startswith(f"{role}.")}
        layout, _ = recognise(own, path)
        for name, value in own.items():
            named[f"{role}.{canonical(layout, name, own)}"] = np.asarray(value, np.float32)
    return spec.name, named


class Named(NamedTuple):
    """A tensor and what the file calls it."""

    name: str
    value: np.ndarray


def layouts(arch: str) -> list[Layout]:
    """Return every known layout in the order in which they are tried: this library's, the backbone's, the others'."""
    known = [backbone(arch), *BACKBONES.values()]
    return list(dict.fromkeys([*OWN, *(layout for one in known for layout in one.layouts)]))


def recognise(tensors: Mapping[str, np.ndarray], path: Path, arch: str = "") -> tuple[Layout, list[tuple[str, Named]]]:
    """Return (layout, [(name without the outer prefix, tensor)]): the first whose sign is there.

    arch: whose publishers' layouts are known too; without it, this library's own names alone. UserError for an unknown
    layout.
    """
    tried = layouts(arch) if arch else OWN
    for layout in tried:
        firsts = (re.fullmatch(rf"({OUTER}){layout.first}", name) for name in tensors)
        prefix = next((match.group(1) for match in firsts if match), None)
        if prefix is None:
            continue
        named = [(name.removeprefix(prefix), Named(name, np.asarray(value))) for name, value in tensors.items()]
        if any(re.fullmatch(layout.sign, name) for name, _ in named):
            return layout, named
    shown = ", ".join(list(tensors)[:6]) or "none"
    raise UserError(
        f"the tensors of {path} follow no known layout. Known: {'; '.join(layout.name for layout in tried)}. Found: "
        f"{shown}. Rename the tensors to this library's names or to one of the others."
    )


def canonical(layout: Layout, name: str, names: Container[str]) -> str:
    """Return the name of core/networks for a name of the layout. names: of all tensors beside it.

    A norm's gamma stands beside a beta; a lone one is a weight's own name.
    """
    if name.endswith(".gamma") and f"{name.removesuffix('gamma')}beta" not in names:
        return name
    for pattern, replacement in layout.renames:
        name = re.sub(pattern, replacement, name)
    return name


def _split(source: str) -> tuple[str, str]:
    """Return (file, role) of "FILE#ROLE"."""
    path, _, role = source.rpartition("#")
    return (path, role) if path else (source, "")


def _choose(
    tensors: Mapping[str, np.ndarray], role: str, path: Path, *, own: bool
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return (tensors of one network, names of all others). A file without roles has one network."""
    found = [match.group(1) for name in tensors if (match := re.fullmatch(ROLE, name))]
    if not own or not found:
        if role:
            raise UserError(f"{path} holds one network and no roles: give its name without #{role}.")
        return dict(tensors), ()
    if role and role not in found:
        raise unknown(f"network of {path}", role, found)
    if not role and len(found) > 1:
        raise UserError(f"{path} holds the networks {', '.join(found)}: choose one, as in {path}#{found[-1]}.")
    chosen = f"{role or found[0]}."
    mine = {name.removeprefix(chosen): value for name, value in tensors.items() if name.startswith(chosen)}
    return mine, tuple(name for name in tensors if not name.startswith(chosen))


def _rename(
    layout: Layout, named: Sequence[tuple[str, Named]], ignored: dict[str, tuple[str, ...]], path: Path
) -> dict[str, Named]:
    """Return the tensors by canonical name; those that the layout ignores go to `ignored`, by reason."""
    found, names = {}, {name for name, _ in named}
    for name, tensor in named:
        reason = next((reason for pattern, reason in layout.ignored if re.fullmatch(pattern, name)), None)
        if reason is not None:
            ignored[reason] = (*ignored.get(reason, ()), tensor.name)
            continue
        ours = canonical(layout, name, names)
        if ours in found:
            raise UserError(
                f"{path} has {ours} twice, as {found[ours].name} and {tensor.name}: which one was trained cannot be "
                "told. Save the file with one of them."
            )
        found[ours] = tensor
    return found


def _settle_head(found: dict[str, Named], capacity: int | None, ignored: dict[str, tuple[str, ...]]) -> list[str]:
    """Drop a classifier of another number of rows; return what there is to say of neck and classifier."""
    notes = []
    if not any(name.startswith("neck.") for name in found):
        notes.append("no neck in the file: the neck stays as initialised")
    if "classifier.weight" not in found:
        return [*notes, "no re-ID classifier in the file: the classifier stays as initialised"]
    rows = np.shape(found["classifier.weight"].value)[:1]
    if capacity is not None and rows != (capacity,):
        ignored["another number of classes"] = (found.pop("classifier.weight").name,)
        classes = f"{rows[0]:,} classes" if rows else "no classes"
        notes.append(f"the file has {classes}, this run {capacity:,}: the classifier stays as initialised")
    return notes


def _check(
    found: Mapping[str, Named], wanted: Iterable[Entry], path: Path, config: BackboneConfig, layout: Layout
) -> None:
    """Raise UserError that lists every tensor that is missing, unexpected, of another shape, or not finite."""
    shapes, arch = {entry.name: entry.shape for entry in wanted}, config.network.arch
    problems = [f"missing: {name} {shape}" for name, shape in shapes.items() if name not in found]
    for name, (theirs, value) in found.items():
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
        others = [name for name in BACKBONES if name != arch and _fits(found, name, config)]
        advice = f"They fit --arch {others[0]}." if others else f"Give whole weights of {arch}."
        raise UserError(
            f"the weights of {path} ({layout.name}) do not fit {arch}; none was taken, since nobody trained a network "
            f"with some of its weights:\n  {shown}\n{advice}"
        )


def _fits(found: Mapping[str, Named], arch: str, config: BackboneConfig) -> bool:
    """Return whether another backbone, for images of the same size, is just what was found."""
    head, other = ("neck.", "classifier."), config._replace(network=replace(config.network, arch=arch))
    ours = {entry.name: entry.shape for entry in backbone(arch).tensors(other)}
    return ours == {name: tensor.value.shape for name, tensor in found.items() if not name.startswith(head)}
