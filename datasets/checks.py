"""What the doctor looks for in a dataset's index: identities, queries and counts. No image is opened."""

from __future__ import annotations

import numpy as np

from duoreid.core.data import Dataset, Search, Trial
from duoreid.core.protocols import SYSU_SAME_PLACE, why_no_match
from duoreid.datasets.counts import PUBLISHED, count
from duoreid.datasets.errors import Problem

OWN_NUMBERS = frozenset({"msmt17", "regdb", "llcm", "synthetic-regdb"})
"""Datasets whose training and test number their identities each from 0."""

DRAWN = "same-place"
"""The rule of searches whose galleries are drawn, so that a draw may lack a query's identity."""


def compare_counts(dataset: Dataset) -> list[dict[str, object]]:
    """Return rows {what, expected, found, agrees}; expected is None where nothing is published."""
    published = PUBLISHED.get(dataset.name)
    expected = published.counts if published else {}
    counted = count(dataset)
    return [
        {
            "what": what,
            "expected": expected.get(what),
            "found": counted.get(what, 0),
            "agrees": what not in expected or expected[what] == counted.get(what, 0),
        }
        for what in dict.fromkeys([*expected, *counted])
    ]


def check_index(dataset: Dataset) -> list[Problem]:
    """Return what is wrong with a dataset's identities, queries and counts."""
    problems = []
    differing = [row for row in compare_counts(dataset) if not row["agrees"]]
    if differing:
        lines = tuple(f"{row['what']}: {row['expected']:,} expected, {row['found']:,} found" for row in differing)
        text = f"{len(lines)} counts differ from the published ones, so results would not compare:"
        problems.append(Problem("counts", text, lines))
    problems += _shared_identities(dataset)
    for search in dataset.searches:
        problems += _unmatched(dataset, search)
    if len(np.unique(dataset.train.identities)) == 1 and dataset.train.identities[0] >= 0:
        problems.append(Problem("identities", "the training images show one person only: nothing can be told apart"))
    if not dataset.searches:
        problems.append(
            Problem("test", "no labelled query and gallery: a model can be trained but not tested", (), False)
        )
    return problems


def _shared_identities(dataset: Dataset) -> list[Problem]:
    """People of the training split who are also tested; in a user's own data that may be meant."""
    if dataset.name in OWN_NUMBERS or (dataset.train.pixels is not None):
        return []
    shared = np.intersect1d(dataset.train.identities, dataset.test.identities)
    shared = shared[shared >= 0]
    if not len(shared):
        return []
    rows = np.flatnonzero(np.isin(dataset.test.identities, shared))
    text = f"{len(shared)} identities are in both training and test, in {len(rows)} test images:"
    examples = tuple(dataset.test.files[row] for row in rows)
    return [Problem("shared identities", text, examples, fatal=dataset.name != "folder")]


def _unmatched(dataset: Dataset, search: Search) -> list[Problem]:
    """Queries whose gallery holds no image that would count as a match."""
    missing = [_without_match(dataset, search, trial) for trial in search.trials]
    rows = np.unique(np.concatenate(missing))
    if not len(rows):
        return []
    queries = len(search.trials[0].query)
    often = f", in {sum(map(bool, map(len, missing)))} of {len(missing)} draws" if len(missing) > 1 else ""
    nothing = any(len(lost) == len(trial.query) for lost, trial in zip(missing, search.trials, strict=True))
    text = f"{len(rows)} of {queries} queries have no match in the gallery of the search {search.name!r}{often}:"
    if search.ignore == "same-camera":
        seen = np.isin(dataset.test.identities[rows], dataset.test.identities[search.trials[0].gallery])
        if seen.any():
            text = f"{text[:-1]} ({int(seen.sum())} of them only by their own camera, which does not count):"
    if nothing and search.ignore == "same-camera":
        text = f"{text[:-1]}. {why_no_match(dataset, search, search.trials[0])}"
    drawn = search.ignore == DRAWN or len(search.trials) > 1
    fatal = nothing or (not drawn and dataset.name != "folder")
    return [Problem("queries without a match", text, tuple(dataset.test.files[row] for row in rows), fatal)]


def _without_match(dataset: Dataset, search: Search, trial: Trial) -> np.ndarray:
    """Return the query rows that see no image of their identity."""
    ids, cameras = dataset.test.identities, dataset.test.cameras
    places: dict[int, set[int]] = {}
    for identity, camera in zip(ids[trial.gallery].tolist(), cameras[trial.gallery].tolist(), strict=True):
        places.setdefault(identity, set()).add(camera)
    lost = []
    for row in trial.query:
        seen, own = places.get(int(ids[row]), set()), int(cameras[row])
        if search.ignore == "same-camera":
            seen = seen - {own}
        elif search.ignore == "same-place" and own == SYSU_SAME_PLACE[0]:
            seen = seen - {SYSU_SAME_PLACE[1]}
        if not seen:
            lost.append(row)
    return np.array(lost, np.int64)
