"""Choosing among the searches of a dataset."""

from __future__ import annotations

from duoreid.core.data import VISIBLE, Dataset, Search
from duoreid.core.errors import UserError


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
        given = f"--search {which}" + (f" --mode {shots}" if shots else "")
        raise UserError(
            f"{given} is none of the searches of {dataset.name} ({known}): choose one of these, or leave --search out."
        )
    return asked
