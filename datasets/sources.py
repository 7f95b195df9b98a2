"""Pictures that a user hands over: files, arrays, PIL images; folders of any depth, CSV files and lists of files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from duoreid.core.serving.pictures import Listing, Picture
from duoreid.datasets.decode import decode, resize
from duoreid.datasets.errors import DatasetError
from duoreid.datasets.files import is_image
from duoreid.datasets.listing import list_pictures


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
        """Return the images of a folder, a CSV file, one image file, or a sequence of these; see datasets/listing.py.

        pattern: a regular expression that is searched for in an image's path below the folder, with groups named
        identity, camera and time: r"(?P<camera>cam\\d+)/". Raises DatasetError for what is absent, holds no image, or
        does not fit the pattern.
        """
        items = self._items(source)
        gone = [item for item in items if is_image(item.name) and not item.exists()]  # named when they are read
        if gone and len(gone) == len(items):
            return Listing(tuple(Picture(str(item.absolute())) for item in gone))
        present = list_pictures([item for item in items if item not in set(gone)], pattern=pattern or "")
        columns = (present.files, present.identities, present.cameras, present.times)
        pictures = tuple(
            Picture(file, identity, camera, None if time is None else moment(time))
            for file, identity, camera, time in zip(*columns, strict=True)
        )
        pictures += tuple(Picture(str(item.absolute())) for item in gone)
        folders = tuple(str(item.absolute()) for item in items if item.is_dir())
        told = "; ".join(filter(None, (present.told(), *present.remarks)))
        return Listing(pictures, folders, sum(map(len, present.left_out.values())), told)

    def moment(self, text: str | float) -> float:
        """Return seconds since 1970; see the function of that name."""
        return moment(text)

    def _items(self, source: Any) -> list[Path]:
        if isinstance(source, (str, os.PathLike)):
            return [Path(source).expanduser()]
        if not isinstance(source, Iterable):
            raise DatasetError(f"a folder, a CSV file or a list of image files expected, got {type(source).__name__}.")
        items = list(source)
        for item in items:
            if not isinstance(item, (str, os.PathLike)):
                raise DatasetError(
                    f"image files expected, since a gallery remembers which file a feature is of, but "
                    f"{type(item).__name__} came: save the image first."
                )
        return [Path(item).expanduser() for item in items]


FILES = Files()
"""The reader that `duoreid.load` gives to every model."""


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
        instant = datetime.fromisoformat(str(text).strip().replace("Z", "+00:00"))
    except ValueError as error:
        raise DatasetError(
            f"{text!r} is no time: give seconds since 1970, or ISO 8601, such as 2024-05-31T18:00:00."
        ) from error
    return (instant if instant.tzinfo else instant.replace(tzinfo=timezone.utc)).timestamp()
