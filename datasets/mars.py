"""MARS: people in tracklets, the images that a tracker linked in one camera (Zheng et al., ECCV 2016).

bbox_train/0001/0001C1T0001F001.jpg is person 1, camera 1, tracklet 1, frame 1. info/train_name.txt lists the images in
order. A row of info/tracks_train_info.mat is a tracklet: the first and the last of its lines (from 1), person, camera.
The same for the test. info/query_IDX.mat says which test tracklets ask, from 1. Person -1 (folder 00-1) is junk and is
left out; 0 is a distractor. As in the authors' evaluation, all test tracklets are in the gallery, also those that ask.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from duoreid.core.data import Dataset, Search, Split, Trial
from duoreid.core.tracklets import firsts
from duoreid.datasets.errors import DatasetError, Problem
from duoreid.datasets.files import Listing, read_lines
from duoreid.datasets.roots import Part, require
from duoreid.datasets.sysu_draws import load_mat

SPELLINGS = ("MARS", "mars")
PARTS = (
    Part("bbox_train/", "training images, a folder for each person"),
    Part("bbox_test/", "test images"),
    Part("info/train_name.txt", "the training images in order", ("train_name.txt",)),
    Part("info/test_name.txt", "the test images in order", ("test_name.txt",)),
    Part("info/tracks_train_info.mat", "training tracklets", ("tracks_train_info.mat",)),
    Part("info/tracks_test_info.mat", "test tracklets", ("tracks_test_info.mat",)),
    Part("info/query_IDX.mat", "which test tracklets ask", ("query_IDX.mat",)),
)
NAME = re.compile(r"(00-1|\d{4})C(\d)T\d+F\d+\.jpg")
EXAMPLE = "0001C1T0001F001.jpg"
JUNK = -1
REMARK = "Tracklets search for tracklets: each has the mean feature of its images."


def read(root: Path, name: str, problems: list[Problem]) -> Dataset:
    """Read MARS. DatasetError where a part is missing or contradicts another; what else is wrong goes to `problems`."""
    places = require(root, name, PARTS)
    train, _ = _half("train", places, problems)
    frames, rows = _half("test", places, problems)
    first = firsts(frames.tracklets)
    test = Split(
        tuple(frames.files[row] for row in first),
        frames.identities[first],
        frames.cameras[first],
        frames.modalities[first],
    )
    query = _query(places["info/query_IDX.mat"], rows)
    search = Search("test", (Trial(query, np.arange(len(test), dtype=np.int64)),), remark=REMARK)
    return Dataset(name, str(root), train, test, (search,), frames=frames)


def _half(half: str, places: dict[str, Path], problems: list[Problem]) -> tuple[Split, np.ndarray]:
    """Return the images of a half by tracklets, and which number each listed tracklet has got, -1 for junk."""
    listed, file = places[f"info/{half}_name.txt"], places[f"info/tracks_{half}_info.mat"]
    names = read_lines(listed)
    people, cameras = _parsed(names, listed)
    tracks = _tracks(file, f"track_{half}_info", len(names))
    kept = tracks[tracks[:, 2] != JUNK]
    if len(kept) < len(tracks):
        text = f"junk (identity -1) left out: {len(tracks) - len(kept)} of {len(tracks)} {half} tracklets"
        problems.append(Problem("junk", text, (), False))
    if not len(kept):
        raise DatasetError(f"{file} lists no tracklet but junk. Fetch it again.")
    rows, tracklets = _images(kept)
    _compare(names, (people, cameras), kept, rows, tracklets, file, problems)
    folder = places[f"bbox_{half}/"]
    files = [folder / names[row][:4] / names[row] for row in rows]
    listing = Listing()
    missing = tuple(str(image) for image in files if image not in listing)
    if missing:
        text = f"{len(missing)} images that {listed.name} lists are not in {folder.name}; unpack the archive again:"
        problems.append(Problem("missing", text, missing))
    split = Split(
        tuple(str(image.absolute()) for image in files),
        kept[tracklets, 2].astype(np.int32),
        kept[tracklets, 3].astype(np.int32),
        np.zeros(len(rows), np.uint8),
        tracklets=tracklets,
    )
    numbers = np.where(tracks[:, 2] != JUNK, np.cumsum(tracks[:, 2] != JUNK) - 1, -1)
    return split, numbers


def _parsed(names: list[str], file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the people and the cameras of the names of images."""
    matches = [NAME.fullmatch(name) for name in names]
    other = [name for name, match in zip(names, matches, strict=True) if match is None]
    if other or not names:
        came = f"{len(other)} of {len(names)} lines are others, such as {other[0][:80]!r}" if other else "it is empty"
        raise DatasetError(f"{file}: expected names like {EXAMPLE}, but {came}. Fetch it again.")
    people = [JUNK if match[1] == "00-1" else int(match[1]) for match in matches if match]
    return np.array(people), np.array([int(match[2]) for match in matches if match])


def _tracks(file: Path, name: str, images: int) -> np.ndarray:
    """Return the tracklets, int64 (T, 4): first and last line, from 1; person; camera."""
    matrix = load_mat(file, name)
    whole = matrix.dtype.kind in "iuf" and bool((matrix == np.floor(matrix)).all()) if matrix.dtype != object else False
    if matrix.ndim != 2 or matrix.shape[1] != 4 or not len(matrix) or not whole:
        raise DatasetError(
            f"{file}: expected whole numbers, a row of four for each tracklet (first line, last line, person, camera), "
            f"but {name} is {matrix.dtype} {matrix.shape}. Fetch it again."
        )
    tracks = matrix.astype(np.int64)
    wrong = np.flatnonzero((tracks[:, 0] < 1) | (tracks[:, 1] < tracks[:, 0]) | (tracks[:, 1] > images))
    if len(wrong):
        first, last = tracks[wrong[0], :2]
        raise DatasetError(
            f"{file}: tracklet {wrong[0] + 1} goes from line {first} to {last}, but the names have the lines 1 to "
            f"{images}. Are the lists of another copy? Fetch both again."
        )
    return tracks


def _images(tracks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lines of all images of tracklets, from 0, and the tracklet of each, int32."""
    lengths = tracks[:, 1] - tracks[:, 0] + 1
    tracklets = np.repeat(np.arange(len(tracks)), lengths)
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return tracks[tracklets, 0] - 1 + within, tracklets.astype(np.int32)


def _compare(
    names: list[str],
    parsed: tuple[np.ndarray, np.ndarray],
    tracks: np.ndarray,
    rows: np.ndarray,
    tracklets: np.ndarray,
    file: Path,
    problems: list[Problem],
) -> None:
    """Note the images whose names say another person or camera than their tracklet does."""
    for what, said, column in (("person", parsed[0], 2), ("camera", parsed[1], 3)):
        other = np.flatnonzero(said[rows] != tracks[tracklets, column])
        if len(other):
            text = f"{len(other)} images whose name says another {what} than {file.name}, which holds:"
            problems.append(Problem("names", text, tuple(names[rows[index]] for index in other), fatal=False))


def _query(file: Path, rows: np.ndarray) -> np.ndarray:
    """Return the rows of the test that ask. rows: of each listed tracklet, -1 for junk."""
    numbers = load_mat(file, "query_IDX").ravel()
    if numbers.dtype.kind not in "iuf" or not len(numbers) or not np.isin(numbers, np.arange(1, len(rows) + 1)).all():
        raise DatasetError(
            f"{file}: expected numbers of test tracklets, 1 to {len(rows)}, but not all of its {len(numbers)} values "
            "are such. Is it of another copy than tracks_test_info.mat? Fetch both again."
        )
    query = rows[numbers.astype(np.int64) - 1].astype(np.int64)
    if (query < 0).any():
        raise DatasetError(f"{file}: {int((query < 0).sum())} of the tracklets that ask are junk. Fetch it again.")
    return query
