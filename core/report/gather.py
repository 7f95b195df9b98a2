"""What a report is made of: networks, features, labels and records, brought together before anything is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from duoreid.core.data import OpenData
from duoreid.core.protocols import SearchResult, evaluate
from duoreid.core.report.records import Records
from duoreid.core.threshold import Threshold

Published = Mapping[str, Mapping[str, tuple[float, float]]]


@dataclass(frozen=True)
class Material:
    """Everything that the pages' sections show.

    opened: the dataset with its images, None for a report of the records alone.
    features: by network, float32 (N, D) of the test images. results: by network, as core.protocols.evaluate returned
        them. published: by search, by who published them: (mAP, rank-1) in percent.
    labels: int (N,) of the training images, -1 for outliers, None for a method without pseudo-labels; labels_words:
        where they come from.
    threshold: the calibrated similarity, None without a calibration.
    find: images uint8 (B, H, W, 3) -> activation maps (M, B, h, w), None where there is no network.
    preset: the settings of the preset that the run started from, {} where it is not known.
    way: of the map, see core/report/mapping.py.
    """

    name: str
    seed: int = 0
    records: Records | None = None
    preset: Mapping[str, Any] = field(default_factory=dict)
    about: str = ""
    opened: OpenData | None = None
    features: Mapping[str, np.ndarray] = field(default_factory=dict)
    results: Mapping[str, list[SearchResult]] = field(default_factory=dict)
    published: Published = field(default_factory=dict)
    labels: np.ndarray | None = None
    labels_words: str = ""
    threshold: float | None = None
    find: Callable[[np.ndarray], np.ndarray] | None = None
    way: str = "pca"

    @property
    def shown(self) -> str:
        """The network that is shown in detail: the first."""
        return next(iter(self.features))


def tested(features: Mapping[str, np.ndarray], opened: OpenData) -> dict[str, list[SearchResult]]:
    """Return the results of each network's features in every search of the dataset."""
    if not opened.dataset.searches:
        return {}
    return {network: evaluate(rows, opened.dataset) for network, rows in features.items()}


def threshold_of(metadata: Mapping[str, Any], opened: OpenData) -> float | None:
    """Return the calibrated similarity of a checkpoint's metadata for the gallery that is searched first.

    None where none was calibrated, or where nothing is searched. UserError where it cannot be read.
    """
    if metadata.get("threshold") is None or not opened.dataset.searches:
        return None
    gallery = opened.dataset.searches[0].trials[0].gallery
    return Threshold.from_dict(metadata["threshold"]).at(len(gallery))
