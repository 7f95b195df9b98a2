"""RegDB: one visible and one thermal camera, 412 people, ten trials.

idx/{train,test}_{visible,thermal}_{1..10}.txt hold lines "Visible/1/male_front_v_00001_1.bmp 0": path and label. Each
file numbers its people from 0, so only the path tells who a person is across files. A model trained on trial t is
tested on trial t.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from duoreid.core.data import INFRARED, VISIBLE, Dataset, Search, Trial
from duoreid.datasets.errors import DatasetError, Problem
from duoreid.datasets.files import Listing, labelled_lines
from duoreid.datasets.roots import Part, require
from duoreid.datasets.table import Table

SPELLINGS = ("RegDB", "regdb")
TRIALS = range(1, 11)
MODALITIES = {"visible": VISIBLE, "thermal": INFRARED}
CAMERAS = {VISIBLE: 1, INFRARED: 2}


def parts(trial: int) -> tuple[Part, ...]:
    """Return what one trial needs."""
    return (
        Part("Visible/", "visible images, a folder for each person"),
        Part("Thermal/", "thermal images, a folder for each person"),
        *(
            Part(f"idx/{half}_{modality}_{trial}.txt", f"{half} list, {modality}, trial {trial}")
            for half in ("train", "test")
            for modality in MODALITIES
        ),
    )


PARTS = (
    Part("idx/", "lists {train,test}_{visible,thermal}_{1..10}.txt"),
    *parts(1)[:2],
)


def read(root: Path, name: str, problems: list[Problem], trial: int) -> Dataset:
    """Read one trial, 1 to 10. DatasetError for another trial or a missing part; others go to `problems`."""
    if trial not in TRIALS:
        raise DatasetError(f"trial {trial} of {name}: expected 1 to 10, the splits that RegDB is published with.")
    places = require(root, name, parts(trial))
    halves = {"train": Table(), "test": Table()}
    people: dict[str, dict[str, int]] = {}
    for half, table in halves.items():
        for modality in MODALITIES:
            people[f"{half} {modality}"] = _list(places, root, half, modality, trial, table, problems)
    for half in halves:
        visible, thermal = people[f"{half} visible"].items(), people[f"{half} thermal"].items()
        unlike = {person for person, _ in visible ^ thermal}
        if unlike:
            text = f"folders that the visible and thermal {half} lists of trial {trial} do not give the same label:"
            problems.append(Problem("identities", text, tuple(sorted(unlike)), fatal=False))
    train, tested = ({**people[f"{half} visible"], **people[f"{half} thermal"]}.keys() for half in halves)
    shared = train & tested
    if shared:
        text = f"people in both the training and the test lists of trial {trial}, whom a model would know:"
        problems.append(Problem("shared identities", text, tuple(sorted(shared))))
    test = halves["test"].split()
    visible, thermal = (np.flatnonzero(test.modalities == m).astype(np.int64) for m in (VISIBLE, INFRARED))
    searches = (
        Search("visible to thermal", (Trial(visible, thermal),), ignore="nothing"),
        Search("thermal to visible", (Trial(thermal, visible),), ignore="nothing"),
    )
    return Dataset(name, str(root), halves["train"].split(), test, searches, trial)


def _list(
    places: dict[str, Path], root: Path, half: str, modality: str, trial: int, table: Table, problems: list[Problem]
) -> dict[str, int]:
    """Append the images of one list to a table and return whom it shows: name of their folder -> label."""
    file = places[f"idx/{half}_{modality}_{trial}.txt"]
    listing, missing, people = Listing(), [], {}
    for image, label, _ in labelled_lines(file, root, root):
        if image in listing:
            table.add(image, label, CAMERAS[MODALITIES[modality]], MODALITIES[modality])
            people[image.parent.name] = label
        else:
            missing.append(str(image))
    if missing:
        text = f"{len(missing)} images that idx/{file.name} lists are missing:"
        problems.append(Problem("missing", text, tuple(missing)))
    if not people:
        example = f", e.g. {missing[0]}" if missing else ""
        raise DatasetError(
            f"none of the {len(missing)} images that {file} lists is there{example}. Unpack the images beside idx/."
        )
    return people
