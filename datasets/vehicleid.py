"""VehicleID: vehicles by their images alone, without cameras (Liu et al., CVPR 2016).

image/0012345.jpg are the images; train_test_split/{train_list,test_list_800,...}.txt hold lines "0012345 678": image
and vehicle. A test draws one image of each vehicle into the gallery; all others are queries. Ten draws are averaged.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from duoreid.core.data import Dataset, Search, Trial
from duoreid.core.random import rng
from duoreid.datasets.errors import DatasetError, Problem
from duoreid.datasets.files import Listing, labelled_lines
from duoreid.datasets.roots import Part, require
from duoreid.datasets.table import Table

SPELLINGS = ("VehicleID_V1.0", "VehicleID", "vehicleid")
SIZES = {"small": 800, "medium": 1600, "large": 2400}
PARTS = (
    Part("image/", "all images"),
    Part("train_test_split/train_list.txt", "training images and vehicles"),
    *(
        Part(f"train_test_split/test_list_{size}.txt", f"those of the {name} test", needed=name == "small")
        for name, size in SIZES.items()
    ),
)
TRIALS = 10
UNKNOWN = -1
"""No camera is recorded."""


def read(root: Path, name: str, problems: list[Problem], seed: int) -> Dataset:
    """Read VehicleID. seed: of the draws. DatasetError where a needed part is missing; others go to `problems`."""
    places = require(root, name, PARTS)
    train = Table()
    for file, vehicle in _list(places["train_test_split/train_list.txt"], root, places["image/"], problems):
        train.add(file, vehicle, UNKNOWN)
    test, searches, rows = Table(), [], {}
    for kind, size in SIZES.items():
        listed = places.get(f"train_test_split/test_list_{size}.txt")
        if listed is None:
            continue
        of_vehicle: dict[int, list[int]] = {}
        for file, vehicle in _list(listed, root, places["image/"], problems):
            if file not in rows:
                rows[file] = len(test)
                test.add(file, vehicle, UNKNOWN)
            of_vehicle.setdefault(vehicle, []).append(rows[file])
        trials = tuple(_draw(of_vehicle, kind, seed, trial) for trial in range(TRIALS))
        searches.append(Search(kind, trials, ignore="nothing", official=False))
    return Dataset(name, str(root), train.split(), test.split(), tuple(searches))


def _list(file: Path, root: Path, folder: Path, problems: list[Problem]) -> list[tuple[Path, int]]:
    """Return (image, vehicle) of each line whose image is there."""
    listing, pairs, missing = Listing(), [], []
    for place, vehicle, _ in labelled_lines(file, root, folder):
        image = place if place.suffix else place.with_name(f"{place.name}.jpg")
        if image in listing:
            pairs.append((image, vehicle))
        else:
            missing.append(str(image))
    if missing:
        text = f"{len(missing)} images that {file.name} lists are not in {folder.name}:"
        problems.append(Problem("missing", text, tuple(missing)))
    if not pairs:
        example = f", e.g. {missing[0]}" if missing else ""
        raise DatasetError(f"none of the images that {file} lists is there{example}. Unpack image/ beside the lists.")
    return pairs


def _draw(of_vehicle: dict[int, list[int]], kind: str, seed: int, trial: int) -> Trial:
    """Draw one image of each vehicle into the gallery; the others are queries."""
    generator = rng(seed, f"vehicleid {kind}", trial)
    gallery = [rows[generator.integers(len(rows))] for _, rows in sorted(of_vehicle.items())]
    drawn = set(gallery)
    query = [row for rows in of_vehicle.values() for row in rows if row not in drawn]
    return Trial(np.array(sorted(query), np.int64), np.array(gallery, np.int64))
