"""Tracklets: one feature for all images of a person that a tracker linked in one camera.

The feature is the mean of those of the images, of unit length again (average pooling; Zheng et al., "MARS: A Video
Benchmark for Large-Scale Person Re-identification", ECCV 2016).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from duoreid.core.contract.learner import Learner
from duoreid.core.data import Chunks, Images, OpenData, Split

TOGETHER = 64
"""Chunks that are embedded at once: their features exist, and then only the sums of their tracklets."""

Shown = Callable[[Sequence], Iterable]


def count(tracklets: np.ndarray) -> int:
    """Return how many tracklets there are; ValueError where a number from 0 to the largest has no image.

    >>> count(np.array([0, 0, 1]))
    2
    """
    tracklets = np.asarray(tracklets)
    numbers = np.unique(tracklets)
    if tracklets.ndim != 1 or tracklets.dtype.kind not in "iu" or (numbers != np.arange(len(numbers))).any():
        raise ValueError(
            f"tracklets must be numbered 0, 1, ... without a gap, one number for each image, but are {tracklets.dtype} "
            f"{tracklets.shape} with {len(numbers)} numbers from {numbers.min(initial=0)} to {numbers.max(initial=0)}"
        )
    return len(numbers)


def firsts(tracklets: np.ndarray) -> np.ndarray:
    """Return the row of each tracklet's first image, int64 (T,).

    >>> firsts(np.array([1, 1, 0])).tolist()
    [2, 0]
    """
    return np.unique(tracklets, return_index=True)[1]


def pooled(features: np.ndarray, tracklets: np.ndarray) -> np.ndarray:
    """Return the mean feature of each tracklet, of unit length, (..., T, D) of the features' type.

    features: (..., N, D), a row for each image. tracklets: int (N,), the images' tracklets, 0 to T - 1. ValueError
    where they do not line up.

    >>> pooled(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]), np.array([0, 0, 1])).round(3).tolist()
    [[0.707, 0.707], [0.0, 1.0]]
    """
    total = count(tracklets)
    if features.ndim < 2 or features.shape[-2] != len(tracklets):
        raise ValueError(f"one feature for each of {len(tracklets)} images expected, got {features.shape}")
    sums = np.zeros((*features.shape[:-2], total, features.shape[-1]))
    _add(sums, features, np.asarray(tracklets))
    return _unit(sums).astype(features.dtype)


def embed(
    learner: Learner,
    images: Images,
    batch: int,
    tracklets: np.ndarray | None = None,
    shown: Shown = lambda chunks: chunks,
) -> np.ndarray:
    """Embed images in chunks of `batch` -> features (M, N, D), or those of their T tracklets (M, T, D).

    The features of all images of tracklets never exist at once. shown: wraps the chunks, in a progress bar.
    """
    if tracklets is None:
        return learner.embed(shown(Chunks(images, batch)))
    total, sums = count(tracklets), None
    for begin in shown(range(0, len(images), batch * TOGETHER)):
        rows = slice(begin, begin + batch * TOGETHER)
        features = learner.embed(_Part(Chunks(images, batch), begin // batch))
        if sums is None:
            sums = np.zeros((len(features), total, features.shape[-1]))
        _add(sums, features, tracklets[rows])
    if sums is None:
        raise ValueError("tracklets without an image cannot be embedded")
    return _unit(sums).astype(features.dtype)


def embed_test(learner: Learner, opened: OpenData, batch: int, shown: Shown = lambda chunks: chunks) -> np.ndarray:
    """Return the features of the rows of a dataset's test, (M, N, D): of its images, or of its tracklets."""
    if opened.dataset.frames is None or opened.frames is None:
        return embed(learner, opened.test, batch, shown=shown)
    return embed(learner, opened.frames, batch, opened.dataset.frames.tracklets, shown)


def of_tracklets(split: Split, values: np.ndarray) -> np.ndarray:
    """Return one value for each tracklet, that of its first image; the values themselves where there are none.

    >>> zeros = np.zeros(3, np.uint8)
    >>> split = Split(("a", "b", "c"), np.array([7, 7, 9]), zeros, zeros, tracklets=np.array([0, 0, 1]))
    >>> of_tracklets(split, split.identities).tolist()
    [7, 9]
    """
    return values if split.tracklets is None else values[firsts(split.tracklets)]


def of_images(split: Split, values: np.ndarray) -> np.ndarray:
    """Return for each image the value (T,) of its tracklet; the values themselves where there are none.

    >>> zeros = np.zeros(3, np.uint8)
    >>> split = Split(("a", "b", "c"), zeros, zeros, zeros, tracklets=np.array([0, 0, 1]))
    >>> of_images(split, np.array([5, -1])).tolist()
    [5, 5, -1]
    """
    return values if split.tracklets is None else values[split.tracklets]


class _Part(Sequence):
    """Up to TOGETHER chunks from one on."""

    def __init__(self, chunks: Chunks, begin: int) -> None:
        self.chunks, self.begin = chunks, begin

    def __len__(self) -> int:
        return min(TOGETHER, len(self.chunks) - self.begin)

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} chunks, not one number {index}")
        return self.chunks[self.begin + index]


def _add(sums: np.ndarray, features: np.ndarray, tracklets: np.ndarray) -> None:
    """Add the features (..., n, D) of images to the sums (..., T, D) of their tracklets."""
    order = np.argsort(tracklets, kind="stable")
    numbers, starts = np.unique(tracklets[order], return_index=True)
    sums[..., numbers, :] += np.add.reduceat(features[..., order, :].astype(np.float64), starts, axis=-2)


def _unit(sums: np.ndarray) -> np.ndarray:
    lengths = np.sqrt(np.einsum("...d,...d->...", sums, sums))[..., None]
    return sums / np.maximum(lengths, 1e-12)
