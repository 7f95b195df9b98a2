"""Several datasets as one source: identities and cameras of each kept apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from duoreid.core.data import Dataset, OpenData, Split
from duoreid.datasets.errors import DatasetError
from duoreid.datasets.images import Mapped, Stacked


def join(opened: Sequence[OpenData]) -> OpenData:
    """Return the training halves of several datasets end to end, without a test.

    Each dataset's identities and cameras get numbers of their own, so that person 1 of one is not person 1 of another;
    -1 stays unknown. Raises DatasetError where one of them has no label to learn from.
    """
    parts = [data.dataset for data in opened]
    for part in parts:
        if not (part.train.identities >= 0).any():
            raise DatasetError(
                f"{part.name} in {part.root} has no labelled training image, and is one of several sources: leave "
                "it out, or say who is in its pictures (docs/data.md, --camera-pattern)."
            )
    train = Split(
        tuple(file for part in parts for file in part.train.files),
        _apart([part.train.identities for part in parts]),
        _apart([part.train.cameras for part in parts]),
        np.concatenate([part.train.modalities for part in parts]),
        tracklets=_tracklets([part.train for part in parts]),
    )
    nothing = Split((), np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.uint8))
    name, root = (",".join(getattr(part, what) for part in parts) for what in ("name", "root"))
    remarks = tuple(f"{part.name}: {remark}" for part in parts for remark in part.remarks)
    images = Stacked([data.train for data in opened])
    none = Mapped(np.zeros((0, *images.shape[1:]), np.uint8))
    options = tuple(dict.fromkeys(option for part in parts for option in part.options))
    return OpenData(Dataset(name, root, train, nothing, (), remarks=remarks, options=options), images, none)


def _tracklets(splits: Sequence[Split]) -> np.ndarray | None:
    """Number the tracklets of several splits; an image that stands alone is a tracklet. None where all do."""
    if all(split.tracklets is None for split in splits):
        return None
    return _apart([np.arange(len(split)) if split.tracklets is None else split.tracklets for split in splits])


def _apart(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Number the values of several columns 0, 1, ... such that no two columns share one; -1 stays."""
    numbered, start = [], 0
    for column in columns:
        names, numbers = np.unique(column[column >= 0], return_inverse=True)
        apart = np.full(len(column), -1, np.int32)
        apart[column >= 0] = numbers + start
        numbered.append(apart)
        start += len(names)
    return np.concatenate(numbered)
