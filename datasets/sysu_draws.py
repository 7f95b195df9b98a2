"""Which gallery images of SYSU-MM01 each trial draws: the official permutations, seeded ones, or the field's.

The field's ("field"): public codes of visible-infrared work (AGW: Ye et al., TPAMI 2021, and those that build on it)
draw one image of each person and camera by Python's `random`, seeded by the number of the trial, 0 to 9.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from duoreid.core.checkpoints.formats import mat
from duoreid.core.data import Search, Split, Trial
from duoreid.core.random import rng
from duoreid.datasets.errors import DatasetError, Problem

VISIBLE_CAMERAS, INFRARED_CAMERAS = (1, 2, 4, 5), (3, 6)
GALLERY = {"all": VISIBLE_CAMERAS, "indoor": (1, 2)}
SHOTS = {"single-shot": 1, "10-shot": 10}
TRIALS = 10
DRAWS = ("own", "field")
"""How galleries are drawn. own: by the official permutations where they lie there, else from the seed."""

Order = dict[tuple[int, int], list[np.ndarray]]
"""(camera, identity) -> for each trial the rows of all their images, in the order in which they are drawn."""


def searches(
    test: Split, official: Path | None, seed: int, draws: str = "own", problems: list[Problem] | None = None
) -> tuple[Search, ...]:
    """Return "all, single-shot", "all, 10-shot", "indoor, single-shot" and "indoor, 10-shot", ten trials each.

    draws: of DRAWS; with "field" there are the single-shot searches alone. problems: where remarks are put.

    test: the infrared queries and all visible images. official: rand_perm_cam.mat, or None for draws from the seed.
    A draw takes the first images of one permutation per camera and identity, so single-shot is part of 10-shot.
    """
    rows = _rows_by_place(test)
    query = np.flatnonzero(np.isin(test.cameras, INFRARED_CAMERAS)).astype(np.int64)
    if draws == "field":
        return tuple(
            Search(
                f"{mode}, single-shot",
                tuple(Trial(query, _field(rows, cameras, trial)) for trial in range(TRIALS)),
                ignore="same-place",
                distinct_identities=True,
                official=False,
            )
            for mode, cameras in GALLERY.items()
        )
    order = _seeded(rows, seed) if official is None else _official(rows, test, official, problems)

    def draw(cameras: tuple[int, ...], shots: int, trial: int) -> Trial:
        chosen = [order[place][trial][:shots] for place in sorted(order) if place[0] in cameras]
        return Trial(query, np.concatenate(chosen).astype(np.int64))

    return tuple(
        Search(
            f"{mode}, {shot}",
            tuple(draw(cameras, shots, trial) for trial in range(TRIALS)),
            ignore="same-place",
            distinct_identities=True,
            official=official is not None,
        )
        for mode, cameras in GALLERY.items()
        for shot, shots in SHOTS.items()
    )


def load_mat(file: Path, name: str) -> np.ndarray:
    """Return one variable of a MATLAB file; DatasetError where it cannot be read or has no such variable."""
    try:
        return mat.read(file, (name,))[name]
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(
            f"{file}: expected a MATLAB file (version 5 or 7) with the variable {name!r}: {error}. Fetch it again."
        ) from error


def _rows_by_place(test: Split) -> dict[tuple[int, int], np.ndarray]:
    """(camera, identity) of each visible image -> its rows."""
    by_place: dict[tuple[int, int], list[int]] = {}
    for row, place in enumerate(zip(test.cameras.tolist(), test.identities.tolist(), strict=True)):
        if place[0] in VISIBLE_CAMERAS:
            by_place.setdefault(place, []).append(row)
    return {place: np.array(rows) for place, rows in by_place.items()}


def _seeded(rows: dict[tuple[int, int], np.ndarray], seed: int) -> Order:
    order: Order = {place: [] for place in rows}
    for trial in range(TRIALS):
        generator = rng(seed, "sysu gallery", trial)
        for place in sorted(rows):
            order[place].append(generator.permutation(rows[place]))
    return order


def _field(rows: dict[tuple[int, int], np.ndarray], cameras: tuple[int, ...], trial: int) -> np.ndarray:
    """Return the rows that the field's codes draw: person by person, camera by camera, one file of the sorted ones."""
    generator = random.Random(trial)
    places = sorted((identity, camera) for camera, identity in rows if camera in cameras)
    return np.array([generator.choice(rows[camera, identity].tolist()) for identity, camera in places], np.int64)


def _official(
    rows: dict[tuple[int, int], np.ndarray], test: Split, file: Path, problems: list[Problem] | None
) -> Order:
    """rand_perm_cam{camera}{identity} is a matrix of (trials, images): places of images among the sorted ones, from 1.

    So the official code reads it. Where no name is left out of 0001, 0002, ..., a place is the number in the name.
    """
    cameras = load_mat(file, "rand_perm_cam").ravel()
    order: Order = {}
    gaps: list[str] = []
    for (camera, identity), own in rows.items():
        names = [int(Path(test.files[row]).stem) for row in own]
        if names != list(range(1, len(own) + 1)):
            gaps.append(f"cam{camera}/{identity:04d}: {len(own)} images, the last is {names[-1]:04d}")
        try:
            numbers = np.atleast_2d(cameras[camera - 1].ravel()[identity - 1]).astype(np.int64)
            if sorted(numbers[0].tolist()) != list(range(1, len(own) + 1)):
                raise IndexError(f"it permutes {numbers.shape[1]} images")
            order[camera, identity] = [own[numbers[trial] - 1] for trial in range(TRIALS)]
        except (IndexError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise DatasetError(
                f"{file} does not fit the images of identity {identity} in cam{camera} ({len(own)} images): "
                f"{type(error).__name__} {error}. It must come from the dataset's own evaluation code; without this "
                "file the draws are made from a seed."
            ) from error
    if gaps and problems is not None:
        text = f"{len(gaps)} folders whose numbers have gaps; their images are matched to the official draws in order:"
        problems.append(Problem("draws", text, tuple(gaps), fatal=False))
    return order
