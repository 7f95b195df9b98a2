"""Pictures that a user hands over: files, arrays, PIL images; folders of any depth, CSV files and lists of files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from duoreid.core.serving.pictures import Listing, Picture
from duoreid.datasets.csv_index import csv_rows
from duoreid.datasets.decode import decode, resize
from duoreid.datasets.errors import DatasetError, Problem, raise_fatal
from duoreid.datasets.files import entries, is_folder, is_image

GROUPS = ("identity", "camera", "time")


class Files:
    """Reads pictures from the disk and from memory; see core/serving/pictures.py."""

    def pixels(self, source: Any, height: int, width: int, interpolation: str) -> np.ndarray:
        """Return a path's, an array's or a PIL image's picture, uint8 (height, width, 3)."""
        if isinstance(source, (str, os.PathLike)):
            return decode(Path(source), height, width, interpolation)
        if isinstance(source, Image.Image):
            return resize(source.convert("RGB"), height, width, interpolation)
        if not isinstance(source, np.ndarray):
            raise ValueError(f"a path, a uint8 array or a PIL image expected, got {type(source).__name__}")
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or not source.size:
            raise ValueError(
                f"an array must be uint8 (height, width, 3) in the order red, green, blue, but is {source.dtype} "
                f"{source.shape}. From floats of 0 to 1: (array * 255).round().astype('uint8'); from grey: "
                "np.repeat(array[..., None], 3, axis=2); from OpenCV: array[..., ::-1]"
            )
        return resize(Image.fromarray(np.ascontiguousarray(source)), height, width, interpolation)

    def listed(self, source: Any, pattern: str | None = None) -> Listing:
        """Return the images of a folder, a CSV file, one image file, or a sequence of these.

        A folder may be flat or nested; hidden folders are left out. A CSV file has the columns of the dataset `folder`
        (path, identity, camera, time, ...). pattern: a regular expression that is searched for in an image's path below
        the folder, with groups named identity, camera and time: r"(?P<camera>cam\\d+)/".
        Raises DatasetError for what is absent, holds no image, or does not fit the pattern.
        """
        compiled = _compiled(pattern)
        if isinstance(source, (str, os.PathLike)):
            return self._one(Path(source), compiled)
        if not isinstance(source, Iterable):
            raise DatasetError(f"a folder, a CSV file or a list of image files expected, got {type(source).__name__}.")
        parts = []
        for item in source:
            if not isinstance(item, (str, os.PathLike)):
                raise DatasetError(
                    f"image files expected, since a gallery remembers which file a feature is of, but "
                    f"{type(item).__name__} came: save the image first."
                )
            parts.append(self._one(Path(item), compiled))
        pictures = tuple(picture for part in parts for picture in part.pictures)
        folders = tuple(folder for part in parts for folder in part.folders)
        return Listing(pictures, folders, sum(part.ignored for part in parts))

    def moment(self, text: str | float) -> float:
        """Return seconds since 1970 of a time as people write it; see the function of that name."""
        return moment(text)

    def _one(self, place: Path, pattern: re.Pattern[str] | None) -> Listing:
        place = Path(os.path.abspath(place))
        if place.is_dir():
            return _folder(place, pattern)
        if place.suffix.lower() == ".csv":
            return Listing(tuple(_csv(place)))
        return Listing((_named(place, place.name, pattern),))  # a file that is absent is named when it is read


FILES = Files()
"""The reader that `duoreid.load` gives to every model."""


def _folder(root: Path, pattern: re.Pattern[str] | None) -> Listing:
    pictures, ignored = [], 0
    for file in _walk(root, set()):
        if is_image(file.name):
            pictures.append(_named(file, file.relative_to(root).as_posix(), pattern))
        else:
            ignored += 1
    if not pictures:
        raise DatasetError(f"{root} holds no image: give a folder with .jpg, .png or other images in it or below it.")
    return Listing(tuple(pictures), (str(root),), ignored)


def _walk(folder: Path, above: set[str]) -> Iterator[Path]:
    """Yield the files of a folder and those below it, in order; a link that leads back to a parent ends there."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in entries(folder):
        if entry.name.startswith("."):
            continue
        if is_folder(entry):
            yield from _walk(Path(entry.path), above | {real})
        else:
            yield Path(entry.path)


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise DatasetError(f"the pattern {pattern!r} is no regular expression: {error}.") from error
    wrong = set(found.groupindex) - set(GROUPS)
    if wrong or not found.groupindex:
        raise DatasetError(
            f"the pattern {pattern!r} must name groups among {', '.join(GROUPS)}, such as (?P<camera>c\\d+), but names "
            f"{', '.join(sorted(wrong)) or 'none'}."
        )
    return found


def _named(file: Path, relative: str, pattern: re.Pattern[str] | None) -> Picture:
    if pattern is None:
        return Picture(str(file))
    match = pattern.search(relative)
    if match is None:
        raise DatasetError(f"{relative} does not fit the pattern {pattern.pattern!r}: change the pattern, or leave it.")
    found = match.groupdict()
    time = found.get("time")
    return Picture(str(file), found.get("identity"), found.get("camera"), None if time is None else moment(time))


def _csv(index: Path) -> Iterator[Picture]:
    problems: list[Problem] = []
    rows = list(csv_rows(index, problems))
    raise_fatal(problems, str(index))
    for row in rows:
        time = None if not row.time else moment(row.time)
        yield Picture(os.path.abspath(row.file), row.identity, row.camera, time)


def moment(text: str | float) -> float:
    """Return seconds since 1970 of a number of seconds, or of a date and time in ISO 8601 (without a zone: UTC).

    >>> moment("1970-01-02"), moment("1970-01-01T00:01:00+00:00"), moment("12.5")
    (86400.0, 60.0, 12.5)
    """
    try:
        return float(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(str(text).strip().replace("Z", "+00:00"))
    except ValueError as error:
        raise DatasetError(
            f"{text!r} is no time: give seconds since 1970, or ISO 8601, such as 2024-05-31T18:00:00."
        ) from error
    return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()
