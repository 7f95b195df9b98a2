"""Images by row: decoded when asked for, mapped from a file, several of these end to end, or some rows of one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from duoreid.core.data import Images, Split
from duoreid.datasets.decode import check_interpolation, decode, resize
from duoreid.datasets.errors import DatasetError


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Mapped:
    """Images in an array that may lie on disk: a memory-mapped uint8 (N, H, W, 3)."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.shape: tuple[int, int, int, int] = tuple(array.shape)
        self._file = _MappedFile.of(array)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        if self._file is not None:
            self._file.check()
        # unlike array[rows], take copies without holding the interpreter's lock
        return np.take(self.array, _rows(rows, len(self)), axis=0)


@dataclass(frozen=True)
class _MappedFile:
    """A mapped file as it was when it was opened. To read behind its end would end the process by SIGBUS."""

    name: str
    inode: int
    size: int

    @classmethod
    def of(cls, array: np.ndarray) -> _MappedFile | None:
        """Return the file behind an array, None where there is none."""
        name = getattr(array, "filename", None)
        if name is None:
            return None
        try:
            return cls(os.fspath(name), os.stat(name).st_ino, array.offset + array.nbytes)
        except OSError:  # it was removed meanwhile: what is mapped stays
            return None

    def check(self) -> None:
        """Raise DatasetError where the file has become shorter; a removed one stays mapped as it was."""
        try:
            status = os.stat(self.name)
        except OSError:
            return
        if status.st_ino == self.inode and status.st_size < self.size:
            raise DatasetError(
                f"{self.name} was cut short while it was read, to {status.st_size:,} of {self.size:,} bytes: another "
                "program wrote to it, or the disk is damaged. Remove its folder, so that it is built again, and go on "
                "with --resume."
            )


class Decoded:
    """Images of a split decoded anew at each request, on a few threads."""

    def __init__(self, split: Split, height: int, width: int, interpolation: str, threads: int | None = None) -> None:
        check_interpolation(interpolation)
        self.split, self.interpolation = split, interpolation
        self.shape = (len(split), height, width, 3)
        self._pool = ThreadPoolExecutor(threads or min(8, cores() + 1), thread_name_prefix="decode")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        rows = _rows(rows, len(self))
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)

        def fill(place: int) -> None:
            images[place] = self.one(int(rows[place]))

        list(self._pool.map(fill, range(len(rows))))
        return images

    def one(self, row: int) -> np.ndarray:
        """Return one row's image, uint8 (H, W, 3)."""
        _, height, width, _ = self.shape
        if self.split.pixels is None:
            return decode(self.split.files[row], height, width, self.interpolation)
        return _fit(self.split.pixels[np.array([row])][0], height, width, self.interpolation)


class Stacked:
    """Several images of one size end to end, e.g. the visible and the infrared .npy file of SYSU-MM01."""

    def __init__(self, parts: Sequence[Images]) -> None:
        if len({tuple(part.shape[1:]) for part in parts}) != 1:
            raise ValueError(f"images of one size expected, got {[tuple(part.shape) for part in parts]}.")
        self.parts = tuple(parts)
        self.starts = np.cumsum([0, *(len(part) for part in parts)])
        self.shape = (int(self.starts[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        rows = _rows(rows, len(self))
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        source = np.searchsorted(self.starts, rows, side="right") - 1
        for index, part in enumerate(self.parts):
            chosen = np.flatnonzero(source == index)
            if chosen.size:
                images[chosen] = part[rows[chosen] - self.starts[index]]
        return images


class Chosen:
    """Some rows of images, e.g. the first image of each tracklet."""

    def __init__(self, images: Images, rows: np.ndarray) -> None:
        self.images, self.rows = images, _rows(rows, len(images))
        self.shape = (len(self.rows), *images.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.images[self.rows[_rows(rows, len(self))]]


def _rows(rows: np.ndarray, count: int) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        raise ValueError(f"rows: a one-dimensional array of integers expected, got {rows.dtype} {rows.shape}.")
    rows = rows.astype(np.int64)
    if rows.size and (rows.min() < 0 or rows.max() >= count):
        raise IndexError(f"rows from 0 to {count - 1} expected, got {rows.min()} to {rows.max()}.")
    return rows


def _fit(image: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return image
    return resize(Image.fromarray(image), height, width, interpolation)
