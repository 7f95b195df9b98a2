"""Ranked lists to look at: the hardest queries, the best ones, and some at random."""

from __future__ import annotations

import numpy as np

from duoreid.core.data import Images
from duoreid.core.random import rng
from duoreid.core.report.atlas import Atlas
from duoreid.core.report.blocks import Picture, Strip, Strips
from duoreid.core.report.draws import Draw, Ranked, Scan, kind_of, ranked

COUNT, DEPTH = 6, 10

HARDEST = (
    "Where the search goes wrong: look for clothes, light and views that two people share, and for wrong identities in "
    "the data."
)
BEST = "Where it goes right: all matches stand ahead of everybody else, or nearly so."
RANDOM = "What to expect of any query."


def hardest(scan: Scan, people: np.ndarray, count: int = COUNT) -> np.ndarray:
    """Return the queries with the lowest average precision, lowest first and one of each person.

    people: (Q,), who is on the queries. Of equals those come first that have more matches.
    """
    valid = _valid(scan)
    return _one_of_each(valid[np.lexsort((-scan.matches[valid], scan.precision[valid]))], people)[:count]


def best(scan: Scan, people: np.ndarray, count: int = COUNT) -> np.ndarray:
    """Return the queries with the highest average precision, one of each person; of equals those with more matches."""
    valid = _valid(scan)
    return _one_of_each(valid[np.lexsort((-scan.matches[valid], -scan.precision[valid]))], people)[:count]


def _one_of_each(queries: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Return the first query of each person, in the order given."""
    return queries[np.sort(np.unique(people[queries], return_index=True)[1])]


def at_random(scan: Scan, seed: int, count: int = COUNT) -> np.ndarray:
    """Return queries drawn without a look at how they did."""
    valid = _valid(scan)
    return np.sort(rng(seed, "report/queries").permutation(valid)[:count])


def _valid(scan: Scan) -> np.ndarray:
    """Return the queries that have a match: a query without one is neither hard nor easy."""
    return np.flatnonzero(np.isfinite(scan.precision))


def blocks(draw: Draw, scan: Scan, images: Images, atlas: Atlas, seed: int) -> list[Strips]:
    """Return the ranked lists of one draw; their pictures are noted in the atlas."""
    name = draw.search.name
    people = draw.identities[0]
    told = (
        ("Hardest queries first", hardest(scan, people), HARDEST),
        ("Best queries", best(scan, people), BEST),
        ("Queries at random", at_random(scan, seed), RANDOM),
    )
    head = f"{name}: " if len(draw.dataset.searches) > 1 else ""
    return [
        Strips(
            f"{head}{title}", caption, [_strip(draw, scan, one, images, atlas) for one in ranked(draw, queries, DEPTH)]
        )
        for title, queries, caption in told
        if len(queries)
    ]


def _strip(draw: Draw, scan: Scan, one: Ranked, images: Images, atlas: Atlas) -> Strip:
    test = draw.dataset.test
    rows = [one.row, *(shown.row for shown in one.nearest)]
    places = atlas.add(images, rows)
    across = draw.across

    def camera(row: int) -> str:
        known = int(test.cameras[row])
        words = f"cam {known}" if known >= 0 else "no camera"
        return f"{words}\n{kind_of(int(test.modalities[row]))}" if across else words

    pictures = [Picture(places[0], f"query\n{camera(one.row)}", "query", _words(draw, one.row))]
    for place, shown in zip(places[1:], one.nearest, strict=True):
        mark = "same" if shown.same else "other"
        pictures.append(Picture(place, f"{shown.similarity:.2f}\n{camera(shown.row)}", mark, _words(draw, shown.row)))
    return Strip(f"Person {test.identities[one.row]}", _told(scan, one.query), pictures)


def _told(scan: Scan, query: int) -> str:
    right, wrong = int(scan.first_right[query]), int(scan.first_wrong[query])
    count = int(scan.matches[query])
    words = f"average precision {100 * scan.precision[query]:.0f}%, {count} match{'es' * (count != 1)}"
    words += f" · first right one at {right}"
    return f"{words}, first wrong one at {wrong}" if wrong else f"{words}, no wrong one in the gallery"


def _words(draw: Draw, row: int) -> str:
    test = draw.dataset.test
    file = test.files[row].replace("\\", "/").rpartition("/")[2]
    return f"person {test.identities[row]}, camera {test.cameras[row]}, {file}"
