"""The searches of a dataset: which are asked for, and open-set figures by each one's own rule."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from duoreid.core.data import VISIBLE, Dataset, Search, Trial
from duoreid.core.errors import UserError
from duoreid.core.numeric.strangers import Strangers
from duoreid.core.openset import Comparison, Identification, compare, identify
from duoreid.core.protocols import groups, labels

RATES = (0.01, 0.1)


def chosen(dataset: Dataset, which: str, shots: str = "") -> tuple[Search, ...]:
    """Return the searches of a dataset that `--search` asks for; UserError where it has none of them.

    which: "every"; the first part of a search's name ("all", "indoor"), or the whole ("all, single-shot"); or
    "visible-to-infrared" or "infrared-to-visible", for all of that direction. shots: the second part of the name
    ("single-shot", "10-shot"), "" for any.

    >>> import numpy as np
    >>> from duoreid.core.data import Split, Trial
    >>> column = np.zeros(2, np.uint8)
    >>> trial = Trial(np.array([0]), np.array([1]))
    >>> searches = tuple(Search(name, (trial,)) for name in ("all, single-shot", "all, 10-shot", "indoor, 10-shot"))
    >>> split = Split(("a", "b"), column, column, column)
    >>> dataset = Dataset("sysu", "", split, split, searches)
    >>> [search.name for search in chosen(dataset, "all")]
    ['all, single-shot', 'all, 10-shot']
    >>> [search.name for search in chosen(dataset, "every", "10-shot")]
    ['all, 10-shot', 'indoor, 10-shot']
    """

    def names(search: Search) -> set[str]:
        visible = dataset.test.modalities[search.trials[0].query[0]] == VISIBLE
        direction = "visible-to-infrared" if visible else "infrared-to-visible"
        return {"every", direction, search.name, search.name.split(",")[0]}

    asked = tuple(search for search in dataset.searches if which in names(search))
    if shots:
        asked = tuple(search for search in asked if search.name.partition(",")[2].strip() == shots)
    if not asked:
        known = "; ".join(search.name for search in dataset.searches) or "none"
        given = f"--search {which}" + (f" --shots {shots}" if shots else "")
        raise UserError(
            f"{given} is none of the searches of {dataset.name} ({known}): choose one of these, or leave --search out."
        )
    return asked


def compare_draw(
    features: np.ndarray, dataset: Dataset, search: Search, trial: Trial, *, smallest: int | None = None
) -> Comparison:
    """Compare the queries of a draw with its gallery, as the search pairs them.

    features: float32 (N, D), L2-normalised, one row for each image of `dataset.test`. smallest: as for
    `core.openset.compare`. UserError where there is nobody to compare with.

    >>> from duoreid.core.data import Split
    >>> zeros = np.zeros(3, np.uint8)
    >>> test = Split(("a.jpg", "b.jpg", "c.jpg"), np.array([1, 1, 2]), np.array([1, 2, 2]), zeros)
    >>> search = Search("test", (Trial(np.array([0]), np.array([1, 2])),))
    >>> features = np.array([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]], np.float32)
    >>> comparison = compare_draw(features, Dataset("three", "", test, test, (search,)), search, search.trials[0])
    >>> comparison.mates.tolist() == np.float32([0.6]).tolist()
    True
    """
    parts = []
    for rows, columns in groups(search, trial, dataset.test.cameras):
        if not len(rows):
            continue
        query, gallery = trial.query[rows], trial.gallery[columns]
        named = labels(dataset, search, query, gallery)
        parts.append(compare(features[query], features[gallery], *named, smallest=smallest))
    return _joined(parts)


def _joined(parts: Sequence[Comparison]) -> Comparison:
    """Join the comparisons of groups of queries, each with units of its own."""
    if len(parts) == 1:
        return parts[0]
    depth = min(part.strangers.similarities.shape[1] for part in parts)
    first = np.cumsum([0, *(len(part.strangers.totals) for part in parts)])
    of = [part.strangers for part in parts]
    strangers = Strangers(
        np.concatenate([one.similarities[:, :depth] for one in of]),
        np.concatenate([one.units[:, :depth] + start for one, start in zip(of, first, strict=False)]).astype(np.int32),
        np.concatenate([one.own + start for one, start in zip(of, first, strict=False)]),
        np.concatenate([one.totals for one in of]),
        np.concatenate([one.counts for one in of]),
    )
    return Comparison(
        np.concatenate([part.mates for part in parts]),
        strangers,
        np.concatenate([part.identities for part in parts]),
        hashlib.blake2b("".join(part.features for part in parts).encode(), digest_size=8).hexdigest(),
    )


def open_set(
    features: np.ndarray, dataset: Dataset, search: Search, rates: Sequence[float] = RATES
) -> list[Identification]:
    """Return TPIR at each FPIR that the search has queries enough for; thresholds and TPIR are means over its draws.

    A search whose queries all lack a match, or strangers, has none.

    >>> from duoreid.core.data import Split
    >>> test = Split(("a", "b", "c", "d"), np.array([1, 2, 1, 2]), np.array([1, 1, 2, 2]), np.zeros(4, np.uint8))
    >>> search = Search("test", (Trial(np.array([0, 1]), np.array([2, 3])),))
    >>> rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.6, 0.8]], np.float32)
    >>> dataset = Dataset("two people", "", test, test, (search,))
    >>> [(one.fpir, one.tpir) for one in open_set(rows, dataset, search, [0.1, 0.5])]
    [(0.5, 1.0)]
    """
    fewest = min(int((dataset.test.identities[trial.query] >= 0).sum()) for trial in search.trials)
    possible = [rate for rate in rates if rate * fewest >= 1]
    try:
        draws = [identify(compare_draw(features, dataset, search, trial), possible) for trial in search.trials]
    except UserError:
        return []
    return [
        replace(
            same[0],
            threshold=float(np.mean([one.threshold for one in same])),
            tpir=float(np.mean([one.tpir for one in same])),
        )
        for same in zip(*draws, strict=True)
    ]
