"""What a dataset is to the core: images by row, who is on them, and how a test pairs queries with gallery.

Readers in `datasets` build these; the core never opens a file of a dataset itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

VISIBLE, INFRARED = 0, 1


def name_of(word: str) -> str:
    """Return the dataset's name in a word of the command line: "market1501" of "market1501=/disk/market".

    >>> name_of("market1501=/disk/market"), name_of("msmt17")
    ('market1501', 'msmt17')
    """
    return word.partition("=")[0]


class Images(Protocol):
    """Decoded images at the training size, by row."""

    shape: tuple[int, int, int, int]  # (N, H, W, 3)

    def __len__(self) -> int: ...

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n,) of integers -> uint8 (n, H, W, 3)."""
        ...


class Chunks(Sequence):
    """Images in chunks of `size` rows, in order, the last one shorter; each is read when it is asked for."""

    def __init__(self, images: Images, size: int) -> None:
        self.images, self.size = images, size

    def __len__(self) -> int:
        return -(-len(self.images) // self.size)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return one chunk, uint8 (b, H, W, 3); IndexError behind the last."""
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} chunks, not one number {index}")
        return self.images[np.arange(index * self.size, min((index + 1) * self.size, len(self.images)))]


@dataclass(frozen=True)
class Split:
    """N images of one split.

    files: where each image lies (absolute paths), or "ARRAY.npy#ROW" for images that come in an array.
    identities: int32 (N,); -1 where the identity is unknown.
    cameras: int32 (N,), as numbered by the dataset; -1 where the camera is unknown.
    modalities: uint8 (N,); VISIBLE or INFRARED.
    pixels: the images, uint8 (N, h, w, 3), where the dataset ships them decoded (SYSU-MM01's .npy files; an array
        or anything that reads like `Images`), else None.
    tracklets: int32 (N,), which tracklet each image belongs to, 0 to T - 1; None where each image stands alone.
    """

    files: tuple[str, ...]
    identities: np.ndarray
    cameras: np.ndarray
    modalities: np.ndarray
    pixels: Images | np.ndarray | None = field(default=None, repr=False)
    tracklets: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        count = len(self.files)
        columns = {"identities": self.identities, "cameras": self.cameras, "modalities": self.modalities}
        if self.pixels is not None:
            columns["pixels"] = self.pixels
        if self.tracklets is not None:
            columns["tracklets"] = self.tracklets
        wrong = {name: len(column) for name, column in columns.items() if len(column) != count}
        if wrong:
            raise ValueError(
                f"a split needs one entry per image in each column: {count} files, but {wrong}. Rows would be "
                "paired with the wrong identity; build all columns from the same list."
            )

    def __len__(self) -> int:
        return len(self.files)

    @property
    def units(self) -> int:
        """How many features the split has: of its tracklets, or of its images where each stands alone."""
        return len(self) if self.tracklets is None else int(self.tracklets.max(initial=-1)) + 1


@dataclass(frozen=True)
class Trial:
    """One draw of query and gallery: rows of the dataset's test split, int64."""

    query: np.ndarray
    gallery: np.ndarray


@dataclass(frozen=True)
class Search:
    """One way to test, e.g. SYSU-MM01's "all, single-shot": its trials share everything but the draw.

    ignore: which gallery images a query does not see. "same-camera": those of its own identity and camera
        (Market-1501, DukeMTMC-reID, MSMT17); "same-place": those from camera 2 for queries of camera 3
        (SYSU-MM01); "nothing" (RegDB).
    distinct_identities: CMC counts each identity once, at its first image (SYSU-MM01).
    official: the draw is the dataset's own; False when it was made from a seed.
    remark: what every table of its numbers has to say, e.g. that no camera is known; "" where there is nothing.
    """

    name: str
    trials: tuple[Trial, ...]
    ignore: str = "same-camera"
    distinct_identities: bool = False
    official: bool = True
    remark: str = ""


@dataclass(frozen=True)
class Dataset:
    """A dataset as read from disk. `train` carries hidden identities too where they are known.

    searches: empty where nothing can be tested (unlabelled images).
    trial: the training split's number where a dataset has several (RegDB: 1 to 10), else 0.
    remarks: what a run on it has to say: what of its folder is left out, by reason, and what is assumed.
    frames: where a row of `test` is a tracklet (MARS): all images of the test, whose `tracklets` are rows of `test`.
        Those rows name each tracklet's first image. None where a row is an image.
    options: of those in core/settings/unused.py, the ones that were used to read it.
    """

    name: str
    root: str
    train: Split
    test: Split
    searches: tuple[Search, ...]
    trial: int = 0
    remarks: tuple[str, ...] = ()
    frames: Split | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingSet:
    """Training images with what is known of them. name: the dataset's."""

    name: str
    images: Images
    split: Split


@dataclass(frozen=True)
class OpenData:
    """A dataset with its decoded images.

    test: one for each row of `dataset.test`. frames: those of `dataset.frames`, where a row is a tracklet.
    """

    dataset: Dataset
    train: Images
    test: Images
    frames: Images | None = None

    def training_set(self) -> TrainingSet:
        """Return the half that a method trains on."""
        return TrainingSet(self.dataset.name, self.train, self.dataset.train)

    def fingerprint(self) -> str:
        """Return a digest of who is on which training image, and of the pixels of some images of each half."""
        digest = hashlib.blake2b(digest_size=8)
        for values in (self.dataset.train.identities, self.dataset.train.cameras):
            digest.update(np.ascontiguousarray(values, np.int64).tobytes())
        for images in (self.train, self.test):
            rows = np.linspace(0, len(images) - 1, min(8, len(images))).astype(np.int64)
            digest.update(f"{len(images)}".encode() + images[rows].tobytes())
        return digest.hexdigest()
