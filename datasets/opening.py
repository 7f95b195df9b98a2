"""From a dataset's name and folder to a `core.data.Dataset`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from duoreid.core.data import Dataset
from duoreid.core.errors import UserError, unknown
from duoreid.datasets import folder, llcm, market, mars, msmt, regdb, sysu, vehicleid, veri
from duoreid.datasets.errors import DatasetError, Problem, raise_fatal
from duoreid.datasets.roots import Part, draw, find_root, plain
from duoreid.datasets.sysu_draws import DRAWS

Read = Callable[[Path, list[Problem], int, int], Dataset]
OWN = "folder"
"""The name of a user's own images."""


@dataclass(frozen=True)
class Reader:
    """How one name is read.

    spellings: of its folder's name. parts: what its folder is recognised by; none for a user's own data, whose
    folder is given itself. read: (folder, problems, trial, seed) -> Dataset. trials: numbers of its training splits.
    drawn: (folder, problems, seed, draws) -> Dataset, where there are several ways to draw its galleries.
    """

    spellings: tuple[str, ...]
    parts: tuple[Part, ...]
    read: Read
    trials: tuple[int, ...] = (1,)
    drawn: Callable[[Path, list[Problem], int, str], Dataset] | None = None


def _market(name: str, naming: str, spellings: tuple[str, ...], parts: tuple[Part, ...] = market.PARTS) -> Reader:
    def read(root: Path, problems: list[Problem], trial: int, seed: int) -> Dataset:
        return market.read(root, name, problems, naming=naming, parts=parts)

    return Reader(spellings, parts, read)


def _sysu(name: str, spellings: tuple[str, ...]) -> Reader:
    return Reader(
        spellings,
        sysu.PARTS,
        lambda root, problems, trial, seed: sysu.read(root, name, problems, seed),
        drawn=lambda root, problems, seed, draws: sysu.read(root, name, problems, seed, draws),
    )


def _regdb(name: str, spellings: tuple[str, ...]) -> Reader:
    def read(root: Path, problems: list[Problem], trial: int, seed: int) -> Dataset:
        return regdb.read(root, name, problems, trial)

    return Reader(spellings, regdb.PARTS, read, tuple(regdb.TRIALS))


READERS = {
    "market1501": _market("market1501", "market1501", market.SPELLINGS["market1501"]),
    "dukemtmc": _market("dukemtmc", "dukemtmc", market.SPELLINGS["dukemtmc"]),
    "msmt17": Reader(
        msmt.SPELLINGS, msmt.PARTS, lambda root, problems, trial, seed: msmt.read(root, "msmt17", problems)
    ),
    "sysu": _sysu("sysu", sysu.SPELLINGS),
    "regdb": _regdb("regdb", regdb.SPELLINGS),
    "llcm": Reader(
        llcm.SPELLINGS,
        llcm.PARTS,
        lambda root, problems, trial, seed: llcm.read(root, "llcm", problems, seed),
        drawn=lambda root, problems, seed, draws: llcm.read(root, "llcm", problems, seed, draws),
    ),
    "occluded-duke": _market("occluded-duke", "dukemtmc", market.SPELLINGS["occluded-duke"]),
    "cuhk03-detected": _market("cuhk03-detected", "cuhk03", market.SPELLINGS["cuhk03-detected"]),
    "cuhk03-labeled": _market("cuhk03-labeled", "cuhk03", market.SPELLINGS["cuhk03-labeled"]),
    "veri776": _market("veri776", "veri776", veri.SPELLINGS, veri.PARTS),
    "mars": Reader(mars.SPELLINGS, mars.PARTS, lambda root, problems, trial, seed: mars.read(root, "mars", problems)),
    "vehicleid": Reader(
        vehicleid.SPELLINGS,
        vehicleid.PARTS,
        lambda root, problems, trial, seed: vehicleid.read(root, "vehicleid", problems, seed),
    ),
    "folder": Reader((), (), lambda root, problems, trial, seed: folder.read(root, "folder", problems)),
    "synthetic-a": _market("synthetic-a", "market1501", ("synthetic-a",)),
    "synthetic-b": _market("synthetic-b", "market1501", ("synthetic-b",)),
    "synthetic-sysu": _sysu("synthetic-sysu", ("synthetic-sysu",)),
    "synthetic-regdb": _regdb("synthetic-regdb", ("synthetic-regdb",)),
}
NAMES = tuple(READERS)


def open_dataset(
    name: str, root: str | Path, *, trial: int = 1, seed: int = 0, pattern: str = "", draws: str = "own"
) -> Dataset:
    """Read a dataset's index: which images it has, who is on them, and how it is tested. No image is decoded.

    name: one of NAMES, in any spelling ("DukeMTMC-reID" is "dukemtmc"). root: the dataset's folder, or a parent
    that holds it under one of its usual names. trial: the training split, where a dataset has several (RegDB: 1
    to 10). seed: of the draws where a dataset has no official ones. pattern: what the names of a user's own images
    tell (datasets/folder.py); other datasets have none. draws: "own", or "field" for the draws of SYSU-MM01's gallery
    that the field's public codes make (datasets/sysu_draws.py). What is left out of the folder, and what is assumed,
    is in the dataset's `remarks`.
    Raises UserError for an unknown name and DatasetError (both ValueErrors) for a dataset that is missing,
    incomplete or has files that cannot be understood.
    """
    name = canonical(name)
    problems: list[Problem] = []
    dataset = read(name, find(name, root), problems, trial, seed, pattern, draws)
    raise_fatal(problems, f"{name} in {dataset.root}")
    return replace(dataset, remarks=tuple(remark(problem) for problem in problems))


def remark(problem: Problem) -> str:
    """Return a finding as a run says it: in one line, with its first example."""
    return problem.text.rstrip(":") + (f", e.g. {problem.examples[0]}" if problem.examples else "")


class Place(NamedTuple):
    """A dataset that a word of the command line means. name: of NAMES. root: where it is looked for."""

    name: str
    root: Path


def places(word: str, data: str | Path) -> list[Place]:
    """Return the datasets that a word means: names (which lie under `data`), NAME=PATH, paths, with commas between.

    A name goes before a path of the same letters; a path is a user's own images. UserError for anything else.

    >>> places("market1501,dukemtmc=/disk/duke", "data")  # doctest: +NORMALIZE_WHITESPACE
    [Place(name='market1501', root=PosixPath('data')), Place(name='dukemtmc', root=PosixPath('/disk/duke'))]
    """
    if not word.strip():
        raise UserError(f"no dataset is named: expected one of {', '.join(NAMES)}, NAME=PATH, or a path.")
    own = Path(word).expanduser()
    if own.exists() and not _is_name(word):
        return [Place(OWN, own)]
    named = [_place(part.strip(), data) for part in word.split(",")]
    if len(set(named)) < len(named):
        raise UserError(f"{word} names a dataset twice: give each once.")
    return named


def _place(word: str, data: str | Path) -> Place:
    if _is_name(word):
        return Place(canonical(word), Path(data).expanduser())
    name, mark, path = word.partition("=")
    if mark and _is_name(name):
        if not path:
            raise UserError(f"{word} lacks the path behind '=': expected NAME=PATH.")
        return Place(canonical(name), Path(path).expanduser())
    own = Path(word).expanduser()
    if own.exists():
        return Place(OWN, own)
    if os.sep in word or word.startswith((".", "~")):
        raise DatasetError(f"{word} does not exist: give a folder of pictures, a CSV file, or a dataset's name.")
    known = unknown("dataset", word, NAMES)
    raise UserError(f"{known} Or give NAME=PATH, or a folder of your own pictures.")


def _is_name(word: str) -> bool:
    if not plain(word) or "=" in word or os.sep in word:  # which a comparison without punctuation passes over
        return False
    try:
        canonical(word)
    except UserError:
        return False
    return True


def canonical(name: str) -> str:
    """Return the name in NAMES that a user's spelling means; UserError where there is none."""
    for known, reader in READERS.items():
        if plain(name) in {plain(known), *map(plain, reader.spellings)}:
            return known
    raise unknown("dataset", name, NAMES)


def find(name: str, root: str | Path) -> Path:
    """Return the folder of a dataset at or below root; DatasetError where there is none, or more than one."""
    check_exists(name, root)
    if READERS[name].parts:
        return find_root(root, name, READERS[name].spellings, READERS[name].parts)
    return Path(root)


def check_exists(name: str, root: str | Path) -> None:
    """Raise DatasetError where root is no folder (for a user's own images also: no CSV file)."""
    root, parts = Path(root), READERS[name].parts
    if not (root.is_dir() or (root.exists() and not parts)):
        kind = "is a file, not a folder" if root.exists() else "does not exist"
        tree = draw(name, None, parts) if parts else folder.TREE
        raise DatasetError(f"{root} {kind}. Give the folder that holds {name}.\n{tree}")


def is_drawn(name: str) -> bool:
    """Whether there are several ways to draw a dataset's galleries."""
    return name in READERS and READERS[name].drawn is not None


def read(
    name: str,
    place: Path,
    problems: list[Problem],
    trial: int,
    seed: int,
    pattern: str = "",
    draws: str = "own",
) -> Dataset:
    """Read a dataset from its own folder, appending what is wrong to `problems`. pattern: of a user's own images."""
    if name == OWN:
        return folder.read(place, name, problems, pattern)
    if pattern:
        raise UserError(f"--camera-pattern {pattern!r} is for pictures of your own: {name} says itself who is where.")
    if draws not in DRAWS:
        raise unknown("way to draw a gallery", draws, DRAWS)
    reader = READERS[name]
    if draws == "own":
        return reader.read(place, problems, trial, seed)
    if not is_drawn(name):
        raise UserError(
            f"--draws {draws} is for datasets whose galleries are drawn (sysu, llcm): {name} has one gallery."
        )
    return reader.drawn(place, problems, seed, draws)
