"""What the pseudo-labels are worth: agreement with the people, sizes, and the worst merges and splits to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from duoreid.core.agreement import OUTLIER, agreement
from duoreid.core.data import Images, Split
from duoreid.core.report.atlas import Atlas
from duoreid.core.report.blocks import Block, Figure, Figures, Picture, Strip, Strips, Table
from duoreid.core.report.charts import histogram

WORST, GROUPS, OF_GROUP = 10, 6, 3
"""Merges and splits that are shown, groups of each, and pictures of a group."""

MERGES = "Clusters that join most pairs of different people; a gap stands between two people."
SPLITS = "People whose images most often lie in different clusters; a gap stands between two clusters."


@dataclass(frozen=True)
class Mistake:
    """One wrong merge or split. of: the cluster, or the person. pairs: wrongly joined or parted.

    groups: (person or cluster, its rows), the largest first.
    """

    of: int
    pairs: int
    groups: list[tuple[int, np.ndarray]]


def purity(labels: np.ndarray, identities: np.ndarray) -> float:
    """Return the share of clustered images that show the person whom most of their cluster's images show.

    labels, identities: integers (N,); outliers (-1) are left out. NaN where all are outliers.

    >>> purity(np.array([0, 0, 0, 1, -1]), np.array([7, 7, 8, 8, 9]))
    0.75
    """
    kept = labels != OUTLIER
    if not kept.any():
        return float("nan")
    pairs, counts = np.unique(np.stack([labels[kept], identities[kept]]), axis=1, return_counts=True)
    most = np.zeros(int(labels.max()) + 1, np.int64)
    np.maximum.at(most, pairs[0], counts)
    return float(most.sum() / kept.sum())


def merges(labels: np.ndarray, identities: np.ndarray, count: int = WORST) -> list[Mistake]:
    """Return the clusters that join most pairs of different people, worst first.

    >>> merges(np.array([0, 0, 0, 1, 1]), np.array([7, 7, 8, 9, 9]))[0].pairs  # (7, 8) twice
    2
    """
    return _worst(labels, identities, count)


def splits(labels: np.ndarray, identities: np.ndarray, count: int = WORST) -> list[Mistake]:
    """Return the people whose images lie in different clusters, most parted pairs first; outliers are left out.

    >>> splits(np.array([0, 1, 1, 2]), np.array([7, 7, 7, 9]))[0].pairs
    2
    """
    return _worst(identities, labels, count)


def _worst(wholes: np.ndarray, parts: np.ndarray, count: int) -> list[Mistake]:
    kept = np.flatnonzero((wholes >= 0) & (parts >= 0))
    order = kept[np.lexsort((parts[kept], wholes[kept]))]
    mistakes = []
    for rows in _runs(order, wholes[order]):
        groups = _runs(rows, parts[rows])
        sizes = np.array([len(group) for group in groups])
        pairs = int((sizes.sum() ** 2 - (sizes**2).sum()) // 2)
        if pairs:
            groups.sort(key=len, reverse=True)
            mistakes.append(Mistake(int(wholes[rows[0]]), pairs, [(int(parts[group[0]]), group) for group in groups]))
    return sorted(mistakes, key=lambda one: -one.pairs)[:count]


def _runs(rows: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
    """Split rows where their values, which are sorted, change."""
    return np.split(rows, np.flatnonzero(np.diff(values)) + 1) if len(rows) else []


def blocks(
    labels: np.ndarray, split: Split, images: Images, atlas: Atlas, curves: Sequence[Figure] = ()
) -> list[Block]:
    """Return what there is to see of one labelling of a training split.

    labels: int (N,), -1 for outliers. curves: of earlier labellings, to stand beside the sizes.
    """
    people = split.identities
    kept = labels[labels != OUTLIER]
    sizes = np.bincount(kept)
    sizes = sizes[sizes > 0]
    figures = [*curves, *([_sizes(sizes, people)] if len(sizes) else [])]
    made: list[Block] = [Figures(figures)] if figures else []
    made.append(_table(labels, people, sizes))
    if (people < 0).all():
        return made
    told = (
        (merges(labels, people), "Largest wrong merges", MERGES, "cluster", "person"),
        (splits(labels, people), "Largest wrong splits", SPLITS, "person", "cluster"),
    )
    for mistakes, title, caption, whole, part in told:
        strips = [_strip(one, whole, part, images, atlas, split) for one in mistakes]
        made.append(Strips(title, caption if strips else "There is none.", strips))
    return made


def _table(labels: np.ndarray, people: np.ndarray, sizes: np.ndarray) -> Table:
    outliers = int((labels == OUTLIER).sum())
    median = f"{np.median(sizes):g}" if len(sizes) else "–"
    rows = [["clusters", f"{len(sizes):,}"], ["images in the middle cluster", median]]
    rows.append(["outliers", f"{outliers:,} of {len(labels):,}"])
    known = people >= 0
    if known.any():
        scores = agreement(labels[known], people[known])
        rows += [
            ["people", f"{len(np.unique(people[known])):,}"],
            ["adjusted Rand index", f"{scores.adjusted_rand:.3f}"],
            ["normalised mutual information", f"{scores.mutual_information:.3f}"],
            ["purity", f"{100 * purity(labels[known], people[known]):.1f}%"],
            ["pairs of a cluster that show one person", f"{100 * scores.precision:.1f}%"],
            ["pairs of a person that share a cluster", f"{100 * scores.recall:.1f}%"],
        ]
    return Table(["the labels of the end", ""], rows)


def _sizes(sizes: np.ndarray, people: np.ndarray) -> Figure:
    known = np.unique(people[people >= 0], return_counts=True)[1]
    top = int(max(sizes.max(), known.max(initial=1)))
    width = max(1, -(-top // 40))
    edges = np.arange(0.5, top + width + 0.5, width)
    shown = [("clusters", np.histogram(sizes, edges)[0], 1)]
    legend = [("clusters", 1)]
    if len(known):
        shown.insert(0, ("people", np.histogram(known, edges)[0], 2))
        legend.append(("people", 2))
    caption = "How many clusters, and how many people, have so many images. The closer the two, the better."
    return Figure("Sizes", histogram(edges, shown, "images", "how many", whole=True), caption, legend)


def _strip(one: Mistake, whole: str, part: str, images: Images, atlas: Atlas, split: Split) -> Strip:
    pictures = []
    for number, (name, rows) in enumerate(one.groups[:GROUPS]):
        shown = rows[:OF_GROUP]
        for index, (place, row) in enumerate(zip(atlas.add(images, shown), shown, strict=True)):
            caption = f"{part} {name}\n{len(rows)} image{'s' * (len(rows) != 1)}" if index == 0 else ""
            title = f"person {split.identities[row]}, camera {split.cameras[row]}"
            pictures.append(Picture(place, caption, "", title, apart=number > 0 and index == 0))
    count = sum(len(rows) for _, rows in one.groups)
    several = {"person": "people", "cluster": "clusters"}[part]
    verb = "joined" if whole == "cluster" else "parted"
    words = f"{count} images, {len(one.groups)} {several}, {one.pairs:,} pairs wrongly {verb}"
    return Strip(f"{whole.capitalize()} {one.of}", words, pictures)
