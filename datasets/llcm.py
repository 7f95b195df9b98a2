"""LLCM: people in low light by nine cameras, visible and (all but camera 3) near-infrared (Zhang, Wang, CVPR 2023).

idx/train_{vis,nir}.txt hold lines "vis/0001/0001_c01_s185535_f7010_vis.jpg 0": path and label. idx/test_id.txt names
the test people, whose images lie in test_{vis,nir}/cam1/0001/. A test asks all images of one modality; the gallery is
one drawn image of each person and camera of the other. Ten draws are averaged. A query does not see its own person by
its own camera, and CMC counts each person once, as in the public code of the dataset's authors.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np

from duoreid.core.data import INFRARED, VISIBLE, Dataset, Search, Split, Trial
from duoreid.core.random import rng
from duoreid.datasets.errors import DatasetError, Problem
from duoreid.datasets.files import DIGITS, Listing, images, labelled_lines, read_lines
from duoreid.datasets.roots import Part, require
from duoreid.datasets.table import Table

SPELLINGS = ("LLCM", "llcm")
MODALITIES = {"vis": VISIBLE, "nir": INFRARED}
CAMERAS = range(1, 10)
PARTS = (
    *(Part(f"idx/train_{kind}.txt", f"training list, {kind}") for kind in MODALITIES),
    Part("idx/test_id.txt", "test identities"),
    *(Part(f"{kind}/", f"training images, {kind}, a folder for each person") for kind in MODALITIES),
    *(Part(f"test_{kind}/", f"test images, {kind}, cam1/0001/ and so on") for kind in MODALITIES),
)
NAME = re.compile(r"\d+_c(\d+)_")
TRIALS = 10


def read(root: Path, name: str, problems: list[Problem], seed: int, draws: str = "own") -> Dataset:
    """Read LLCM. seed: of the draws; draws: "own", or "field" for those of Python's random, seeded by the trial.

    DatasetError where a part is missing; others go to `problems`.
    """
    places = require(root, name, PARTS)
    train, test = Table(), Table()
    for kind, modality in MODALITIES.items():
        _train(places[f"idx/train_{kind}.txt"], root, modality, train, problems)
    people = _identities(places["idx/test_id.txt"])
    for kind, modality in MODALITIES.items():
        before = len(test)
        for person in people:
            for camera in CAMERAS:
                folder = places[f"test_{kind}/"] / f"cam{camera}" / f"{person:04d}"
                for file in images(folder, problems) if folder.is_dir() else ():
                    test.add(file, person, camera, modality)
        if len(test) == before:
            raise DatasetError(f"{places[f'test_{kind}/']} holds no image of the identities in idx/test_id.txt.")
    split = test.split()
    searches = (
        _search("visible to infrared", split, VISIBLE, INFRARED, seed, draws),
        _search("infrared to visible", split, INFRARED, VISIBLE, seed, draws),
    )
    return Dataset(name, str(root), train.split(), split, searches)


def _train(file: Path, root: Path, modality: int, table: Table, problems: list[Problem]) -> None:
    listing, missing, unparsed = Listing(), [], []
    for image, label, written in labelled_lines(file, root, root):
        match = NAME.match(image.name)
        if match is None:
            unparsed.append(f"{file.name}: {written}")
        elif image not in listing:
            missing.append(str(image))
        else:
            table.add(image, label, int(match[1]), modality)
    if unparsed:
        text = f"names in {file.name} that do not parse, expected names like 0001_c01_s185535_f7010_vis.jpg:"
        problems.append(Problem("names", text, tuple(unparsed)))
    if missing:
        problems.append(
            Problem("missing", f"{len(missing)} images that {file.name} lists are missing:", tuple(missing))
        )


def _identities(file: Path) -> list[int]:
    words = [word for line in read_lines(file) for word in re.split(r"[,\s]+", line) if word]
    wrong = [word for word in words if not word.isdecimal() or len(word) > DIGITS]
    if wrong or not words:
        fault = f"{wrong[0]!r} in it" if wrong else "an empty file"
        raise DatasetError(f"{file}: expected identities separated by commas, e.g. 1,2,4, found {fault}.")
    return sorted(set(map(int, words)))


def _search(name: str, test: Split, asked: int, held: int, seed: int, draws: str) -> Search:
    """Return one direction: all images of one modality, one of each person and camera of the other."""
    query = np.flatnonzero(test.modalities == asked).astype(np.int64)
    places: dict[tuple[int, int], list[int]] = {}
    for row in np.flatnonzero(test.modalities == held).tolist():
        places.setdefault((int(test.identities[row]), int(test.cameras[row])), []).append(row)
    trials = []
    for trial in range(TRIALS):
        if draws == "field":
            generator = random.Random(trial)
            gallery = [generator.choice(rows) for _, rows in sorted(places.items())]
        else:
            ours = rng(seed, f"llcm {name}", trial)
            gallery = [rows[ours.integers(len(rows))] for _, rows in sorted(places.items())]
        trials.append(Trial(query, np.array(gallery, np.int64)))
    return Search(name, tuple(trials), distinct_identities=True, official=False)
