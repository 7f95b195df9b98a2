"""How each dataset is tested: from features of its test split to mAP, CMC and mINP over its trials.

Market-1501, DukeMTMC-reID and MSMT17: gallery images with the query's identity and camera are ignored (Zheng et
al., ICCV 2015). SYSU-MM01 (Wu et al., ICCV 2017): a query of camera 3 does not see camera 2, which stands at the
same place; CMC counts distinct identities; ten draws of the gallery. RegDB (Nguyen et al., Sensors
2017; protocol of Ye et al., AAAI 2018): nothing is ignored; ten trials, each with a training split of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from duoreid.core.data import Dataset, Search, Trial
from duoreid.core.errors import UserError
from duoreid.core.numeric.inputs import as_features
from duoreid.core.numeric.matches import Matches
from duoreid.core.numeric.products import product
from duoreid.core.ranking import Ranking, rank, rank_distances

SYSU_SAME_PLACE = (3, 2)
"""Queries of the first camera do not see the second in the gallery."""

IGNORE = ("same-camera", "same-place", "nothing")
"""What a search may hide from a query; see core.data.Search."""

SHARED_BYTES = 1 << 30
"""Up to this size, the distances that several draws share are computed once."""


@dataclass(frozen=True)
class Metrics:
    """Fractions from 0 to 1. rank1 to rank20: the CMC curve at these ranks."""

    mean_ap: float
    rank1: float
    rank5: float
    rank10: float
    rank20: float
    mean_inp: float


@dataclass(frozen=True)
class SearchResult:
    """One search's result. spread: sample standard deviation over trials, 0 for one trial.

    official: the draws are the dataset's own; False when they were made from a seed.
    """

    name: str
    trials: tuple[Metrics, ...]
    mean: Metrics
    spread: Metrics
    official: bool


def evaluate(features: np.ndarray, dataset: Dataset, *, max_rank: int = 20, rerank: bool = False) -> list[SearchResult]:
    """Test features under every search of a dataset.

    features: float32 (N, D), L2-normalised, one row for each image of `dataset.test`. max_rank: how far the CMC
    is counted, at least 20. rerank: re-rank the gallery by k-reciprocal encoding first (Zhong et al., CVPR 2017).
    Returns one result per search; none where the dataset has no labels to test by. Raises ValueError for features that
    are not finite, not normalised, or not one per image, and for a search without a single match.

    One query, a.jpg, and a gallery of b.jpg, which shows the same person, and c.jpg:

    >>> from duoreid.core.data import Split
    >>> zeros = np.zeros(3, np.uint8)
    >>> test = Split(("a.jpg", "b.jpg", "c.jpg"), np.array([1, 1, 2]), np.array([1, 2, 2]), zeros)
    >>> search = Search("test", (Trial(np.array([0]), np.array([1, 2])),))
    >>> dataset = Dataset("three images", "", test, test, (search,))
    >>> features = np.array([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]], np.float32)  # c.jpg looks more like a.jpg
    >>> result = evaluate(features, dataset)[0]
    >>> result.name, result.mean.mean_ap, result.mean.rank1, result.mean.rank5
    ('test', 0.5, 0.0, 1.0)
    """
    features = as_features(features, "features", normalised=True)
    if len(features) != len(dataset.test):
        raise ValueError(
            f"{len(features)} features for the {len(dataset.test)} test images of {dataset.name}: each image needs "
            "its row. Embed dataset.test as it is, in its order."
        )
    if max_rank < 20:
        raise ValueError(f"max_rank of at least 20 expected, since rank-20 is reported, got {max_rank}.")
    shared = None if rerank else _shared(features, dataset.searches)
    results = []
    for search in dataset.searches:
        trials = [
            _metrics(
                rank_draw(features, dataset, search, trial, max_rank=max_rank, rerank=rerank, shared=shared),
                f"the search {search.name!r} in {dataset.name}",
            )
            for trial in search.trials
        ]
        results.append(summarise(search.name, trials, search.official))
    return results


def rank_draw(
    features: np.ndarray,
    dataset: Dataset,
    search: Search,
    trial: Trial,
    *,
    max_rank: int,
    metric: str = "cosine",
    rerank: bool = False,
    shared: _Shared | None = None,
) -> Ranking:
    """Rank one draw by its search's rules.

    features: as for `evaluate`, whose rows need not be normalised here. metric: "cosine" or "euclidean", of features
    that are not re-ranked. shared: distances that `_shared` has computed, to be taken instead.

    >>> from duoreid.core.data import Split
    >>> zeros = np.zeros(3, np.uint8)
    >>> test = Split(("a.jpg", "b.jpg", "c.jpg"), np.array([1, 1, 2]), np.array([1, 2, 2]), zeros)
    >>> search = Search("test", (Trial(np.array([0]), np.array([1, 2])),))
    >>> dataset = Dataset("three images", "", test, test, (search,))
    >>> features = np.array([[2.0, 0.0], [3.0, 4.0], [0.0, 5.0]])  # of any length
    >>> rank_draw(features, dataset, search, search.trials[0], max_rank=2).cmc.tolist()
    [1.0, 1.0]
    """
    if rerank:
        from duoreid.core.rerank import rerank_blocks  # here: it loads SciPy, which a search without it does not need

        blocks = rerank_blocks(_take(features, trial.query), _take(features, trial.gallery))
        rankings = _ranked_by_distances(blocks, dataset, search, trial, max_rank)
    elif shared is not None:
        rankings = _ranked_by_distances(shared.of(trial), dataset, search, trial, max_rank)
    else:
        rankings = _ranked(features, dataset, search, trial, max_rank, metric)
    return _joined(rankings, len(trial.query), max_rank)


def summarise(name: str, trials: Sequence[Metrics], official: bool) -> SearchResult:
    """Return the mean and the spread of the trials of one search.

    >>> two = [Metrics(*[score] * 6) for score in (0.25, 0.75)]
    >>> result = summarise("all, single-shot", two, official=True)
    >>> print(f"{result.mean.mean_ap} {result.spread.mean_ap:.3f}")  # sqrt(2 * 0.25^2 / 1)
    0.5 0.354
    """
    if not trials:
        raise ValueError(f"the search {name!r} has no trial to average.")
    table = np.array([[getattr(trial, field.name) for field in fields(Metrics)] for trial in trials])
    spread = table.std(axis=0, ddof=1) if len(trials) > 1 else np.zeros(table.shape[1])
    return SearchResult(
        name, tuple(trials), Metrics(*map(float, table.mean(axis=0))), Metrics(*map(float, spread)), official
    )


def as_plain(results: Sequence[SearchResult]) -> list[dict[str, Any]]:
    """Return what JSON can hold of results; `from_plain` makes them again.

    >>> result = summarise("test", [Metrics(0.5, 0.5, 0.5, 0.5, 0.5, 0.5)], official=True)
    >>> as_plain([result])[0]["trials"][0]["mean_ap"]
    0.5
    """
    return [{"name": r.name, "official": r.official, "trials": [vars(trial) for trial in r.trials]} for r in results]


def from_plain(plain: Sequence[Mapping[str, Any]]) -> list[SearchResult]:
    """Return the results of which `as_plain` told.

    >>> result = summarise("test", [Metrics(0.5, 0.5, 0.5, 0.5, 0.5, 0.5)], official=True)
    >>> from_plain(as_plain([result])) == [result]
    True
    """
    return [summarise(one["name"], [Metrics(**trial) for trial in one["trials"]], one["official"]) for one in plain]


def across_trials(results: Sequence[Sequence[SearchResult]]) -> list[SearchResult]:
    """Join what `evaluate` returned for several trials of a dataset (RegDB: one model for each) into one summary.

    >>> first, second = (summarise("test", [Metrics(*[score] * 6)], official=True) for score in (0.25, 0.75))
    >>> across_trials([[first], [second]])[0].mean.mean_ap
    0.5
    """
    names = [[search.name for search in result] for result in results]
    if not results or any(other != names[0] for other in names):
        raise ValueError(f"results of the same searches expected from every trial, got {names}.")
    return [
        summarise(group[0].name, [t for search in group for t in search.trials], all(s.official for s in group))
        for group in zip(*results, strict=True)
    ]


def require_trial(dataset: Dataset, trained_on: str, trained_trial: int) -> None:
    """Refuse to test a model on another trial of the dataset it was trained on.

    trained_on, trained_trial: `name` and `trial` of the dataset of the model's training. In RegDB, a person tested
    in one trial is trained on in others: mixing trials tests on known people and inflates the scores.

    >>> from duoreid.core.data import Split
    >>> nothing = Split((), np.zeros(0, int), np.zeros(0, int), np.zeros(0, np.uint8))
    >>> require_trial(Dataset("regdb", "", nothing, nothing, (), trial=2), trained_on="regdb", trained_trial=2)
    >>> require_trial(Dataset("regdb", "", nothing, nothing, (), trial=3), trained_on="regdb", trained_trial=2)
    Traceback (most recent call last):
    duoreid.core.errors.UserError: the model was trained on trial 2 of regdb but would be tested on trial 3, ...
    """
    if dataset.name == trained_on and dataset.trial != trained_trial:
        raise UserError(
            f"the model was trained on trial {trained_trial} of {dataset.name} but would be tested on trial "
            f"{dataset.trial}, whose test people it has partly been trained on: the scores would be too good. Test "
            f"with trial {trained_trial}, or train a model on trial {dataset.trial}."
        )


def require_matches(dataset: Dataset) -> None:
    """Raise UserError where a draw of a dataset has no query with a match: found before the training, not after it.

    >>> from duoreid.core.data import Split
    >>> test = Split(("a.jpg", "b.jpg"), np.array([1, 2]), np.array([1, 2]), np.zeros(2, np.uint8))
    >>> search = Search("test", (Trial(np.array([0]), np.array([1])),))
    >>> require_matches(Dataset("two people", "", test, test, (search,)))
    Traceback (most recent call last):
    duoreid.core.errors.UserError: no query of the search 'test' in two people has a match in its gallery: ...
    """
    for search in dataset.searches:
        for trial in search.trials:
            if not any(_matching(dataset, search, trial)):
                where = f"the search {search.name!r} in {dataset.name}"
                raise UserError(_NO_MATCH.format(where) + why_no_match(dataset, search, trial))


def _matching(dataset: Dataset, search: Search, trial: Trial) -> Iterator[bool]:
    """Yield for one query after the other whether its gallery holds a match."""
    for rows, columns in groups(search, trial, dataset.test.cameras):
        named = labels(dataset, search, trial.query[rows], trial.gallery[columns])
        matches = Matches(*named, len(rows), len(columns))
        yield from matches.answerable().tolist()


def why_no_match(dataset: Dataset, search: Search, trial: Trial) -> str:
    """Return why no query of a draw has a match that counts, and what to do.

    >>> from duoreid.core.data import Split
    >>> test = Split(("a.jpg", "b.jpg"), np.array([1, 1]), np.array([3, 3]), np.zeros(2, np.uint8))
    >>> why_no_match(Dataset("a", "", test, test, ()), Search("a", ()), Trial(np.array([0]), np.array([1])))[:49]
    'Of 1 queries whose identity is in the gallery, al'
    """
    ids = dataset.test.identities
    present = np.isin(ids[trial.query], ids[trial.gallery])
    if not present.any() or search.ignore != "same-camera":
        return _CHECK
    return (
        f"Of {int(present.sum())} queries whose identity is in the gallery, all have matches by their own camera "
        "alone, and a match by a query's own camera does not count. If there truly is one camera, leave the cameras "
        "out (no camera folders, an empty column, or the array ignore = 'nothing' beside features): all matches count "
        "then; "
        "else give each image the camera that took it."
    )


_NO_MATCH = "no query of {} has a match in its gallery: nothing can be measured. "
_CHECK = "Check the identities and cameras with `python -m datasets.doctor`."


def _metrics(ranking: Ranking, where: str) -> Metrics:
    if not ranking.valid_queries:
        raise ValueError(_NO_MATCH.format(where) + _CHECK)
    return Metrics(ranking.mean_ap, *(float(ranking.cmc[k - 1]) for k in (1, 5, 10, 20)), ranking.mean_inp)


def _joined(rankings: Iterator[tuple[np.ndarray, Ranking]], count: int, max_rank: int) -> Ranking:
    """Join (queries by number, their ranking) of parts of a draw: their means, weighted by their valid queries."""
    queries, ap, inp, cmc = 0, 0.0, 0.0, np.zeros(max_rank)
    precision = np.full(count, np.nan)
    for rows, ranking in rankings:
        precision[rows] = ranking.average_precision
        if ranking.valid_queries:
            queries += ranking.valid_queries
            ap += ranking.mean_ap * ranking.valid_queries
            inp += ranking.mean_inp * ranking.valid_queries
            cmc += ranking.cmc * ranking.valid_queries
    if not queries:
        return Ranking(np.nan, np.full(max_rank, np.nan), np.nan, 0, precision)
    return Ranking(ap / queries, cmc / queries, inp / queries, queries, precision)


@dataclass(frozen=True)
class _Shared:
    """Distances float32 from the queries that all trials share to every image that any of them draws."""

    gallery: np.ndarray
    distances: np.ndarray

    def of(self, trial: Trial) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first query's number, 0, and the distances of one draw."""
        yield 0, self.distances[:, np.searchsorted(self.gallery, trial.gallery)]


def _shared(features: np.ndarray, searches: Sequence[Search]) -> _Shared | None:
    """Compute the distances of all trials at once, where they share their queries and their galleries overlap."""
    trials = [trial for search in searches for trial in search.trials]
    if len(trials) < 2 or any(not np.array_equal(trial.query, trials[0].query) for trial in trials):
        return None
    gallery = np.unique(np.concatenate([trial.gallery for trial in trials]))
    columns = sum(len(trial.gallery) for trial in trials)
    if columns < 2 * len(gallery) or 4 * len(trials[0].query) * len(gallery) > SHARED_BYTES:
        return None
    return _Shared(gallery, -product(_take(features, trials[0].query), _take(features, gallery).T))


def _ranked(
    features: np.ndarray, dataset: Dataset, search: Search, trial: Trial, max_rank: int, metric: str
) -> Iterator[tuple[np.ndarray, Ranking]]:
    """Rank each group of queries by the features themselves."""
    for rows, columns in groups(search, trial, dataset.test.cameras):
        query, gallery = trial.query[rows], trial.gallery[columns]
        ranking = rank(
            _take(features, query),
            _take(features, gallery),
            *labels(dataset, search, query, gallery),
            metric=metric,
            max_rank=max_rank,
            distinct_identities=search.distinct_identities,
        )
        yield rows, ranking


def _ranked_by_distances(
    blocks: Iterator[tuple[int, np.ndarray]], dataset: Dataset, search: Search, trial: Trial, max_rank: int
) -> Iterator[tuple[np.ndarray, Ranking]]:
    """Rank each group of queries by distances, given in blocks (first query, float32 (b, G)) of a draw."""
    for start, distances in blocks:
        part = Trial(trial.query[start : start + len(distances)], trial.gallery)
        for rows, columns in groups(search, part, dataset.test.cameras):
            ranking = rank_distances(
                distances if (len(rows), len(columns)) == distances.shape else distances[np.ix_(rows, columns)],
                *labels(dataset, search, part.query[rows], part.gallery[columns]),
                max_rank=max_rank,
                distinct_identities=search.distinct_identities,
            )
            yield start + rows, ranking


def groups(search: Search, trial: Trial, cameras: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield numbers (of queries, of gallery images) of a draw, such that all queries of a group see that gallery."""
    queries, gallery = np.arange(len(trial.query)), np.arange(len(trial.gallery))
    if search.ignore == "same-place":
        camera, hidden = SYSU_SAME_PLACE
        there = cameras[trial.query] == camera
        yield queries[there], gallery[cameras[trial.gallery] != hidden]
        yield queries[~there], gallery
    elif search.ignore in IGNORE:
        yield queries, gallery
    else:
        raise ValueError(f"ignore {search.ignore!r}: expected {', '.join(IGNORE)}.")


def labels(dataset: Dataset, search: Search, query: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return query and gallery identities, then cameras; all different where a query's own camera is not ignored."""
    ids, cameras = dataset.test.identities, dataset.test.cameras
    if search.ignore == "same-camera":
        return ids[query], ids[gallery], cameras[query], cameras[gallery]
    return ids[query], ids[gallery], np.zeros(len(query), np.int64), np.ones(len(gallery), np.int64)


def _take(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return features[rows], without a copy where the rows follow each other."""
    if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return features[rows[0] : rows[0] + len(rows)]
    return features[rows]
