"""Any pictures that somebody gives: a folder, a CSV file, files, or a list of these. What is there, and what is not."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from duoreid.datasets.csv_index import Row, known
from duoreid.datasets.decode import open_rgb
from duoreid.datasets.errors import DatasetError, Problem, raise_fatal
from duoreid.datasets.folder import read_rows
from duoreid.datasets.naming import Naming
from duoreid.datasets.walking import summary

REFUSED = ("missing", "names")
"""Findings that are no remark: images that a list names and that are not there, a pattern that fits no name."""

LAYOUT = "layout"
"""A remark that a heap of pictures is taken for training images, which only matters to training."""

Given = str | os.PathLike[str]


@dataclass(frozen=True)
class Pictures:
    """N pictures in order, and what is known of each. Nothing is opened before it is asked for.

    files: absolute paths. identities, cameras, times: as folders, names and columns tell them; None where unknown.
    splits: "train" where nothing else is said. left_out: by reason, the files below what was given that are not used.
    remarks: what else is worth knowing, such as names that a pattern does not fit.
    """

    files: tuple[str, ...]
    identities: tuple[str | None, ...]
    cameras: tuple[str | None, ...]
    times: tuple[str | None, ...]
    splits: tuple[str, ...]
    left_out: dict[str, tuple[str, ...]]
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def open(self, row: int) -> Image.Image:
        """Return one picture, upright, RGB, as large as it is; ImageError where it cannot be decoded."""
        return open_rgb(self.files[row])

    def told(self) -> str:
        """Return in one line what is left out and why; "" where nothing is."""
        return summary(self.left_out)


def list_pictures(given: Given | Iterable[Given], *, pattern: str = "") -> Pictures:
    r"""List the pictures of a folder (at any depth), a CSV file, a file, or several of these.

    A folder and a CSV file are read as the dataset `folder` reads them (datasets/folder.py). A file that is given by
    itself is taken whatever its suffix. pattern: a regular expression with some of the named groups identity, camera
    and time, searched for in each path, e.g. r"(?P<identity>\d+)_c(?P<camera>\d+)". A picture that is met twice is
    listed once. DatasetError (a ValueError) where nothing is there, and for a CSV file whose images are missing.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("a_c1.png", "b_c2.png"):
    ...     Image.new("RGB", (2, 4)).save(folder / name)
    >>> _ = (folder / "c_c2.heic").write_bytes(b"")
    >>> pictures = list_pictures(folder, pattern=r"(?P<identity>\w)_c(?P<camera>\d)")
    >>> pictures.identities, pictures.cameras, pictures.open(0).size
    (('a', 'b'), ('1', '2'), (2, 4))
    >>> pictures.told()
    'left out: 1 of a format that is not read (e.g. c_c2.heic)'
    """
    items = [given] if isinstance(given, (str, os.PathLike)) else list(given)
    rows: dict[str, Row] = {}
    problems: list[Problem] = []
    for item in items:
        for row in _rows(Path(item).expanduser(), problems, pattern):
            rows.setdefault(str(row.file.absolute()), row)
    raise_fatal([one for one in problems if one.check in REFUSED], ", ".join(map(str, items[:3])))
    if not rows:
        where = ", ".join(map(str, items[:3])) or "the empty list"
        raise DatasetError(
            f"{where} holds no image: give a folder with .jpg, .png or other images in it or below it, or image files."
        )
    left_out: dict[str, tuple[str, ...]] = {}
    for problem in problems:
        if problem.reason:
            left_out[problem.reason] = left_out.get(problem.reason, ()) + problem.examples
    unique = list(rows.values())
    columns = (tuple(getattr(row, name) for row in unique) for name in ("identity", "camera", "time", "split"))
    others = [one for one in problems if not one.reason and one.check != LAYOUT]
    remarks = tuple(f"{one.text} {', '.join(one.examples[:3])}".strip() for one in others)
    return Pictures(tuple(rows), *columns, left_out, remarks)


def _rows(place: Path, problems: list[Problem], pattern: str) -> list[Row]:
    if not place.exists():
        raise DatasetError(f"{place} does not exist: give a folder of pictures, a CSV file or a picture.")
    if place.is_dir() or place.suffix.lower() == ".csv":
        return read_rows(place, problems, pattern)
    told = Naming(pattern).told(place.name)
    return [Row(place, known(told.identity), known(told.camera), "train", time=told.time)]
