"""Building a Split image by image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from duoreid.core.data import VISIBLE, Search, Split, Trial
from duoreid.datasets.errors import DatasetError, listed

LARGEST = np.iinfo(np.int32).max


class Table:
    """Rows of a split under construction."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.identities: list[int] = []
        self.cameras: list[int] = []
        self.modalities: list[int] = []

    def __len__(self) -> int:
        return len(self.files)

    def add(self, file: Path | str, identity: int, camera: int, modality: int = VISIBLE) -> None:
        """Append one image."""
        self.files.append(str(file))
        self.identities.append(identity)
        self.cameras.append(camera)
        self.modalities.append(modality)

    def split(self) -> Split:
        """Return the rows as a Split with absolute paths; DatasetError for numbers that are too large to be kept."""
        for what, numbers in (("identity", self.identities), ("camera", self.cameras)):
            large = [index for index, number in enumerate(numbers) if number > LARGEST]
            if large:
                raise DatasetError(
                    f"{len(large)} images have a number of their {what} above {LARGEST:,}, the largest that is kept; "
                    "are these the names as they were published?" + listed([self.files[index] for index in large])
                )
        return Split(
            tuple(str(Path(file).absolute()) for file in self.files),
            np.array(self.identities, np.int32),
            np.array(self.cameras, np.int32),
            np.array(self.modalities, np.uint8),
        )


def one_search(name: str, queries: int, total: int, ignore: str = "same-camera") -> Search:
    """Return the search of a test split that holds `queries` query rows and then its gallery."""
    trial = Trial(np.arange(queries, dtype=np.int64), np.arange(queries, total, dtype=np.int64))
    return Search(name, (trial,), ignore)
