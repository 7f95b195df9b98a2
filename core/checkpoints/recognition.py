"""Which layout the names of a file follow, and which of its tensors are the network."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from duoreid.core.checkpoints.layouts import LAYOUTS
from duoreid.core.errors import UserError, unknown
from duoreid.core.networks.backbones import BACKBONES, backbone
from duoreid.core.networks.layouts import OWN, Layout

TRANSPARENT = r"(?:^|(?<=\.))(?:module|_orig_mod)\."
"""What DataParallel and torch.compile leave in names, at any depth."""

OUTER = r"(?:[A-Za-z_]\w*\.)*?"
"""Prefixes that wrappers leave on every name: a training cell's, a model's of which the network is a part."""

WITHIN = r"(.*\.)?(layer[1-4]|NL_[1-4])\..*"
"""Prefixes that are a part of a network and no wrapper around it."""


class Named(NamedTuple):
    """A tensor and what the file calls it."""

    name: str
    value: np.ndarray


class Aside(NamedTuple):
    """Names of what is no part of the network: of other networks in the file, and of things beside all of them."""

    others: tuple[str, ...]
    beside: tuple[str, ...]


def layouts(arch: str) -> list[Layout]:
    """Return every known layout in the order in which they are tried: this library's, the backbone's, the others'."""
    known = [backbone(arch), *BACKBONES.values()]
    of_all = [layout for one in known for layout in (*one.layouts, *LAYOUTS.get(one.family, ()))]
    return list({id(layout): layout for layout in (*OWN, *of_all)}.values())


def recognise(
    tensors: Mapping[str, np.ndarray], path: Path, arch: str = "", role: str = ""
) -> tuple[Layout, list[tuple[str, Named]], Aside]:
    """Return (layout, [(name without wrappers' prefixes, tensor)], what lies aside): the first whose sign is there.

    arch: whose publishers' layouts are known too; without it, this library's own names alone. role: which network,
    where the file has several side by side. UserError for an unknown layout, and for several networks and no role.
    """
    tried = layouts(arch) if arch else OWN
    plain = [(re.sub(TRANSPARENT, "", name), Named(name, np.asarray(value))) for name, value in tensors.items()]
    for layout in tried:
        firsts = [match.group(1) for name, _ in plain if (match := re.fullmatch(rf"({OUTER}){layout.first}", name))]
        prefixes = [prefix for prefix in dict.fromkeys(firsts) if not re.fullmatch(WITHIN, prefix)]
        signed = [
            prefix
            for prefix in prefixes
            if any(re.fullmatch(layout.sign, name.removeprefix(prefix)) for name, _ in plain)
        ]
        if not signed:
            continue
        if role and signed == [""]:
            raise UserError(f"{path} holds one network and no roles: give its name without #{role}.")
        outermost = [one for one in signed if not any(one != other and one.startswith(other) for other in signed)]
        prefix = _one(signed if role else outermost, role, path)
        others = tuple(one for one in prefixes if not prefix.startswith(one))
        return layout, *_divide(plain, prefix, others, layout)
    shown = ", ".join(list(tensors)[:6]) or "none"
    raise UserError(
        f"the tensors of {path} follow no known layout. Known: {'; '.join(layout.name for layout in tried)}. Found: "
        f"{shown}. Rename the tensors to this library's names or to one of the others."
    )


def _one(prefixes: Sequence[str], role: str, path: Path) -> str:
    """Return the prefix of the network that is asked for; of several side by side, one must be."""
    if role:
        chosen = [prefix for prefix in prefixes if role in (prefix.rstrip("."), prefix.split(".")[0])]
        if len(chosen) != 1:
            raise unknown(f"network of {path}", role, [prefix.rstrip(".") or "(without a name)" for prefix in prefixes])
        return chosen[0]
    if len(prefixes) > 1:
        names = [prefix.rstrip(".") for prefix in prefixes]
        raise UserError(f"{path} holds the networks {', '.join(names)}: choose one, as in {path}#{names[-1]}.")
    return prefixes[0]


def _divide(
    plain: Sequence[tuple[str, Named]], prefix: str, others: tuple[str, ...], layout: Layout
) -> tuple[list[tuple[str, Named]], Aside]:
    """Return the network's tensors without their prefix, and what lies aside.

    A head often lies beside the backbone, outside its prefix: it is the network's where the layout knows its name.
    """
    mine, aside, beside = [], [], []
    for name, tensor in plain:
        named = any(re.fullmatch(pattern, name.removeprefix(prefix)) for pattern, _ in layout.ignored)
        if others and name.startswith(others) and not named:
            aside.append(tensor.name)
        elif name.startswith(prefix):
            mine.append((name.removeprefix(prefix), tensor))
        elif _known(layout, name):
            mine.append((name, tensor))
        else:
            beside.append(tensor.name)
    return mine, Aside(tuple(aside), tuple(beside))


def _known(layout: Layout, name: str) -> bool:
    patterns = [pattern for pattern, _ in (*layout.ignored, *layout.refused)]
    if any(re.fullmatch(pattern, name) for pattern in patterns):
        return True
    return canonical(layout, name, ()).startswith(("neck.", "classifier.weight"))


def canonical(layout: Layout, name: str, names: Container[str]) -> str:
    """Return the name of core/networks for a name of the layout. names: of all tensors beside it.

    A norm's gamma stands beside a beta; a lone one is a weight's own name.
    """
    if name.endswith(".gamma") and f"{name.removesuffix('gamma')}beta" not in names:
        return name
    for pattern, replacement in layout.renames:
        name = re.sub(pattern, replacement, name)
    return name
