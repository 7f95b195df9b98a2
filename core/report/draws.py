"""One draw of a test, query by query: who is hidden, what is similar, where the first right and wrong ones stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from duoreid.core.data import VISIBLE, Dataset, Search, Trial
from duoreid.core.errors import unknown
from duoreid.core.protocols import IGNORE, SYSU_SAME_PLACE, rank_draw

BINS, LOWEST = 80, -1.0
ENTRIES = 1 << 22
"""Similarities that exist at a time."""

NOBODY = -1


class Draw(NamedTuple):
    """One draw of a dataset's search with the features of its images.

    features: float32 (N, D) of all test images, L2-normalised.
    """

    features: np.ndarray
    dataset: Dataset
    search: Search
    trial: Trial

    @property
    def identities(self) -> tuple[np.ndarray, np.ndarray]:
        """Identities of queries and of gallery images."""
        known = self.dataset.test.identities
        return known[self.trial.query], known[self.trial.gallery]

    @property
    def cameras(self) -> tuple[np.ndarray, np.ndarray]:
        """Cameras of queries and of gallery images."""
        known = self.dataset.test.cameras
        return known[self.trial.query], known[self.trial.gallery]

    def visible(self, queries: np.ndarray) -> np.ndarray:
        """Return which gallery images some queries (b,) see by the search's rule: bool (b, G); see core.data.Search."""
        (own, cameras), (people, gallery) = self.cameras, self.identities
        if self.search.ignore == "same-camera":
            return (people[queries, None] != gallery) | (own[queries, None] != cameras)
        if self.search.ignore == "same-place":
            there, hidden = SYSU_SAME_PLACE
            return (own[queries, None] != there) | (cameras != hidden)
        if self.search.ignore in IGNORE:
            return np.ones((len(queries), len(gallery)), bool)
        raise unknown("rule", self.search.ignore, IGNORE)

    def similarities(self, queries: np.ndarray) -> np.ndarray:
        """Return cosine similarities of some queries (b,) to the gallery: float32 (b, G)."""
        return self.features[self.trial.query[queries]] @ self._gallery().T

    def _gallery(self) -> np.ndarray:
        return self.features[self.trial.gallery]

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (numbers of queries (b,), their similarities to the gallery (b, G)) until all are through."""
        gallery, count = np.ascontiguousarray(self._gallery().T), len(self.trial.query)
        size = max(1, ENTRIES // max(1, gallery.shape[1]))
        for start in range(0, count, size):
            rows = np.arange(start, min(start + size, count))
            yield rows, self.features[self.trial.query[rows]] @ gallery

    @property
    def across(self) -> bool:
        """Whether query and gallery were taken by sensors of two kinds."""
        kinds = self.dataset.test.modalities
        return kinds[self.trial.query[0]] != kinds[self.trial.gallery[0]]


@dataclass(frozen=True)
class Scan:
    """What all pairs of a draw say.

    edges: float64 (B + 1,) of bins of similarity. same, different: int64 (B,), pairs of one person and of two in them.
    first_right, first_wrong: int64 (Q,), the place from 1 of the first image of the query's person, and of another one,
    among the gallery images that the query sees; 0 where it sees none. precision: float64 (Q,), average precision, NaN
    for a query without a match. matches: int64 (Q,), how many images of its person a query sees.
    """

    edges: np.ndarray
    same: np.ndarray
    different: np.ndarray
    first_right: np.ndarray
    first_wrong: np.ndarray
    precision: np.ndarray
    matches: np.ndarray


def scan(draw: Draw) -> Scan:
    """Go through all pairs of a draw once, in blocks. Equal similarities count as the right one standing first."""
    people, gallery = draw.identities
    counts = np.zeros((2, BINS), np.int64)
    first = np.zeros((2, len(people)), np.int64)
    matches = np.zeros(len(people), np.int64)
    scale = BINS / (1.0 - LOWEST)
    for rows, similarities in draw.blocks():
        visible = draw.visible(rows)
        same = people[rows, None] == gallery
        right, wrong = same & visible, ~same & visible
        bins = np.clip((similarities - LOWEST) * scale, 0, BINS - 1).astype(np.uint8)
        counts[0] += np.bincount(bins[right], minlength=BINS)
        counts[1] += np.bincount(bins[wrong], minlength=BINS)
        matches[rows] = right.sum(1)
        best_right = np.where(right, similarities, -np.inf).max(1, initial=-np.inf)
        best_wrong = np.where(wrong, similarities, -np.inf).max(1, initial=-np.inf)
        ahead = (wrong & (similarities > best_right[:, None])).sum(1)
        behind = (right & (similarities >= best_wrong[:, None])).sum(1)
        first[0, rows] = np.where(np.isfinite(best_right), ahead + 1, 0)
        first[1, rows] = np.where(np.isfinite(best_wrong), behind + 1, 0)
    ranking = rank_draw(draw.features, draw.dataset, draw.search, draw.trial, max_rank=1)
    edges = np.linspace(LOWEST, 1.0, BINS + 1)
    return Scan(edges, *counts, *first, ranking.average_precision, matches)


class Shown(NamedTuple):
    """One gallery image of a ranked list. row: in the test split. same: whether it shows the query's person."""

    row: int
    similarity: float
    same: bool


class Ranked(NamedTuple):
    """A query with its nearest gallery images. query: its number in the draw; row: in the test split."""

    query: int
    row: int
    nearest: list[Shown]


def ranked(draw: Draw, queries: np.ndarray, depth: int = 10) -> list[Ranked]:
    """Return the `depth` most similar gallery images that each of some queries sees; ties in the gallery's order."""
    people, gallery = draw.identities
    lists = []
    for query in queries:
        one = np.array([query])
        similarities, visible = draw.similarities(one)[0], draw.visible(one)[0]
        order = np.argsort(-similarities, kind="stable")
        nearest = order[visible[order]][:depth]
        shown = [
            Shown(int(draw.trial.gallery[column]), float(similarities[column]), bool(gallery[column] == people[query]))
            for column in nearest
        ]
        lists.append(Ranked(int(query), int(draw.trial.query[query]), shown))
    return lists


def one_of_each(dataset: Dataset) -> list[Search]:
    """Return the first search of each direction between kinds of sensors: what is shown in detail."""
    chosen: dict[int, Search] = {}
    for search in dataset.searches:
        kind = int(dataset.test.modalities[search.trials[0].query[0]])
        chosen.setdefault(kind, search)
    return list(chosen.values())


def kind_of(modality: int) -> str:
    """Return a short name of a kind of sensor."""
    return "visible" if modality == VISIBLE else "infrared"
