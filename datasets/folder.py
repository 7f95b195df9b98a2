"""A user's own images: a tree of folders or a CSV file.

Tree: ROOT/{train,query,gallery}/IDENTITY/CAMERA/image.jpg; the CAMERA folders may be left out. ROOT/unlabelled/ (or
images directly in ROOT or ROOT/train/) holds training images of unknown people, with or without CAMERA folders.
CSV: a header `path,identity,camera,split,modality`, of which only path is needed. Paths start from the CSV's
folder. An empty identity is unknown; split is train (the default), query or gallery; modality is visible
(the default) or infrared. Folder names and CSV fields may be any text. What has no labelled query is not tested.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duoreid.core.data import VISIBLE, Dataset, Search, Split, Trial
from duoreid.datasets.csv_index import Row, csv_rows
from duoreid.datasets.errors import DatasetError, Problem, listed
from duoreid.datasets.files import DIGITS, images, subfolders

SPLITS = ("train", "query", "gallery")
UNLABELLED = ("unlabelled", "unlabeled")
NO_CAMERA = -1
TREE = """expected one of:
  ROOT/{train,query,gallery}/IDENTITY/CAMERA/image.jpg   (CAMERA/ may be left out)
  ROOT/unlabelled/image.jpg                              training images of unknown people
  ROOT/NAME.csv                                          with a header path,identity,camera,split,modality"""


@dataclass(frozen=True)
class Place:
    """A folder of images in a tree: identity and camera are names of folders, or None."""

    folder: Path
    split: str
    identity: str | None
    camera: str | None


def read(root: Path, name: str, problems: list[Problem]) -> Dataset:
    """Read a tree, or a CSV file: root itself or the only one in it.

    DatasetError where neither is there, or a part is; other problems are appended to `problems`.
    """
    index = _csv_file(root)
    rows = list(csv_rows(index, problems) if index else _tree_rows(root, problems))
    if not rows:
        raise DatasetError(f"{root} holds no image that can be read as a dataset; {TREE}")
    halves = Counter(row.split for row in rows)
    if bool(halves["query"]) != bool(halves["gallery"]):
        have, lack = ("query", "gallery") if halves["query"] else ("gallery", "query")
        raise DatasetError(
            f"{root} has {have} images but no {lack} images: a test needs both. Add the {lack}, or leave both out "
            "to train without a test."
        )
    rows.sort(key=lambda row: (SPLITS.index(row.split),))  # stable: the order within a split is kept
    identities = _numbers([row.identity for row in rows])
    cameras = _numbers([row.camera for row in rows])
    train, test = (
        _split(rows, identities, cameras, chosen)
        for chosen in ([r.split == "train" for r in rows], [r.split != "train" for r in rows])
    )
    _check_repeats(rows, problems)
    return Dataset(name, str(root), train, test, _searches(test, halves["query"], problems))


def _csv_file(root: Path) -> Path | None:
    if root.is_file():
        return root
    found = sorted(file for file in root.glob("*.csv") if file.is_file() and not file.name.startswith("."))
    if len(found) > 1:
        raise DatasetError(f"{root} holds several CSV files; give the one that is meant:{listed(found)}")
    return found[0] if found else None


def _tree_rows(root: Path, problems: list[Problem]) -> Iterator[Row]:
    for place in _places(root):
        for file in images(place.folder, problems, nested=place.camera is None):
            yield Row(file, place.identity, place.camera, place.split, VISIBLE)


def _places(root: Path) -> Iterator[Place]:
    """Yield the folders that may hold images, at fixed depths, so that a link to a parent cannot lead round."""
    inner = {folder.name.lower(): folder for folder in subfolders(root)}
    if not inner.keys() & {*SPLITS, *UNLABELLED}:
        if inner:
            hint = ", ".join(sorted(inner)[:5])
            raise DatasetError(f"{root} holds folders ({hint}) of which none is train, query or gallery; {TREE}")
        yield Place(root, "train", None, None)
        return
    for split in SPLITS:
        if split not in inner:
            continue
        if split == "train":
            yield Place(inner[split], split, None, None)
        for person in subfolders(inner[split]):
            yield Place(person, split, person.name, None)
            for camera in subfolders(person):
                yield Place(camera, split, person.name, camera.name)
    for name in UNLABELLED:
        if name in inner:
            yield Place(inner[name], "train", None, None)
            for camera in subfolders(inner[name]):
                yield Place(camera, "train", None, camera.name)


def _numbers(names: list[str | None]) -> np.ndarray:
    """Return int32 numbers of names, -1 for None: their own where all are whole numbers, else by their order."""
    distinct = sorted({name for name in names if name is not None})
    own = {name: int(name) for name in distinct if name.isdecimal() and len(name) <= DIGITS}
    natural = len(own) == len(distinct) == len(set(own.values())) and max(own.values(), default=0) < 2**31
    numbers = own if natural else {name: index for index, name in enumerate(distinct)}
    return np.array([-1 if name is None else numbers[name] for name in names], np.int32)


def _split(rows: list[Row], identities: np.ndarray, cameras: np.ndarray, chosen: list[bool]) -> Split:
    where = np.flatnonzero(chosen)
    return Split(
        tuple(str(rows[i].file.absolute()) for i in where),
        identities[where],
        cameras[where],
        np.array([rows[i].modality for i in where], np.uint8),
    )


def _searches(test: Split, queries: int, problems: list[Problem]) -> tuple[Search, ...]:
    """Return the one search, of the queries whose identity is known; none where there are no such queries."""
    query = np.flatnonzero(test.identities[:queries] >= 0).astype(np.int64)
    if not len(query):
        return ()
    if len(query) < queries:
        text = f"{queries - len(query)} of {queries} queries have no identity and are not asked"
        problems.append(Problem("identities", text, (), fatal=False))
    unknown = test.cameras == NO_CAMERA
    if unknown.any() and not unknown.all():
        text = (
            f"{int(unknown.sum())} of {len(test)} query and gallery images have no camera: give one to all of "
            "them, or to none (then no gallery image is ignored), as a match by the query's own camera is not counted:"
        )
        problems.append(Problem("cameras", text, tuple(np.array(test.files)[unknown])))
    gallery = np.arange(queries, len(test), dtype=np.int64)
    return (Search("test", (Trial(query, gallery),), "nothing" if unknown.all() else "same-camera"),)


def _check_repeats(rows: list[Row], problems: list[Problem]) -> None:
    """Report files that occur twice where that would falsify a test or count an image double."""
    seen: dict[Path, list[Row]] = {}
    for row in rows:
        seen.setdefault(row.file, []).append(row)
    repeats = {file: found for file, found in seen.items() if len(found) > 1}
    twice = [f for f, found in repeats.items() if len({r.split for r in found}) < len(found)]
    both = [f for f, found in repeats.items() if {"train"} < {r.split for r in found}]
    itself = [
        f
        for f, found in repeats.items()
        if {"query", "gallery"} <= {r.split for r in found} and found[0].camera is None
    ]
    for found, text in (
        (twice, "images listed twice in one split:"),
        (both, "images listed for both training and test:"),
        (itself, "images without a camera listed as query and gallery, so that each would find itself:"),
    ):
        if found:
            problems.append(Problem("repeats", text, tuple(map(str, found))))
