"""Made-up data of the published datasets' sizes: pictures for a share of a set, features for the whole of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duoreid.core.data import VISIBLE, Dataset, Search, Split, TrainingSet, Trial, name_of
from duoreid.core.errors import UserError
from duoreid.core.random import rng
from duoreid.datasets.counts import PUBLISHED
from duoreid.datasets.images import Mapped

SPREAD = 1.5
"""Length of a picture's own part of its feature, to a person's part of length 1: clusters touch, as real ones do."""


@dataclass(frozen=True)
class Size:
    """What a published dataset consists of."""

    identities: int
    images: int
    test_identities: int
    query: int
    gallery: int
    cameras: int


NAMES = {
    "identities": "training identities",
    "images": "training images",
    "test_identities": "query identities",
    "query": "query images",
    "gallery": "gallery images",
    "cameras": "cameras",
}


def size_of(word: str) -> Size:
    """Return a dataset's published size; UserError where datasets/counts.py does not have all of it.

    >>> size_of("market1501").images
    12936
    """
    name = name_of(word)
    counts = PUBLISHED[name].counts if name in PUBLISHED else {}
    if any(key not in counts for key in NAMES.values()):
        known = [one for one, published in PUBLISHED.items() if all(key in published.counts for key in NAMES.values())]
        raise UserError(f"the size of {name} is not known as a whole: expected a recipe between {', '.join(known)}.")
    return Size(**{field: counts[key] for field, key in NAMES.items()})


def people(identities: int, images: int, cameras: int) -> Split:
    """Return a split of as many pictures as evenly as can be: of each person in turn, seen by one camera after another.

    >>> people(2, 5, 2).identities.tolist(), people(2, 5, 2).cameras.tolist()
    ([0, 1, 0, 1, 0], [0, 0, 1, 1, 0])
    """
    rows = np.arange(images)
    seen = (rows // identities) % cameras
    kinds = np.full(images, VISIBLE, np.uint8)
    return Split(tuple(map(str, rows)), (rows % identities).astype(np.int32), seen.astype(np.int32), kinds)


def pictures(split: Split, height: int, width: int, seed: int) -> Mapped:
    """Return a split's pictures in memory, uint8 (N, height, width, 3): coloured fields that tell people apart."""
    draw = rng(seed, "recipe pictures")
    fields = draw.integers(0, 256, (int(split.identities.max()) + 1, 8, 4, 3), np.uint8)
    rows, columns = np.arange(height) * 8 // height, np.arange(width) * 4 // width
    array = np.empty((len(split), height, width, 3), np.uint8)
    for row, identity in enumerate(split.identities):
        noise = draw.integers(0, 64, (height, width, 3), np.uint8)
        array[row] = fields[identity][rows][:, columns] // 4 * 3 + noise
    return Mapped(array)


def training_set(name: str, share: float, least: tuple[int, int], shape: tuple[int, int], seed: int) -> TrainingSet:
    """Return a share of a dataset's training pictures. least: people and pictures, which a batch needs."""
    size = size_of(name)
    identities = max(least[0], round(share * size.identities))
    images = max(least[1], round(share * size.images))
    split = people(identities, images, size.cameras)
    return TrainingSet(name_of(name), pictures(split, *shape, seed), split)


def features(split: Split, networks: int, dimension: int, seed: int) -> np.ndarray:
    """Return what networks could make of a split, float32 (M, N, D) of unit length: people apart, by SPREAD."""
    draw = rng(seed, "recipe features")
    centres = draw.standard_normal((int(split.identities.max()) + 1, dimension), np.float32)
    vectors = np.empty((networks, len(split), dimension), np.float32)
    for rows in vectors:
        draw.standard_normal(rows.shape, np.float32, rows)
        rows *= SPREAD
        rows += centres[split.identities]
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return vectors


def test_of(name: str) -> Dataset:
    """Return a dataset of the published size whose test can be measured; it has no pictures."""
    size = size_of(name)
    query = people(size.test_identities, size.query, size.cameras)
    gallery = people(size.test_identities, size.gallery, size.cameras)
    test = Split(
        tuple(map(str, range(size.query + size.gallery))),
        *(
            np.concatenate([getattr(query, column), getattr(gallery, column)])
            for column in ("identities", "cameras", "modalities")
        ),
    )
    trial = Trial(np.arange(size.query), np.arange(size.query, len(test)))
    return Dataset(
        name_of(name), "", people(size.identities, size.images, size.cameras), test, (Search("test", (trial,)),)
    )
