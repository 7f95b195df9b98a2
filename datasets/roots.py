"""Where a dataset lies: the folder itself, or a parent with one of the spellings that public repositories use."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from duoreid.datasets.errors import DatasetError
from duoreid.datasets.files import subfolders


@dataclass(frozen=True)
class Part:
    """One file or folder that a dataset consists of, e.g. Part("query/", "3,368 .jpg").

    path: any of these spellings, relative to the dataset's folder, "/" at the end of a folder's name.
    """

    path: str
    about: str
    others: tuple[str, ...] = ()
    needed: bool = True

    def find(self, root: Path) -> Path | None:
        """Return the part's place below root, or None where it is not there."""
        for spelling in (self.path, *self.others):
            place = root / spelling.rstrip("/")
            if os.path.isdir(place) if spelling.endswith("/") else os.path.isfile(place):
                return place
        return None


def plain(name: str) -> str:
    """Return a name without case and punctuation: "DukeMTMC-reID" and "dukemtmcreid" are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def find_root(root: str | Path, name: str, spellings: Sequence[str], parts: Sequence[Part]) -> Path:
    """Return the folder of a dataset: root itself, or one up to two levels below it that is named as expected.

    root: a folder. spellings: names of the dataset's folder and of parents of it, compared without case and
    punctuation; "PARENT/FOLDER" where the folder's own name says little.
    Raises DatasetError where none, or more than one, is there, with a drawing of the tree that is expected.
    """
    root = Path(root)
    if any(part.find(root) for part in parts):
        return root
    known = {plain(part) for spelling in spellings for part in spelling.split("/")}
    named = [folder for folder in subfolders(root) if plain(folder.name) in known]
    named += [inner for folder in named for inner in subfolders(folder) if plain(inner.name) in known]
    if plain(root.name) in known:
        named.insert(0, root)
    roots = [folder for folder in named if any(part.find(folder) for part in parts)]
    if len(roots) == 1:
        return roots[0]
    if roots:
        raise DatasetError(
            f"{root} holds {len(roots)} folders that look like {name}: {', '.join(map(str, roots))}. Results "
            "would depend on which is read: give one of them."
        )
    if named:
        raise DatasetError(f"{named[-1]} holds nothing of {name}.\n{draw(name, named[-1], parts)}")
    raise DatasetError(
        f"found no {name} in {root}: expected the dataset's folder itself, or a folder named {_or(spellings)} in "
        f"it.\n{draw(name, None, parts)}"
    )


def require(root: Path, name: str, parts: Sequence[Part]) -> dict[str, Path]:
    """Return every needed part's place by its `path`; DatasetError naming all that are missing, with a drawing."""
    places = {part.path: part.find(root) for part in parts}
    missing = [part.path for part in parts if part.needed and places[part.path] is None]
    if missing:
        raise DatasetError(
            f"{name} in {root} is incomplete: {', '.join(missing)} missing.\n{draw(name, root, parts)}\n"
            "Unpack the archive again, or move the missing parts there."
        )
    return {path: place for path, place in places.items() if place is not None}


def draw(name: str, root: Path | None, parts: Sequence[Part]) -> str:
    """Draw the expected tree, and beside each part whether it is there."""
    width = max(len(part.path) for part in parts)
    lines = [f"{name} should look like this:", f"  {root if root else name}/"]
    for index, part in enumerate(parts):
        branch = "└── " if index == len(parts) - 1 else "├── "
        state = ""
        if root is not None:
            state = "found    " if part.find(root) else ("MISSING  " if part.needed else "not here ")
        optional = "" if part.needed else " (optional)"
        lines.append(f"  {branch}{part.path:<{width}}  {state}{part.about}{optional}")
    return "\n".join(lines)


def _or(items: Sequence[str]) -> str:
    return ", ".join(items[:-1]) + (" or " if len(items) > 1 else "") + items[-1]
